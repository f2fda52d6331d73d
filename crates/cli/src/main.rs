//! The `attorn` command: the binary that wires the edges together.
//!
//! Only this crate reads the time of day, the environment and the arguments; what other crates read is
//! in invariant 1 of ARCHITECTURE.md. Each subcommand is one file under `commands`; `world` starts the
//! roles and `admin` is the client of the admin API.

mod admin;
mod agent;
mod args;
mod clock;
mod commands;
mod config;
mod exit;
mod files;
mod json;
mod logging;
mod names;
mod output;
mod outside;
#[cfg(feature = "planted")]
mod planted;
mod profile;
mod progress;
mod signals;
mod values;
mod world;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::exit::Exit;

/// A call makes some hundred small allocations; the system's allocator takes a tenth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            // `--help` and `--version` come this way too and are not errors.
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Yes.into() };
        }
    };
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::write_error(&failure.to_string());
            failure.exit.into()
        }
    }
}
