//! `cargo xtask flame`: where the time of a call goes.
//!
//! Samples the stacks of the server under the bench's load with `perf`, prints which share of the samples
//! has passed through which part, and draws the flame graph with `inferno`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::load::{self, Load};
use super::peers::Peer;
use super::{hello, protected};
use crate::agent::call_body;
use crate::installation::{Installation, free_port};
use crate::step::{StepFailed, answers, output_of, root, run};

/// A release of inferno; its licence (CDDL) is that of a tool which is run and linked to nothing.
const INFERNO: &[&str] = &["install", "inferno", "--version", "0.12.8", "--locked", "--quiet"];
const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_secs(2);
const DATA: &str = "perf.data";

/// Parts of a call, each with what a frame of it holds. A sample can be in several.
const PARTS: &[(&str, &[&str])] = &[
    ("signature of the proof (Ed25519)", &["ed25519_verify", "edwards25519"]),
    ("verification of the proof, signature included", &["attorn_oauth::dpop::verify"]),
    ("SHA-256 and HMAC", &["sha256_block_data_order", "SHA256_", "HMAC_"]),
    ("JSON, read and written", &["attorn_json::", "serde_json::", "attorn_mcp::"]),
    ("decision", &["attorn_policy::"]),
    ("entries, made and written", &["attorn_audit::", "attorn_journal::"]),
    ("allocator", &["mi_malloc", "mi_free", "_mi_", "mi_theap", "mi_heap"]),
    ("copies of memory", &["memmove", "memcpy"]),
    ("network, in the kernel", &["tcp_sendmsg", "tcp_recvmsg", "net_rx_action"]),
    ("sleeping and waking, in the kernel", &["__x64_sys_futex", "do_epoll_wait", "__schedule"]),
    ("everything in the kernel", &["entry_SYSCALL_64", "asm_sysvec", "asm_exc_page_fault"]),
];

/// Measures for `seconds`.
///
/// # Errors
/// When `perf` is missing, or a part does not start.
pub fn run_flame(seconds: u64) -> Result<(), StepFailed> {
    if !answers("perf", &["--version"]) {
        return Err(StepFailed::Check("`perf` is missing; on Debian it is in linux-perf".into()));
    }
    if !answers("inferno-flamegraph", &["--version"]) {
        run("cargo", INFERNO)?;
    }
    let upstream_port = free_port()?;
    let _upstream = Peer::part("bench-upstream", upstream_port, None)?;
    let installation = Installation::start()?;
    installation
        .register_server("bench", &["--url", &format!("http://127.0.0.1:{upstream_port}/mcp")])?;
    installation.approve_all("bench")?;
    let agent = Arc::new(installation.enroll("flame", &[("bench", &["read:*"])])?);
    let token = agent.token("bench", None)?;
    let load = Load {
        peer: installation.addresses().gateway,
        connections: CONNECTIONS,
        lasts: WARM_UP + Duration::from_secs(seconds + 1),
        rate: None,
        make: protected(&agent, &token, &call_body("echo", &hello())),
        tls: None,
    };
    let folder = installation.folder().to_owned();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| StepFailed::Check(format!("runtime: {error}")))?;
    let loaded = runtime.spawn(async move { load::run(&load).await });
    std::thread::sleep(WARM_UP);
    record(installation.process(), &folder, seconds)?;
    let measured = runtime.block_on(loaded);
    measured.map_err(|error| StepFailed::Check(error.to_string()))??;
    print_shares(&collapsed(&folder)?);
    draw(&folder)
}

fn record(process: u32, folder: &Path, seconds: u64) -> Result<(), StepFailed> {
    let (process, seconds) = (process.to_string(), seconds.to_string());
    let data = folder.join(DATA).display().to_string();
    let events = ["record", "-e", "cpu-clock", "-F", "499", "--call-graph", "dwarf,16384"];
    let what = ["-q", "-p", &process, "-o", &data, "--", "sleep", &seconds];
    run("perf", &[&events[..], &what[..]].concat())
}

/// One line a stack: its frames from the outermost, and how many samples had it.
fn collapsed(folder: &Path) -> Result<String, StepFailed> {
    let data = folder.join(DATA).display().to_string();
    let (stacks, folded) = (folder.join("stacks"), folder.join("folded"));
    filter("perf", &["script", "-i", &data], None, &stacks)?;
    filter("inferno-collapse-perf", &[], Some(&stacks), &folded)?;
    std::fs::read_to_string(&folded).map_err(|source| StepFailed::File { path: folded, source })
}

/// Runs a program from a file to a file.
fn filter(
    program: &str,
    arguments: &[&str],
    from: Option<&Path>,
    to: &Path,
) -> Result<(), StepFailed> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StepFailed::File { path, source }
    };
    let input = match from {
        Some(path) => Stdio::from(File::open(path).map_err(failed(path))?),
        None => Stdio::null(),
    };
    let output = File::create(to).map_err(failed(to))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(input).stdout(output).stderr(Stdio::null());
    let status = command.status();
    let status =
        status.map_err(|source| StepFailed::Start { command: program.to_owned(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(StepFailed::Check(format!("{program} ended with {status}")))
}

fn print_shares(folded: &str) {
    let stacks: Vec<(&str, u64)> = folded
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(stack, count)| Some((stack, count.parse().ok()?)))
        .collect();
    // Weights of samples: nanoseconds of processor time.
    let all: u64 = stacks.iter().map(|(_, weight)| weight).sum();
    println!(
        "{} ms of processor time; a moment counts for every part in its stack",
        all / 1_000_000
    );
    for (part, names) in PARTS {
        let passes = |stack: &str| names.iter().any(|name| stack.contains(name));
        let seen: u64 =
            stacks.iter().filter(|(stack, _)| passes(stack)).map(|(_, weight)| weight).sum();
        let tenths = seen / (all / 1000).max(1);
        println!("{:>3}.{} %  {part}", tenths / 10, tenths % 10);
    }
}

fn draw(folder: &Path) -> Result<(), StepFailed> {
    let commit = output_of(&root(), "git", &["rev-parse", "--short=12", "HEAD"])?;
    let title =
        format!("tools/call read, DPoP EdDSA, {CONNECTIONS} connections, {}", commit.trim());
    let options = ["--title", &title, "--minwidth", "0.3", "--deterministic"];
    let path = root().join("bench/results").join(format!("{}.svg", commit.trim()));
    filter("inferno-flamegraph", &options, Some(&folder.join("folded")), &path)?;
    println!("written to {}", path.display());
    Ok(())
}
