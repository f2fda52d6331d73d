//! `cargo xtask trace-bench`: how long an investigator waits for the chain of one request of an API, in a
//! log of a million entries.
//!
//! The entries are appended straight to the journal of an installation that does not run, as the same
//! number of calls would take hours. What is timed is the command as people run it, its own start included.

use std::path::Path;
use std::time::{Duration, Instant};

use attorn_audit::note::NoteSigner;
use attorn_audit::{Decision, Entry, Kind, Outcome};
use attorn_journal::{Config, Durability, Journal};
use serde_json::Value;

use crate::agent::now_s;
use crate::installation::Installation;
use crate::step::StepFailed;

/// Entries of one chain: issuance, decision, exchange, access, outcome.
const CHAIN: usize = 5;
const WRITERS: usize = 64;
const LOOKUPS: usize = 20;
const INDEXED_WITHIN: Duration = Duration::from_secs(900);

/// Appends that many entries, waits for the index, and looks chains up.
///
/// # Errors
/// When an append is refused, the index does not catch up, or a chain is not whole.
pub fn run(entries: usize) -> Result<(), StepFailed> {
    let chains = entries.div_ceil(CHAIN).max(LOOKUPS);
    let mut installation = Installation::start()?;
    installation.kill()?;
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let began = Instant::now();
    runtime.block_on(fill(&installation.state(), chains))?;
    println!("{} entries appended in {:.1} s", chains * CHAIN, began.elapsed().as_secs_f64());
    let began = Instant::now();
    installation.restart()?;
    println!("ready after {:.1} s", began.elapsed().as_secs_f64());
    indexed(&installation, chains - 1)?;
    println!("indexed after {:.1} s", began.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for number in 0..LOOKUPS {
        let chain = number * chains / LOOKUPS;
        let began = Instant::now();
        let found = look_up(&installation, chain)?;
        times.push(began.elapsed());
        verify(&found, chain)?;
    }
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or_default().as_millis();
    println!(
        "attorn audit trace --downstream-id: p50 {} ms, longest {} ms of {LOOKUPS}",
        at(LOOKUPS / 2),
        at(LOOKUPS - 1)
    );
    Ok(())
}

/// Appends to the journal as the process does that has it.
async fn fill(state: &Path, chains: usize) -> Result<(), StepFailed> {
    let key = std::fs::read_to_string(state.join("journal.key")).map_err(failed)?;
    let signer = NoteSigner::from_skey(key.trim_end()).map_err(failed)?;
    let config = Config::new(state.join("journal"), signer.verifier().name());
    let (journal, _) = Journal::open(config, signer).map_err(failed)?;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let journal = journal.clone();
        writers.push(tokio::spawn(async move {
            for number in (writer..chains).step_by(WRITERS) {
                for entry in chain(number) {
                    let appended = journal.append(entry.to_canonical(), Durability::Written);
                    if appended.await.is_err() {
                        return false;
                    }
                }
            }
            true
        }));
    }
    for writer in writers {
        if !writer.await.map_err(failed)? {
            return Err(StepFailed::Check("an append was refused".to_owned()));
        }
    }
    journal.close().await;
    Ok(())
}

/// One call with what came of it, joined as a real one is.
fn chain(number: usize) -> [Entry; CHAIN] {
    let entry = |kind| Entry {
        agent: Some(format!("agt_{:026}", number % 1000)),
        trace_id: Some(format!("{number:032x}")),
        ..Entry::new(kind, now_s() * 1000)
    };
    let (token, decision) = (Some(format!("token-{number}")), Some(format!("dec_{number:026}")));
    let exchanged = Some(format!("exchanged-{number}"));
    [
        Entry { token_jti: token.clone(), trace_id: None, ..entry(Kind::TokenIssued) },
        Entry {
            decision: Some(Decision::Permit),
            decision_id: decision.clone(),
            tool: Some("get_invoice".to_owned()),
            token_jti: token.clone(),
            ..entry(Kind::CallDecided)
        },
        Entry {
            exchanged_jti: exchanged.clone(),
            token_jti: token.clone(),
            ..entry(Kind::TokenExchanged)
        },
        Entry {
            downstream_request_id: Some(downstream(number)),
            downstream_status: Some("200".to_owned()),
            exchanged_jti: exchanged,
            token_jti: token,
            ..entry(Kind::ResourceAccessed)
        },
        Entry { decision_id: decision, outcome: Some(Outcome::Ok), ..entry(Kind::CallCompleted) },
    ]
}

fn downstream(number: usize) -> String {
    format!("request-{number}")
}

/// Waits until the last chain is in the index.
fn indexed(installation: &Installation, last: usize) -> Result<(), StepFailed> {
    let began = Instant::now();
    while began.elapsed() < INDEXED_WITHIN {
        if look_up(installation, last).is_ok_and(|found| verify(&found, last).is_ok()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(StepFailed::Check("the index does not catch up".to_owned()))
}

fn look_up(installation: &Installation, number: usize) -> Result<Value, StepFailed> {
    installation.cli(&["audit", "trace", "--downstream-id", &downstream(number)])
}

/// Whether every part of the chain is there, and of no other one.
fn verify(found: &Value, number: usize) -> Result<(), StepFailed> {
    let text = found.to_string();
    let whole = chain(number);
    let kinds = whole.iter().map(|entry| entry.kind.as_str());
    let is_whole = kinds.clone().all(|kind| text.contains(&format!("\"{kind}\"")));
    let entries = text.matches("\"index\":").count();
    if is_whole && entries == CHAIN {
        return Ok(());
    }
    Err(StepFailed::Check(format!("the chain {number} has {entries} entries: {text}")))
}

fn failed(error: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(format!("trace: {error}"))
}

#[cfg(test)]
mod tests {
    use attorn_audit::trace::{Located, assemble};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_made_here_hangs_together_and_lacks_nothing() {
        let located = |(index, entry): (usize, Entry)| Located {
            log: "l".to_owned(),
            index: u64::try_from(index).unwrap(),
            entry,
        };
        let roots = assemble(chain(7).into_iter().enumerate().map(located).collect());
        assert_eq!(roots.len(), 1);
        let mut nodes = vec![&roots[0]];
        let mut seen = 0;
        while let Some(node) = nodes.pop() {
            assert_eq!(node.findings, []);
            nodes.extend(&node.children);
            seen += 1;
        }
        assert_eq!(seen, CHAIN);
    }

    #[test]
    fn a_chain_that_is_not_whole_is_none() {
        let of = |entries: &[Entry]| -> Value {
            entries.iter().map(|entry| json!({ "kind": entry.kind.as_str(), "index": 1 })).collect()
        };
        assert!(verify(&of(&chain(1)), 1).is_ok());
        assert!(verify(&of(&chain(1)[1..]), 1).is_err());
        assert!(verify(&of(&[chain(1), chain(2)].concat()), 1).is_err());
        assert!(verify(&Value::Null, 1).is_err());
    }
}
