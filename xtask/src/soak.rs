//! `cargo xtask soak`: clients, tokens, servers and tools come and go while calls are made.
//!
//! Looked at all the time: the memory of the process, its open files, and what the registry holds
//! that counts. Nothing of it may grow with time. The history of changes does grow, because nothing
//! is removed from it: it is compared with the number of changes.

use std::path::Path;
use std::time::{Duration, Instant};

use attorn_registry::{AgentKind, LifeCycle, SnapshotParts};
use attorn_store::Store;
use attorn_testkit::canary::Canary;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::installation::Installation;
use crate::step::StepFailed;

const SERVER: &str = "canary";
const CALLS: usize = 40;
/// Noise of an allocator that keeps what it was given.
const GROWTH_BYTES_MAX: u64 = 12 << 20;
const GROWTH_FILES_MAX: usize = 16;
/// A row of history, the record it is about, and their indexes.
const BYTES_PER_CHANGE_MAX: u64 = 8 << 10;

/// The process at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_bytes: u64,
    files: usize,
}

/// Runs for so many minutes.
///
/// # Errors
/// When something grows that must not, or a call that is granted does not pass.
pub fn run(minutes: u64) -> Result<(), StepFailed> {
    let canary = Canary::start(shown(0)).map_err(failed)?;
    let installation = Installation::start()?;
    installation.register_server(SERVER, &["--url", &canary.url()])?;
    installation.approve_all(SERVER)?;
    let steady = installation.enroll("steady", &[(SERVER, &["read:*"])])?;
    let (started, whole) = (Instant::now(), Duration::from_secs(minutes * 60));
    let first = registry(&installation)?;
    let mut samples = Vec::new();
    let (mut rounds, mut calls) = (0_u64, 0_u64);
    while started.elapsed() < whole || rounds < ROUNDS_MIN {
        calls += round(&installation, &canary, &steady, rounds)?;
        samples.push(sample(installation.process())?);
        rounds += 1;
    }
    let last = registry(&installation)?;
    judge_process(&samples)?;
    judge_registry(&first, &last)?;
    installation.verify_journal()?;
    let (from, to) = (samples.get(samples.len() / 3), samples.last());
    println!(
        "{} s, {rounds} rounds, {calls} calls, {} changes: {} MiB then {} MiB, {:?} then {:?} \
         files, registry {} KiB",
        started.elapsed().as_secs(),
        last.parts.version - first.parts.version,
        from.map_or(0, |sample| sample.memory_bytes >> 20),
        to.map_or(0, |sample| sample.memory_bytes >> 20),
        from.map(|sample| sample.files),
        to.map(|sample| sample.files),
        last.bytes >> 10,
    );
    Ok(())
}

/// Somebody comes, calls, and goes; a tool changes; a server comes and goes.
fn round(
    installation: &Installation,
    canary: &Canary,
    steady: &Agent,
    number: u64,
) -> Result<u64, StepFailed> {
    let name = format!("guest-{number}");
    let guest = installation.enroll(&name, &[(SERVER, &["read:*"])])?;
    let tokens = [steady.token(SERVER, None)?, guest.token(SERVER, None)?];
    let [own, guests] = &tokens;
    let mut passed = 0;
    for _ in 0..CALLS {
        for (agent, token) in [(steady, own), (&guest, guests)] {
            let reply = agent.call(token, SERVER, "echo", &json!({"message": "x"}))?;
            if reply.status != 200 {
                let what = format!("a granted call: {} {}", reply.status, reply.text());
                return Err(StepFailed::Check(what));
            }
            passed += 1;
        }
    }
    installation.cli(&["lock", "create", &format!("agent/{name}"), "--reason", "soak"])?;
    let locks = installation.cli(&["lock", "list"])?;
    let id =
        locks.as_array().and_then(|locks| locks.last()?.get("id")?.as_str().map(str::to_owned));
    let id = id.unwrap_or_default();
    installation.cli(&["lock", "lift", &id, "--reason", "soak"])?;
    installation.cli(&["agent", "retire", &name, "--reason", "soak"])?;
    let server = format!("server-{number}");
    installation.register_server(&server, &["--url", &canary.url()])?;
    installation.approve_all(&server)?;
    installation.cli(&["server", "retire", &server, "--reason", "soak"])?;
    drop(canary.take_seen());
    Ok(passed)
}

