//! The CI job, step by step. Long suites run in their short form here.

use std::time::Instant;

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

/// A part of [`everything`]: its name and its work.
type Part = (&'static str, fn() -> Result<(), StepFailed>);

/// In the order in which failures are cheapest to find.
const PARTS: [Part; 16] = [
    ("lint", lint),
    ("test", test),
    ("fuzz", || fuzz::smoke(10)),
    // The tests of the command line have built the binary, with the features of the whole workspace.
    ("documents", documents::run),
    ("instructions", || instructions::run(false)),
    ("simulate", || simulate::run(&simulate::Plan { seeds: 30, seed: 1, planted: false })),
    ("negative", || negative::run(None, negative::Modes::default())),
    ("injected", injected::run),
    ("lock-bench", || lock_bench::run(10)),
    ("crash", || crash::run(100)),
    ("go-tlog", other_verifier),
    ("interop", || interop::run(None)),
    ("conformance", || conformance::run(true)),
    ("bench", || bench::run(1, None, false)),
    ("trace-bench", || trace_bench::run(20_000)),
    // Last: it asks whether what passed above could have failed. Four to five minutes on two busy
    // processors, one of them for the build of our own crates.
    ("planted", || planted::run(None)),
];

/// All of it. Says at the end how long each part took.
///
/// # Errors
/// At the first part that fails.
pub fn everything() -> Result<(), StepFailed> {
    let mut took = Vec::new();
    for (name, work) in PARTS {
        let started = Instant::now();
        work()?;
        took.push((name, started.elapsed().as_secs()));
    }
    took.iter().for_each(|(name, seconds)| println!("{name:<14} {seconds:>5} s"));
    Ok(())
}

/// Go's own transparency log packages judge a journal of ours, and four that were tampered with.
///
/// # Errors
/// When Go refuses the good one or accepts a bad one.
pub fn other_verifier() -> Result<(), StepFailed> {
    run("sh", &["tests/interop/go-tlog/run.sh"])
}
