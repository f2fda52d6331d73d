//! `cargo xtask`: see `cargo xtask --help`.
#![expect(clippy::print_stderr, reason = "a developer's tool: it talks to a terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::step::StepFailed;
use xtask::{ci, generated, setup, step};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Checks, tests, benches and generated documents of Attorn")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything CI runs, long suites in their short form
    Ci,
    /// Every test of the workspace
    Test,
    /// Formatting, lints and documentation
    Lint,
    /// Install what the tests need and this machine lacks
    Setup,
    /// Write the documents that are made from the code
    Docs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("failed: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), StepFailed> {
    match task {
        Task::Ci => {
            setup::everything()?;
            ci::lint()?;
            ci::test()
        }
        Task::Test => ci::test(),
        Task::Lint => ci::lint(),
        Task::Setup => setup::everything(),
        Task::Docs => docs(),
    }
}

fn docs() -> Result<(), StepFailed> {
    for (path, text) in generated::documents(&step::root()) {
        let path = step::root().join(path);
        std::fs::write(&path, text).map_err(|source| StepFailed::File { path, source })?;
    }
    Ok(())
}
