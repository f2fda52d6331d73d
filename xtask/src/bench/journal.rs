//! Appending to a journal and verifying what it exported, in this process.

use std::time::Instant;

use attorn_audit::note::NoteSigner;
use attorn_audit::verify::{Trust, verify};
use attorn_audit::{Entry, Kind};
use attorn_journal::{Config, Durability, Journal};
use serde_json::{Value, json};

use crate::agent::{now_s, unique};
use crate::step::StepFailed;

const WRITERS: usize = 64;
const VERIFIED_MAX: u64 = 100_000;

/// Appends `entries`, exports some of them and verifies the bundle.
pub(super) fn measure(entries: usize) -> Result<Value, StepFailed> {
    let folder = std::env::temp_dir().join(format!("attorn-bench-journal-{}", unique()));
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let measured = runtime.block_on(run(&folder, entries));
    drop(std::fs::remove_dir_all(&folder));
    measured
}

async fn run(folder: &std::path::Path, entries: usize) -> Result<Value, StepFailed> {
    let signer = NoteSigner::from_seed("bench/gateway/1", &[1; 32]).map_err(failed)?;
    let config = Config::new(folder, "bench/gateway/1");
    let (journal, _) = Journal::open(config, signer).map_err(failed)?;
    let started = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let journal = journal.clone();
        writers.push(tokio::spawn(async move {
            for number in 0..entries / WRITERS {
                let entry = sample(writer, number).to_canonical();
                if journal.append(entry, Durability::Written).await.is_err() {
                    return false;
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
    let append_s = started.elapsed().as_secs_f64();
    let size = journal.size();
    let indices: Vec<u64> = (0..size.min(VERIFIED_MAX)).collect();
    let bundle = journal.export(&indices).await.map_err(failed)?;
    let started = Instant::now();
    verify(&bundle, Trust::Embedded).map_err(failed)?;
    let verify_s = started.elapsed().as_secs_f64();
    journal.close().await;
    let rate =
        |count: u64, seconds: f64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    let appended = rate(size, append_s);
    let verified = rate(indices.len() as u64, verify_s);
    println!(
        "journal: {appended:.0} entries/s appended, {verified:.0} entries/s verified from a bundle"
    );
    Ok(json!({"appended_per_s": appended, "verified_per_s": verified, "entries": size}))
}

fn sample(writer: usize, number: usize) -> Entry {
    let mut entry = Entry::new(Kind::CallDecided, now_s() * 1000);
    entry.agent = Some("agt_00000000000000000000000000000000".to_owned());
    entry.server = Some("srv_00000000000000000000000000000000".to_owned());
    entry.tool = Some("echo".to_owned());
    entry.token_jti = Some(format!("{writer}-{number}"));
    entry.scope = Some("read:echo".to_owned());
    entry
}

fn failed(error: impl std::fmt::Display) -> StepFailed {
    StepFailed::Check(format!("journal: {error}"))
}
