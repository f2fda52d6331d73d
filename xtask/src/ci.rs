//! The CI job, step by step. Long suites run in their short form here.

use crate::step::{StepFailed, run, run_with};
use crate::{
    bench, conformance, crash, documents, fuzz, injected, instructions, interop, lock_bench,
    negative, planted, simulate, trace_bench,
};

/// Formatting, lints, documentation.
///
/// # Errors
/// At the first step that fails.
pub fn lint() -> Result<(), StepFailed> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    run_with(
        "cargo",
        &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

/// Every test of the workspace, documentation tests included.
///
/// # Errors
/// When a test fails.
pub fn test() -> Result<(), StepFailed> {
    run("cargo", &["test", "--workspace", "--locked"])
}

/// All of it, in the order in which failures are cheapest to find.
///
/// # Errors
/// At the first step that fails.
pub fn everything() -> Result<(), StepFailed> {
    lint()?;
    test()?;
    fuzz::smoke(10)?;
    // The tests of the command line have built the binary, with the features of the whole workspace.
    documents::run()?;
    instructions::run(false)?;
    simulate::run(&simulate::Plan { seeds: 30, seed: 1, planted: false })?;
    negative::run(None, negative::Modes::default())?;
    injected::run()?;
    lock_bench::run(10)?;
    crash::run(20)?;
    other_verifier()?;
    interop::run(None)?;
    conformance::run(true)?;
    bench::run(1, None, false)?;
    trace_bench::run(20_000)?;
    // Last: it asks whether what passed above could have failed. Four to five minutes on two busy
    // processors, one of them for the build of our own crates.
    planted::run(None)
}

/// Go's own transparency log packages judge a journal of ours, and four that were tampered with.
///
/// # Errors
/// When Go refuses the good one or accepts a bad one.
pub fn other_verifier() -> Result<(), StepFailed> {
    run("sh", &["tests/interop/go-tlog/run.sh"])
}
