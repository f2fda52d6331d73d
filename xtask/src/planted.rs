//! `cargo xtask planted`: is each check able to fail?
//!
//! A binary is built that can have one of 31 bugs. For each bug one check runs against it and must
//! fail in the row that is there for it; without a bug the same checks must pass. Each check runs in
//! a process of its own, since the environment tells the binary which bug it has.

mod checks;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use attorn_planted::Bug;

use crate::bounded::output_within;
use crate::step::{StepFailed, root, run_with};

/// The binary with the feature `planted`.
const BINARY: &str = "target/planted/debug/attorn";
/// For the checks of one process.
const WITHIN: Duration = Duration::from_secs(180);

/// What is wrong, by the name of the check.
type Found = BTreeMap<String, Vec<String>>;

/// Checks to run with one bug, or with none.
struct Job {
    bug: Option<Bug>,
    checks: Vec<&'static str>,
}

/// Plants all bugs, or those whose name starts with `only`.
///
/// # Errors
/// When a check fails without a bug, or does not fail with its bug.
pub fn run(only: Option<&str>) -> Result<(), StepFailed> {
    build()?;
    let started = Instant::now();
    let bugs = Bug::ALL.into_iter();
    let bugs: Vec<Bug> =
        bugs.filter(|bug| only.is_none_or(|only| bug.name().starts_with(only))).collect();
    let jobs = Mutex::new(jobs(&bugs));
    let detected = Mutex::new(Vec::new());
    let broken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(job) = next(&jobs) {
                    match judge(&job) {
                        Ok(line) => {
                            println!("{line}");
                            push(&detected, job.bug);
                        }
                        Err(line) => {
                            println!("{line}");
                            push(&broken, line);
                        }
                    }
                }
            });
        }
    });
    let detected = detected.into_inner().unwrap_or_else(PoisonError::into_inner);
    let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count = detected.iter().flatten().count();
    println!("{count} of {} detected, in {} s", bugs.len(), started.elapsed().as_secs());
    if bugs.is_empty() || !broken.is_empty() {
        return Err(StepFailed::Check("a check does not show what it is there for".to_owned()));
    }
    Ok(())
}

/// Runs these checks against the binary of the environment and prints what is wrong as JSON.
///
/// # Errors
/// When one of them cannot be run.
pub fn check(names: &[String]) -> Result<(), StepFailed> {
    let names = names.iter().map(String::as_str);
    // Rows are named in capital letters; they share one installation.
    let (rows, own): (Vec<&str>, Vec<&str>) =
        names.partition(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
    let mut found = Found::new();
    if !rows.is_empty() {
        found.extend(crate::negative::faults_of(&rows)?);
    }
    for name in own {
        found.insert(name.to_owned(), checks::faults(name)?);
    }
    println!("{}", serde_json::json!(found));
    Ok(())
}

/// The check that must notice a bug: a row of `vectors/negative`, with its combination where the bug
/// shows in no other (`AT-50@2.1.warm`), or one of [`checks`].
const fn check_for(bug: Bug) -> &'static str {
    match bug {
        Bug::ApprovalReused => "SC-29",
        Bug::AssertionForEndpoint => "CA-04",
        Bug::AssertionReused => "CA-09",
        Bug::AuthorizationForwarded => "AU-09",
        Bug::BearerTaken => "AT-35",
        Bug::DefinitionNotCompared => "SC-26",
        Bug::EmptyScopeMeansAll => "AT-39",
        Bug::FsyncSkipped => checks::DURABLE,
        Bug::HeadersNotCompared => "FR-02",
        Bug::HiddenToolTold => "SC-02",
        Bug::IntentNotRecorded => checks::CRASH,
        Bug::JournalFailureIgnored => checks::JOURNAL_FAILS,
        Bug::LastMemberWins => "FR-16",
        Bug::ListNotFiltered => "LF-10",
        Bug::LockIgnored => "SC-50",
        Bug::OtherStatusUnread => "LF-02",
        Bug::PolicyErrorSkipped => "SC-22",
        Bug::ProofBurnedEarly => "DP-50",
        Bug::ProofKeyNotCompared => "DP-11",
        Bug::ProofNonceUnchecked => "DP-27",
        Bug::ProofReused => "DP-19",
        Bug::ProofTokenHashUnchecked => "DP-24",
        Bug::ProofUrlUnchecked => "DP-13",
        Bug::RevocationIgnored => "AT-50",
        Bug::SignatureAlgorithmUnchecked => "AT-07",
        Bug::SilenceIgnored => checks::CUT_OFF,
        Bug::TokenAudienceUnchecked => "AU-01",
        Bug::TokenEndUnchecked => "AT-19",
        Bug::TokenKeyFromHeader => "AT-09",
        Bug::TokenTypeUnchecked => "AT-14",
        Bug::UpstreamStatusPassed => "LF-16",
    }
}

