//! The CI job, step by step. Long suites run in their short form here.

use std::collections::VecDeque;
use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{ScopedJoinHandle, available_parallelism};
use std::time::Instant;

use crate::step::{StepFailed, root, run, run_with};
use crate::{
    bench, conformance, crash, documents, fuzz, injected, instructions, interop, lock_bench,
    negative, planted, setup, simulate, trace_bench,
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
    // Those that start processes wait half of their time.
    let at_once = 2 * available_parallelism().map_or(1, usize::from);
    let at_once = at_once.to_string();
    run_with("cargo", &["test", "--workspace", "--locked"], &[("RUST_TEST_THREADS", &at_once)])
}

/// A part of [`everything`]: its name and its work.
type Part = (&'static str, fn() -> Result<(), StepFailed>);

/// What the tests need is fetched while the processors read the code.
const FIRST: [Part; 2] = [("setup", setup::everything), ("lint", lint)];

/// Parts that use all processors. The tests of the command line build the binary that the later parts
/// run, with the features of the whole workspace.
const ALONE: [Part; 2] = [("test", test), ("fuzz", || fuzz::smoke(10))];

/// Parts that leave processors idle, and ask nothing of time: the longest first.
const BESIDE: [Part; 9] = [
    ("negative", || negative::run(None, negative::Modes::default(), negative::Tests::JustPassed)),
    ("interop", || interop::run(None)),
    ("documents", documents::run),
    ("simulate", || simulate::run(&simulate::Plan { seeds: 30, seed: 1, planted: false })),
    ("conformance", || conformance::run(true)),
    ("instructions", || instructions::run(false)),
    ("go-tlog", other_verifier),
    ("trace-bench", || trace_bench::run(20_000)),
    ("injected", injected::run),
];

/// Parts that measure, or load the machine to see what is left. Last the one that asks whether what
/// passed above could have failed.
const LAST: [Part; 4] = [
    ("lock-bench", || lock_bench::run(10)),
    ("crash", || crash::run(100)),
    ("bench", || bench::run(1, None, false)),
    ("planted", || planted::run(None)),
];

/// How many of [`BESIDE`] at a time.
const LANES: usize = 2;

/// All of it. Says at the end how long each part took.
///
/// # Errors
/// At the first part that fails.
pub fn everything() -> Result<(), StepFailed> {
    let mut took = Vec::new();
    took.extend(std::thread::scope(|scope| {
        let started = FIRST.map(|part| scope.spawn(move || timed(part)));
        started.into_iter().map(ended).collect::<Result<Vec<_>, _>>()
    })?);
    for part in ALONE {
        took.push(timed(part)?);
    }
    took.extend(side_by_side()?);
    for part in LAST {
        took.push(timed(part)?);
    }
    took.iter().for_each(|(name, seconds)| println!("{name:<14} {seconds:>5} s"));
    Ok(())
}

/// One of the parts that run side by side, in this process.
///
/// # Errors
/// When it fails, or there is none of that name.
pub fn part(name: &str) -> Result<(), StepFailed> {
    let known = BESIDE.iter().find(|(known, _)| *known == name);
    let (_, work) = known.ok_or_else(|| StepFailed::Check(format!("no part `{name}`")))?;
    work()
}

fn timed((name, work): Part) -> Result<(&'static str, u64), StepFailed> {
    let started = Instant::now();
    work()?;
    Ok((name, started.elapsed().as_secs()))
}

fn ended<T>(part: ScopedJoinHandle<'_, Result<T, StepFailed>>) -> Result<T, StepFailed> {
    part.join().map_err(|_| StepFailed::Check("a part died".to_owned()))?
}

/// [`BESIDE`], each in a process of its own, so that what each of them says stays together.
fn side_by_side() -> Result<Vec<(&'static str, u64)>, StepFailed> {
    let left: Mutex<VecDeque<&'static str>> =
        Mutex::new(BESIDE.iter().map(|part| part.0).collect());
    let locked = || left.lock().unwrap_or_else(PoisonError::into_inner);
    let lane = || {
        let mut took = Vec::new();
        loop {
            // The lock is not held while it runs.
            let Some(name) = locked().pop_front() else { return Ok(took) };
            println!("\n=== {name} began");
            let started = Instant::now();
            if let Err(failed) = in_own_process(name) {
                locked().clear();
                return Err(failed);
            }
            took.push((name, started.elapsed().as_secs()));
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let all: Result<Vec<_>, _> = lanes.into_iter().map(ended).collect();
        Ok(all?.concat())
    })
}

/// Runs one of [`BESIDE`], and prints what it said when it has ended.
fn in_own_process(name: &str) -> Result<(), StepFailed> {
    let folder = root().join("target/ci");
    let path = folder.join(format!("{name}.log"));
    let failed = |source| StepFailed::File { path: path.clone(), source };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let log = File::create(&path).map_err(failed)?;
    let command = format!("cargo xtask ci-part {name}");
    let not_started = |source| StepFailed::Start { command: command.clone(), source };
    let status = std::env::current_exe()
        .and_then(|program| {
            let mut process = Command::new(program);
            process.args(["ci-part", name]).current_dir(root()).stdin(Stdio::null());
            process.stdout(log.try_clone()?).stderr(log).status()
        })
        .map_err(not_started)?;
    let said = std::fs::read(&path).map_err(failed)?;
    println!("\n=== {name}\n{}--- {name} ended", String::from_utf8_lossy(&said));
    if status.success() {
        return Ok(());
    }
    Err(StepFailed::Status { command, status: status.code() })
}

/// Go's own transparency log packages judge a journal of ours, and four that were tampered with.
///
/// # Errors
/// When Go refuses the good one or accepts a bad one.
pub fn other_verifier() -> Result<(), StepFailed> {
    run("sh", &["tests/interop/go-tlog/run.sh"])
}
