//! What a call costs when the registry is large: agents, servers and tools are written straight
//! into its database while nothing runs, as millions of registrations one by one would take days.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::cpu;
use super::load::{self, Load};
use super::{Plan, hello, protected};
use crate::agent::call_body;
use crate::installation::Installation;
use crate::step::StepFailed;

/// One size of the registry.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    agents: u32,
    servers: u32,
    tools: u32,
    /// Seconds from the start of the process until it serves.
    ready_s: f64,
    cpu_us_per_call: f64,
    calls_per_second: f64,
    memory_mib: u64,
}

/// Agents, servers, and tools of each server.
const SIZES: [(u32, u32, u32); 4] =
    [(1_000, 10, 10), (100_000, 10, 10), (1_000_000, 10, 10), (1_000, 10_000, 10)];
const CONNECTIONS: usize = 32;
const BATCH: u32 = 500;
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Of half a second: a twentieth.
const IDLE_US: u64 = 25_000;

/// As `--only` finds it.
pub(super) const NAME: &str = "growth";

/// Measures a call at each size.
///
/// # Errors
/// When a part does not start or no call succeeds.
pub(super) fn measure(plan: &Plan, upstream: &str) -> Result<Vec<Size>, StepFailed> {
    SIZES.iter().map(|size| one(plan, upstream, *size)).collect()
}

fn one(
    plan: &Plan,
    upstream: &str,
    (agents, servers, tools): (u32, u32, u32),
) -> Result<Size, StepFailed> {
    let mut installation = Installation::start()?;
    installation.kill()?;
    fill(&installation, (agents, servers, tools))?;
    let started = Instant::now();
    installation.restart()?;
    // It listens before it has read its registry; it serves once a command is answered.
    installation.register_server("bench", &["--url", upstream])?;
    let ready_s = started.elapsed().as_secs_f64();
    installation.approve_all("bench")?;
    let agent = Arc::new(installation.enroll("caller", &[("bench", &["read:*"])])?);
    let token = agent.token("bench", None)?;
    let load = Load {
        peer: installation.addresses().gateway,
        connections: CONNECTIONS,
        lasts: plan.lasts,
        rate: None,
        tls: None,
        make: protected(&agent, &token, &call_body("echo", &hello())),
    };
    settle(installation.process())?;
    let before = cpu::micros(installation.process())?;
    let measured = plan.runtime.block_on(load::run(&load))?;
    let spent = cpu::micros(installation.process())?.saturating_sub(before);
    let size = Size {
        agents,
        servers,
        tools: servers * tools,
        ready_s,
        cpu_us_per_call: cpu::ratio(spent, measured.ok + measured.other),
        calls_per_second: measured.per_second(),
        memory_mib: cpu::memory_kib(installation.process())? / 1024,
    };
    println!(
        "{agents} agents, {} tools: {:.1} us CPU, {:.0}/s, ready after {ready_s:.1} s, {} MiB",
        size.tools, size.cpu_us_per_call, size.calls_per_second, size.memory_mib
    );
    if measured.ok == 0 { Err(StepFailed::Check("no call succeeded".to_owned())) } else { Ok(size) }
}

/// Waits until the process has nothing to do: what it does once after such a start is no part of a
/// call.
fn settle(process: u32) -> Result<(), StepFailed> {
    let began = Instant::now();
    while began.elapsed() < SETTLED_WITHIN {
        let before = cpu::micros(process)?;
        std::thread::sleep(Duration::from_millis(500));
        if cpu::micros(process)?.saturating_sub(before) <= IDLE_US {
            return Ok(());
        }
    }
    Err(StepFailed::Check("the process does not come to rest".to_owned()))
}

/// Writes rows as the registry has them; nothing runs meanwhile.
fn fill(
    installation: &Installation,
    (agents, servers, tools): (u32, u32, u32),
) -> Result<(), StepFailed> {
    let database = installation.state().join("registry.db");
    let mut sqlite = Command::new("sqlite3")
        .arg(&database)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|source| StepFailed::Start { command: "sqlite3".to_owned(), source })?;
    let file = |source| StepFailed::File { path: database.clone(), source };
    if let Some(mut input) = sqlite.stdin.take() {
        write_rows(&mut input, agents, servers, tools).map_err(file)?;
    }
    let ended = sqlite.wait().map_err(file)?;
    if ended.success() {
        return Ok(());
    }
    Err(StepFailed::Status { command: "sqlite3".to_owned(), status: ended.code() })
}

fn write_rows(
    input: &mut impl std::io::Write,
    agents: u32,
    servers: u32,
    tools: u32,
) -> std::io::Result<()> {
    let mut input = std::io::BufWriter::new(input);
    let owner = "(SELECT id FROM owners WHERE name = 'test-team')";
    writeln!(input, "PRAGMA synchronous = OFF;\nBEGIN;")?;
    for first in (0..agents).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        write!(input, "INSERT INTO agents (id, name, kind, owner, state, created_s) VALUES ")?;
        for number in first..agents.min(first + BATCH) {
            let (comma, id) = (if number == first { "" } else { "," }, identifier("agt", number));
            write!(input, "{comma}('{id}','filler-{number}','agent',{owner},'active',1)")?;
        }
        writeln!(input, ";")?;
    }
    for server in 0..servers {
        let id = identifier("srv", server);
        writeln!(
            input,
            "INSERT INTO servers (id, name, owner, state, upstream, created_s) VALUES \
             ('{id}','filler-{server}',{owner},'suspended',\
             '{{\"kind\":\"http\",\"url\":\"http://127.0.0.1:9/mcp\"}}',1);"
        )?;
        for tool in 0..tools {
            let digest = "A".repeat(43);
            writeln!(
                input,
                "INSERT INTO tools (server, name, definition, digest, proposed_class, seen_s) \
                 VALUES ('{id}','tool-{tool}','{{}}','{digest}','read',1);"
            )?;
        }
    }
    writeln!(input, "COMMIT;")?;
    input.flush()
}

/// The form of the registry's identifiers, from a number.
fn identifier(prefix: &str, number: u32) -> String {
    // Digits of base 8 are digits of base 32.
    format!("{prefix}_{}", format!("{number:0>26o}").replace('0', "a").replace('1', "b"))
}