fn sample(process: u32) -> Result<Sample, StepFailed> {
    let folder = Path::new("/proc").join(process.to_string());
    let status = std::fs::read_to_string(folder.join("status")).map_err(failed)?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok());
    let files = std::fs::read_dir(folder.join("fd")).map_err(failed)?.count();
    Ok(Sample { memory_bytes: kib.unwrap_or_default() << 10, files })
}

/// The last third against the middle one: what comes before is a process that warms up.
fn judge_process(samples: &[Sample]) -> Result<(), StepFailed> {
    let third = samples.len() / 3;
    let (middle, end) = (samples.get(third..2 * third), samples.get(2 * third..));
    let (middle, end) = (middle.unwrap_or_default(), end.unwrap_or_default());
    let memory = |part: &[Sample]| part.iter().map(|one| one.memory_bytes).max().unwrap_or(0);
    let files = |part: &[Sample]| part.iter().map(|one| one.files).max().unwrap_or(0);
    if memory(end) > memory(middle) + GROWTH_BYTES_MAX {
        let (from, to) = (memory(middle) >> 20, memory(end) >> 20);
        return Err(StepFailed::Check(format!("memory grows: {from} MiB, then {to} MiB")));
    }
    if files(end) > files(middle) + GROWTH_FILES_MAX {
        let (from, to) = (files(middle), files(end));
        return Err(StepFailed::Check(format!("open files grow: {from}, then {to}")));
    }
    Ok(())
}

/// The registry, and how large its files are.
struct Held {
    parts: SnapshotParts,
    bytes: u64,
}

fn registry(installation: &Installation) -> Result<Held, StepFailed> {
    let path = installation.state().join("registry.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let parts = runtime.map_err(failed)?.block_on(async {
        let store = Store::open(&path.display().to_string()).await.map_err(failed)?;
        let snapshot = store.load_snapshot(crate::agent::now_s() * 1000).await.map_err(failed)?;
        store.close().await;
        Ok::<_, StepFailed>(SnapshotParts::from(&snapshot))
    })?;
    let bytes = std::fs::metadata(&path).map_err(failed)?.len();
    Ok(Held { parts, bytes })
}

/// What counts is what counted at the start: guests and their servers left nothing in force.
fn judge_registry(first: &Held, last: &Held) -> Result<(), StepFailed> {
    let active = |held: &Held| {
        let agents = held.parts.agents.iter();
        let acting = |agent: &&attorn_registry::Agent| {
            agent.kind == AgentKind::Agent && agent.state == LifeCycle::Active
        };
        let servers = held.parts.servers.iter();
        let served = servers.filter(|server| server.state == LifeCycle::Active).count();
        (agents.filter(acting).count(), served, held.parts.locks.len(), held.parts.revoked.len())
    };
    if active(first) != active(last) {
        let (from, to) = (active(first), active(last));
        return Err(StepFailed::Check(format!("agents, servers, locks, tokens: {from:?}, {to:?}")));
    }
    let changes = last.parts.version - first.parts.version;
    let grown = last.bytes.saturating_sub(first.bytes);
    if grown > changes * BYTES_PER_CHANGE_MAX {
        return Err(StepFailed::Check(format!("{grown} bytes for {changes} changes")));
    }
    Ok(())
}

/// The tools of the canary.
fn shown(edition: u64) -> Value {
    let schema = json!({"type": "object", "properties": {"message": {"type": "string"}}});
    json!([{
        "name": "echo", "description": format!("edition {edition}"), "inputSchema": schema,
        "annotations": {"readOnlyHint": true}
    }])
}

fn failed(error: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(error.to_string())
}

/// Fewer say nothing about growth.
const ROUNDS_MIN: u64 = 6;
