//! Runs targets side by side, catches what breaks, and keeps the input that broke it.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::corpus::Corpus;
use super::mutate::mutated;
use super::random::Random;
use super::target::{Seen, Subject, Target};
use crate::step::{StepFailed, root};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When a target ends.
    pub ending: Ending,
    /// From which all inputs follow.
    pub seed: u64,
    /// This target alone.
    pub target: Option<String>,
}

/// When a target ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// After this many inputs; the same inputs every time.
    Executions(u64),
    /// After this time; the same inputs up to there.
    Seconds(u64),
}

/// Inputs with a new outcome become seeds, up to this number.
const POOL_MAX: usize = 1024;

#[derive(Default)]
struct Tally {
    executions: u64,
    accepted: u64,
    outcomes: HashSet<u64>,
    slowest: Duration,
}

/// Runs the targets on as many threads as there are processors.
pub(super) fn run(targets: &[Target], plan: &Plan) -> Result<(), StepFailed> {
    let wanted = |target: &&Target| plan.target.as_ref().is_none_or(|name| target.name == name);
    let targets: Vec<&Target> = targets.iter().filter(wanted).collect();
    if targets.is_empty() {
        return Err(StepFailed::Check("no target has this name: see --list".to_owned()));
    }
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(targets.len()) {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(finding) = one(target, plan) {
                        println!("{:<24} FOUND: {finding}", target.name);
                        let text = format!("{}: {finding}", target.name);
                        if let Ok(mut all) = findings.lock() {
                            all.push(text);
                        }
                    }
                }
            });
        }
    });
    let findings = findings.into_inner().unwrap_or_default();
    let seconds = started.elapsed().as_secs_f64();
    println!("{} targets in {seconds:.0} s, {} findings", targets.len(), findings.len());
    if findings.is_empty() { Ok(()) } else { Err(StepFailed::Check(findings.join("; "))) }
}

fn one(target: &Target, plan: &Plan) -> Result<(), String> {
    let corpus = Corpus::new();
    let mut subject = (target.prepare)(&corpus)?;
    let mut seeds = corpus.broken_before(target.name);
    seeds.append(&mut subject.seeds);
    let mut random = Random::new(plan.seed ^ Random::of(target.name.as_bytes()).draw());
    let mut tally = Tally::default();
    let started = Instant::now();
    // The seeds as they are, and then what follows from them.
    for number in 0..seeds.len() {
        let input = seeds.get(number).cloned().unwrap_or_default();
        execute(target, &mut subject, &input, &mut tally)?;
    }
    while !ended(plan.ending, &tally, started) {
        for _ in 0..32 {
            let input = mutated(&seeds, &subject.shape, &mut random);
            let seen = execute(target, &mut subject, &input, &mut tally)?;
            if seen && seeds.len() < POOL_MAX {
                seeds.push(input);
            }
        }
    }
    if tally.accepted == 0 {
        return Err("nothing was accepted, so the oracle saw nothing".to_owned());
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(tally.executions).unwrap_or(u32::MAX)) / seconds.max(0.001);
    println!(
        "{:<24} {:>8} executions in {seconds:>5.1} s, {rate:>6.0}/s, {:>7} accepted, {:>3} \
         outcomes, slowest {:.0} ms",
        target.name,
        tally.executions,
        tally.accepted,
        tally.outcomes.len(),
        tally.slowest.as_secs_f64() * 1000.0
    );
    Ok(())
}

fn ended(ending: Ending, tally: &Tally, started: Instant) -> bool {
    match ending {
        Ending::Executions(most) => tally.executions >= most,
        Ending::Seconds(seconds) => started.elapsed() >= Duration::from_secs(seconds),
    }
}

/// Whether the outcome is new. What breaks is written to a file.
fn execute(
    target: &Target,
    subject: &mut Subject,
    input: &[u8],
    tally: &mut Tally,
) -> Result<bool, String> {
    tally.executions += 1;
    let started = Instant::now();
    let seen = checked(subject, input).map_err(|what| {
        format!("execution {}: {what}: {}", tally.executions, kept(target, input))
    })?;
    tally.slowest = tally.slowest.max(started.elapsed());
    tally.accepted += u64::from(seen.accepted);
    Ok(tally.outcomes.insert(seen.outcome))
}

/// A panic is a finding like any other.
fn checked(subject: &mut Subject, input: &[u8]) -> Result<Seen, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (subject.check)(input)));
    outcome.unwrap_or_else(|_| Err("panic".to_owned()))
}

/// Saves an input and says where.
fn kept(target: &Target, input: &[u8]) -> String {
    let folder = root().join("target/fuzz");
    let name = format!("{}-{:016x}.bin", target.name, Random::of(input).draw());
    let path = folder.join(name);
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    match written {
        Ok(()) => format!("input saved as {}", path.display()),
        Err(error) => format!("input not saved ({error}): {}", String::from_utf8_lossy(input)),
    }
}

/// Gives a saved input to a target again.
pub(super) fn replay(targets: &[Target], name: &str, path: PathBuf) -> Result<(), StepFailed> {
    let unknown = || StepFailed::Check(format!("no target is named `{name}`: see --list"));
    let target = targets.iter().find(|target| target.name == name).ok_or_else(unknown)?;
    let input = std::fs::read(&path).map_err(|source| StepFailed::File { path, source })?;
    let mut subject = (target.prepare)(&Corpus::new()).map_err(StepFailed::Check)?;
    let seen = checked(&mut subject, &input).map_err(StepFailed::Check)?;
    println!("{name}: {}", if seen.accepted { "accepted" } else { "refused" });
    Ok(())
}