/// Builds the binary beside the ordinary one.
///
/// What lies between (`target/debug/deps`) is shared with every other build, so that only our own
/// crates are compiled once more, and only when they changed; what comes out goes elsewhere, so
/// that `target/debug/attorn` never has a bug. Naming a test makes cargo choose the features of the
/// dependencies as `cargo test --workspace` does; otherwise it would compile them again as well.
fn build() -> Result<(), StepFailed> {
    let shared = root().join("target").display().to_string();
    let arguments = [
        "build",
        "--locked",
        "--workspace",
        "--bin",
        "attorn",
        "--test",
        "keys",
        "--features",
        "attorn/planted",
        "--target-dir",
        "target/planted",
    ];
    run_with("cargo", &arguments, &[("CARGO_BUILD_BUILD_DIR", &shared)])
}

/// Without a bug first, then each bug; taken from the end.
fn jobs(bugs: &[Bug]) -> Vec<Job> {
    let mut jobs: Vec<Job> =
        bugs.iter().map(|bug| Job { bug: Some(*bug), checks: vec![check_for(*bug)] }).collect();
    // The long ones early, so that no processor waits for one at the end.
    jobs.sort_by_key(|job| job.checks.iter().any(|check| checks::ALL.contains(check)));
    let needed = |check: &&'static str| bugs.iter().any(|bug| check_for(*bug) == *check);
    let own = checks::ALL.into_iter().filter(needed);
    jobs.extend(own.map(|check| Job { bug: None, checks: vec![check] }));
    let mut rows: Vec<&str> = bugs.iter().map(|bug| check_for(*bug)).collect();
    rows.retain(|row| !checks::ALL.contains(row));
    jobs.push(Job { bug: None, checks: rows });
    jobs
}

/// A line to print, for what is as it must be or for what is not.
fn judge(job: &Job) -> Result<String, String> {
    let name = job.bug.map_or("no bug", Bug::name);
    let checks = job.checks.join(" ");
    let found = play(job).map_err(|failed| format!("{name}: {checks} could not run: {failed}"))?;
    let faults: Vec<String> = found
        .iter()
        .flat_map(|(check, faults)| faults.iter().map(move |fault| format!("{check}: {fault}")))
        .collect();
    match (job.bug, faults.first()) {
        (None, None) => Ok(format!("{name:<30} {} checks pass", job.checks.len())),
        (None, Some(_)) => Err(format!("{name}: {}", faults.join("; "))),
        (Some(_), Some(first)) => {
            Ok(format!("{name:<30} {}", first.chars().take(SHOWN).collect::<String>()))
        }
        (Some(_), None) => Err(format!("{name}: {checks} did not notice")),
    }
}

fn play(job: &Job) -> Result<Found, StepFailed> {
    // The running program, also when a build has put another one in its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("planted-check").args(&job.checks).env("ATTORN_BINARY", root().join(BINARY));
    match job.bug {
        Some(bug) => command.env("ATTORN_PLANTED", bug.name()),
        None => command.env_remove("ATTORN_PLANTED"),
    };
    let output = output_within("planted-check", WITHIN, &mut command)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let last = printed.lines().last().unwrap_or_default();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // What went wrong may have more lines, of a log and empty ones.
        let told = said.lines().find(|line| line.starts_with("failed: "));
        let line = told.or_else(|| said.lines().last()).unwrap_or("it was killed");
        return Err(StepFailed::Check(line.to_owned()));
    }
    serde_json::from_str(last).map_err(|error| StepFailed::Check(format!("`{last}`: {error}")))
}

fn next(jobs: &Mutex<Vec<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push<T>(all: &Mutex<Vec<T>>, one: T) {
    all.lock().unwrap_or_else(PoisonError::into_inner).push(one);
}

/// Characters of a fault that a line shows.
const SHOWN: usize = 120;
