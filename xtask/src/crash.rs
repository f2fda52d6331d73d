//! `cargo xtask crash`: kills the process at random moments under load and looks what is left.
//!
//! After each kill: every call that the canary executed has its intent in the journal, every call
//! that was answered has one too, the tree verifies, and the process starts again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use attorn_jose::sha256;
use attorn_testkit::canary::Canary;
use serde_json::{Value, json};

use crate::agent::{Agent, call_body, unique};
use crate::installation::Installation;
use crate::step::StepFailed;

const CALLERS: usize = 4;
/// The whole tree is verified after each kill, so a log that grows for ever would take all the time.
const KILLS_PER_LOG: u32 = 100;
/// What a lost entry is reported as.
pub(crate) const NO_INTENT: &str = "have no intent";

/// Kills `kills` times.
///
/// # Errors
/// When an entry is lost, an executed call has no intent, or the process does not start again.
pub fn run(kills: u32) -> Result<(), StepFailed> {
    let canary = Canary::start(tools())
        .map_err(|error| StepFailed::Check(format!("the canary does not start: {error}")))?;
    let (mut executed, mut answered) = (0, 0);
    // Of all logs: what a process sent just before its end can reach the canary after the next one
    // began.
    let mut intents = BTreeSet::new();
    let mut first = 0;
    while first < kills {
        let end = kills.min(first + KILLS_PER_LOG);
        let found = one_log(&canary, first..end, &mut intents)?;
        executed += found.executed;
        answered += found.answered;
        first = end;
        println!("{end} kills, {executed} executed, {answered} answered");
    }
    if executed == 0 || answered == 0 {
        return Err(StepFailed::Check(
            "the load executed nothing, so nothing was shown".to_owned(),
        ));
    }
    println!(
        "{kills} kills: {executed} calls executed, {answered} answered, none without its intent"
    );
    Ok(())
}

/// What one log saw.
struct Found {
    executed: usize,
    answered: usize,
}

/// Kills an installation of its own again and again.
fn one_log(
    canary: &Canary,
    kills: Range<u32>,
    intents: &mut BTreeSet<String>,
) -> Result<Found, StepFailed> {
    let mut installation = Installation::start()?;
    installation.register_server("canary", &["--url", &canary.url()])?;
    installation.approve_all("canary")?;
    let agent = installation.enroll("caller", &[("canary", &["read:*", "write:*"])])?;
    let mut executed = BTreeSet::new();
    let mut answered = BTreeSet::new();
    let mut entries_read = 0;
    for kill in kills {
        let found = one_round(&mut installation, &agent, delay(kill))?;
        answered.extend(found);
        executed.extend(canary.take_seen().iter().filter_map(|seen| trace_of_body(&seen.body)));
        installation.restart()?;
        // The tree is verified whole each time; what was read before is not parsed again.
        let entries = installation.journal_entries(entries_read)?;
        entries_read += u64::try_from(entries.len()).unwrap_or(u64::MAX);
        intents.extend(entries.iter().filter_map(intent));
        missing("executed", &executed, intents, kill)?;
        missing("answered", &answered, intents, kill)?;
    }
    installation.verify_journal()?;
    Ok(Found { executed: executed.len(), answered: answered.len() })
}

/// Calls until the process is gone; gives the traces of the calls that were answered.
fn one_round(
    installation: &mut Installation,
    agent: &Agent,
    after: Duration,
) -> Result<BTreeSet<String>, StepFailed> {
    let token = agent.token("canary", None)?;
    let stop = AtomicBool::new(false);
    let answered = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (stop, answered, token) = (&stop, &answered, &token);
            scope.spawn(move || {
                let tool = if caller % 2 == 0 { "note" } else { "echo" };
                while !stop.load(Ordering::Relaxed) {
                    let (trace, body) = traced(tool);
                    let Ok(reply) = agent.send(token, "canary", &body) else { return };
                    if reply.status == 200 && reply.text().contains("canary called") {
                        let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
                        answered.insert(trace);
                    }
                }
            });
        }
        std::thread::sleep(after);
        let killed = installation.kill();
        stop.store(true, Ordering::Relaxed);
        killed
    })?;
    Ok(answered.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Spread over the first 250 ms; the same sequence in each run.
fn delay(kill: u32) -> Duration {
    let [first, second, ..] = sha256(&kill.to_be_bytes());
    Duration::from_millis(5 + u64::from(u16::from_be_bytes([first, second])) % 250)
}

/// The trace of a permitted call.
fn intent(entry: &Value) -> Option<String> {
    let is_permitted_call = entry.get("kind").is_some_and(|kind| kind == "call.decided")
        && entry.get("decision").is_some_and(|decision| decision == "permit");
    is_permitted_call.then(|| entry.get("trace_id")?.as_str().map(str::to_owned)).flatten()
}

fn missing(
    what: &str,
    calls: &BTreeSet<String>,
    intents: &BTreeSet<String>,
    kill: u32,
) -> Result<(), StepFailed> {
    match calls.difference(intents).count() {
        0 => Ok(()),
        lost => Err(StepFailed::Check(format!("kill {kill}: {lost} {what} calls {NO_INTENT}"))),
    }
}

/// A call that can be found again: the trace id stands in the arguments, where the canary sees it,
/// and in `_meta`, where the gateway takes it from.
fn traced(tool: &str) -> (String, Value) {
    let digest = sha256(unique().as_bytes());
    let trace: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut body = call_body(tool, &json!({"message": trace}));
    if let Some(meta) = body.pointer_mut("/params/_meta").and_then(Value::as_object_mut) {
        meta.insert("traceparent".to_owned(), format!("00-{trace}-00f067aa0ba902b7-01").into());
    }
    (trace, body)
}

fn trace_of_body(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.pointer("/params/arguments/message")?.as_str().map(str::to_owned)
}

/// One tool that reads and one that writes.
pub(crate) fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"message": {"type": "string"}}});
    json!([
        {"name": "echo", "description": "reads", "inputSchema": schema, "annotations": {"readOnlyHint": true}},
        {"name": "note", "description": "writes", "inputSchema": schema}
    ])
}
