//! `cargo xtask pressure`: ten times the load that fits, in 256 MiB.
//!
//! The process runs in a control group with that limit and no swap. At once: connections that say
//! half a head and rest, ten times as many large bodies as there is room for, each sent to all but
//! its end, and callers without a pause. What is refused must be refused as documented, the kernel
//! must end nothing, and when the load is over calls pass and the journal verifies.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attorn_testkit::canary::Canary;
use serde_json::json;

use crate::agent::{Agent, call_body};
use crate::crash::tools;
use crate::installation::{Installation, Setting};
use crate::memory_limit::MemoryLimit;
use crate::step::StepFailed;

const LIMIT: u64 = 256 << 20;
/// What `gateway.limits.held_body_bytes` is without configuration.
const ROOM: usize = 64 << 20;
/// Just below `gateway.body_bytes_max`.
const BODY: usize = (4 << 20) - 4096;
const BODIES: usize = 10 * ROOM / BODY;
const RESTING: usize = 1500;
const CALLERS: usize = 40;
const WITHIN: Duration = Duration::from_secs(20);
const SERVER: &str = "canary";

/// What the callers saw.
#[derive(Debug, Default)]
struct Tally {
    passed: AtomicU64,
    shed: AtomicU64,
    other: AtomicU64,
}

/// Runs it for `seconds` under full load.
///
/// # Errors
/// When the process ends, sheds otherwise than documented or not at all, or does not recover.
pub fn run(seconds: u64) -> Result<(), StepFailed> {
    let Some(limit) = MemoryLimit::make(LIMIT) else {
        println!("memory limit: NOT MEASURED, no control group for memory may be made here");
        return Ok(());
    };
    let canary = Canary::start(tools()).map_err(failed)?;
    let setting = Setting { memory: Some(&limit), ..Setting::default() };
    let installation = Installation::start_on(&setting)?;
    installation.register_server(SERVER, &["--url", &canary.url()])?;
    installation.approve_all(SERVER)?;
    let agent = installation.enroll("caller", &[(SERVER, &["read:*"])])?;
    let token = agent.token(SERVER, None)?;
    passes(&agent, &token)?;

    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let (resting, held, refused) = std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    tally.add(&agent, &token);
                }
            });
        }
        let resting = rest(&installation);
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut held = Vec::new();
        let mut refused = 0;
        while held.len() + refused < BODIES || Instant::now() < until {
            match large(&agent, &token) {
                Ok(Some(stream)) => held.push(stream),
                Ok(None) | Err(_) => refused += 1,
            }
            drop(canary.take_seen());
            if installation.has_ended() {
                break;
            }
        }
        // Read late on a busy machine, and refused then.
        let answered = held.iter().filter(|stream| is_answered(stream)).count();
        stop.store(true, Ordering::Relaxed);
        (resting, held.len() - answered, refused + answered)
    });
    drop(resting);
    if installation.has_ended() || limit.kills() != Some(0) {
        let kills = limit.kills();
        return Err(StepFailed::Check(format!("the process ended; killed for memory: {kills:?}")));
    }
    recovers(&agent, &token)?;
    judge(&installation, &tally, (held, refused))?;
    installation.verify_journal()?;
    let peak = limit.peak_bytes().unwrap_or_default() >> 20;
    println!(
        "{} MiB for {RESTING} resting connections, {} large bodies ({refused} refused) and \
         {CALLERS} callers: peak {peak} MiB, {} calls passed, {} shed, 0 killed, recovered",
        LIMIT >> 20,
        held + refused,
        tally.passed.load(Ordering::Relaxed),
        tally.shed.load(Ordering::Relaxed),
    );
    Ok(())
}

/// What was refused stands in the journal under the limit that was reached, and nothing else was.
fn judge(
    installation: &Installation,
    tally: &Tally,
    (held, refused): (usize, usize),
) -> Result<(), StepFailed> {
    let other = tally.other.load(Ordering::Relaxed);
    if other > 0 || tally.passed.load(Ordering::Relaxed) == 0 {
        return Err(StepFailed::Check(format!(
            "answers that are not documented: {other}, {tally:?}"
        )));
    }
    if refused == 0 {
        return Err(StepFailed::Check(format!("{held} bodies held, none refused")));
    }
    let entries = installation.journal_entries(0)?;
    let shed = entries.iter().filter(|entry| {
        entry.get("reason").is_some_and(|reason| reason == "rate.limited")
            && entry.pointer("/detail/limit").is_some_and(|limit| limit == "memory")
    });
    if shed.count() == 0 {
        return Err(StepFailed::Check("no entry says that memory was the limit".to_owned()));
    }
    Ok(())
}

impl Tally {
    /// One call: it passes, or is refused for a while. A connection may also find no place.
    fn add(&self, agent: &Agent, token: &str) {
        let Ok(reply) = agent.call(token, SERVER, "echo", &json!({"message": "x"})) else { return };
        let told = reply.header("retry-after").is_some();
        let count = match reply.status {
            200 => &self.passed,
            429 | 503 if told => &self.shed,
            _ => &self.other,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connections that begin a request and say no more.
fn rest(installation: &Installation) -> Vec<TcpStream> {
    let address = installation.addresses().gateway;
    let begun = |_| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"POST /canary/mcp HTTP/1.1\r\nHost: ").ok()?;
        Some(stream)
    };
    (0..RESTING).filter_map(begun).collect()
}

/// A large body without its last bytes. `None` when it was refused before.
fn large(agent: &Agent, token: &str) -> Result<Option<TcpStream>, StepFailed> {
    let mut request = agent.next_request(token, SERVER, &call_body("echo", &json!({})))?;
    request.body.clear();
    request.set_header("Content-Length", Some(BODY.to_string().into_bytes()));
    let mut stream = TcpStream::connect(agent.node()).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_millis(20))).map_err(failed)?;
    stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let head = request.to_bytes();
    stream.write_all(&head).map_err(failed)?;
    let piece = vec![b' '; 1 << 16];
    let mut sent = 0;
    while sent + piece.len() < BODY {
        if stream.write_all(&piece).is_err() {
            return Ok(None);
        }
        sent += piece.len();
    }
    Ok((!is_answered(&stream)).then_some(stream))
}

/// Whether there is an answer, or the connection was closed after one.
fn is_answered(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0; 1]) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn passes(agent: &Agent, token: &str) -> Result<(), StepFailed> {
    let reply = agent.call(token, SERVER, "echo", &json!({"message": "x"}))?;
    if reply.status == 200 {
        return Ok(());
    }
    Err(StepFailed::Check(format!("a call: {} {}", reply.status, reply.text())))
}

fn recovers(agent: &Agent, token: &str) -> Result<(), StepFailed> {
    let started = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 20 {
        match passes(agent, token) {
            Ok(()) => in_a_row += 1,
            Err(refused) if started.elapsed() > WITHIN => return Err(refused),
            Err(_) => in_a_row = 0,
        }
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(error.to_string())
}
