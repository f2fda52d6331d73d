//! `cargo xtask`: see `cargo xtask --help`.
#![expect(clippy::print_stderr, reason = "a developer's tool: it talks to a terminal")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::step::StepFailed;
use xtask::{
    bench, ci, conformance, crash, documents, fuzz, generated, injected, instructions, interop,
    lock_bench, mutants, negative, planted, pressure, release, setup, simulate, soak, step,
    trace_bench,
};

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
    /// Build a release, and sign what it is and what it was built from
    Release(release::ReleaseArgs),
    /// Install what the tests need and this machine lacks
    Setup,
    /// Write the documents that are made from the code
    Docs,
    /// Run the shell examples of the documents
    DocsRun,
    /// Bad inputs against the real binary
    Negative {
        /// Only rows whose id starts so
        only: Option<String>,
        #[command(flatten)]
        modes: negative::Modes,
    },
    /// Kill the process at random moments under load and look what is left
    Crash {
        /// How often
        #[arg(long, default_value_t = 300)]
        kills: u32,
    },
    /// The official conformance suite, directly and through Attorn
    Conformance {
        /// The newest revision alone
        #[arg(long)]
        short: bool,
    },
    /// An agent that does what a hostile text tells it, 200 times
    Injected,
    /// Plants 31 bugs, one at a time, and expects a check to fail for each
    Planted {
        /// Only bugs whose name starts so
        only: Option<String>,
    },
    /// Three gateways under load: how long a lock takes to hold everywhere
    LockBench {
        /// How often
        #[arg(long, default_value_t = 100)]
        rounds: u32,
    },
    /// Changes one expression of a crate at a time: does a test of that crate notice?
    Mutants(mutants::Plan),
    /// Ten times the load that fits, in 256 MiB, where a control group may be made
    Pressure {
        /// Seconds under full load
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Clients, tokens, servers and tools come and go: does anything grow that must not?
    Soak {
        /// How long
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
    /// Authority, registry, two gateways and their network on one thread, with seeded faults
    Simulate(simulate::Plan),
    /// How many instructions the steps of a call take, against bench/instructions.json
    Instructions {
        /// Write the file anew
        #[arg(long)]
        write: bool,
    },
    /// Other people's servers behind Attorn, other people's clients in front
    Interop {
        /// This part alone
        only: Option<interop::Part>,
    },
    /// Go's transparency log packages judge a journal of ours
    GoTlog,
    /// Mutated vectors against every parser
    FuzzSmoke {
        /// For each target
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// This target alone
        #[arg(long)]
        target: Option<String>,
        /// Repeats a run
        #[arg(long, default_value_t = fuzz::DEFAULT_SEED)]
        seed: u64,
        /// This many inputs for each target, in place of a time
        #[arg(long)]
        executions: Option<u64>,
        /// Give one saved input to the target again
        #[arg(long, requires = "target")]
        replay: Option<PathBuf>,
        /// Name the targets and what each checks
        #[arg(long)]
        list: bool,
    },
    /// What a call and a token cost, beside a bare proxy, nginx and oidc-provider
    Bench {
        /// For each case
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Only cases whose name holds this, such as "read, DPoP EdDSA, 32"; nothing is written
        #[arg(long)]
        only: Option<String>,
    },
    /// How long an investigator waits for one chain in a log of many entries
    TraceBench {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        entries: usize,
    },
    /// Where the time of a call goes: shares of its parts, and a flame graph
    Flame {
        /// How long to sample
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    #[command(hide = true)]
    CiPart { name: String },
    #[command(hide = true)]
    FlameSampled { seconds: u64 },
    #[command(hide = true)]
    BenchMeasured { seconds: u64, only: Option<String> },
    #[command(hide = true)]
    CountPart { name: String, times: u64 },
    #[command(hide = true)]
    PlantedCheck { names: Vec<String> },
    #[command(hide = true)]
    BenchUpstream { address: SocketAddr },
    #[command(hide = true)]
    BenchProxy { address: SocketAddr, to: SocketAddr },
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
        Task::Ci => ci::everything(),
        Task::CiPart { name } => ci::part(name),
        Task::Test => ci::test(),
        Task::Lint => ci::lint(),
        Task::Release(arguments) => release::run(arguments),
        Task::Setup => setup::everything(),
        Task::Docs => docs(),
        Task::DocsRun => with_binary(documents::run),
        Task::Negative { only, modes } => {
            with_binary(|| negative::run(only.as_deref(), *modes, negative::Tests::Run))
        }
        Task::Crash { kills } => with_binary(|| crash::run(*kills)),
        Task::Conformance { short } => {
            setup::everything()?;
            interop::build_binary()?;
            conformance::run(*short)
        }
        Task::Interop { only } => {
            setup::everything()?;
            interop::build_binary()?;
            interop::run(*only)
        }
        Task::Injected => with_binary(injected::run),
        Task::Planted { only } => planted::run(only.as_deref()),
        Task::PlantedCheck { names } => planted::check(names),
        Task::LockBench { rounds } => with_binary(|| lock_bench::run(*rounds)),
        Task::Mutants(plan) => mutants::run_plan(plan),
        Task::Pressure { seconds } => with_binary(|| pressure::run(*seconds)),
        Task::Soak { minutes } => with_binary(|| soak::run(*minutes)),
        Task::Simulate(plan) => simulate::run(plan),
        Task::Instructions { write } => instructions::run(*write),
        Task::CountPart { name, times } => instructions::do_part(name, *times),
        Task::GoTlog => {
            setup::everything()?;
            ci::other_verifier()
        }
        Task::FuzzSmoke { list: true, .. } => {
            fuzz::list();
            Ok(())
        }
        Task::FuzzSmoke { target: Some(target), replay: Some(input), .. } => {
            fuzz::replay(target, input.clone())
        }
        Task::FuzzSmoke { seconds, target, seed, executions, .. } => {
            let ending =
                executions.map_or(fuzz::Ending::Seconds(*seconds), fuzz::Ending::Executions);
            fuzz::run(&fuzz::Plan { ending, seed: *seed, target: target.clone() })
        }
        Task::Flame { seconds } => optimised("flame-sampled", *seconds, None),
        Task::FlameSampled { seconds } => bench::run_flame(*seconds),
        Task::Bench { seconds, only } => optimised("bench-measured", *seconds, only.as_deref()),
        Task::BenchMeasured { seconds, only } => bench::run(*seconds, only.as_deref(), true),
        Task::TraceBench { entries } => with_binary(|| trace_bench::run(*entries)),
        Task::BenchUpstream { address } => on_runtime(bench::parts::upstream(*address)),
        Task::BenchProxy { address, to } => on_runtime(bench::parts::proxy(*address, *to)),
    }
}

/// The binary that the checks run is built first, unless another one is named.
fn with_binary(run: impl FnOnce() -> Result<(), StepFailed>) -> Result<(), StepFailed> {
    interop::build_binary()?;
    run()
}

fn docs() -> Result<(), StepFailed> {
    for (path, text) in generated::documents(&step::root()) {
        let path = step::root().join(path);
        std::fs::write(&path, text).map_err(|source| StepFailed::File { path, source })?;
    }
    Ok(())
}

fn on_runtime(work: impl Future<Output = Result<(), StepFailed>>) -> Result<(), StepFailed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| StepFailed::Check(format!("runtime: {error}")))?.block_on(work)
}

/// Builds server and load generator as a release is built, and lets the optimised one measure.
fn optimised(task: &str, seconds: u64, only: Option<&str>) -> Result<(), StepFailed> {
    let packages = ["-p", "attorn", "-p", "xtask"];
    step::run("cargo", &[&["build", "--profile", "dist", "--locked"], &packages[..]].concat())?;
    let built = step::root().join("target/dist");
    let (server, this) = (built.join("attorn"), built.join("xtask"));
    let (server, this) = (server.display().to_string(), this.display().to_string());
    let environment = [("ATTORN_BINARY", server.as_str())];
    let seconds = seconds.to_string();
    let arguments: Vec<&str> = [task, &seconds].into_iter().chain(only).collect();
    step::run_with(&this, &arguments, &environment)
}
