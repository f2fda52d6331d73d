//! Measures a journal on this machine: `measure <folder> <entries> [written|fsync]`.
//!
//! Build it with `--release`. Prints one JSON object: appends per second, time to open the log
//! again, entries verified per second in the folder and in an export bundle.
#![expect(clippy::print_stdout, reason = "what it prints is its purpose")]

use std::error::Error;
use std::path::Path;

use attorn_audit::note::NoteSigner;
use attorn_audit::verify::{Trust, verify};
use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::{Config, Durability, Journal, check};
use tokio::task::JoinSet;
use tokio::time::Instant;

const ORIGIN: &str = "example/gateway/1";
/// Callers at a time.
const CALLERS: u64 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: measure <folder> <entries> [written|fsync]".into());
    };
    let durability = match arguments.next().as_deref() {
        None | Some("written") => Durability::Written,
        Some("fsync") => Durability::Fsync,
        Some(_) => return Err("usage: measure <folder> <entries> [written|fsync]".into()),
    };
    let count: u64 = count.parse()?;
    let folder = Path::new(&folder);

    let (journal, _) = Journal::open(Config::new(folder, ORIGIN), signer()?)?;
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let journal = journal.clone();
        callers.spawn(async move {
            for number in 0..count / CALLERS {
                journal.append(call(number).to_canonical(), durability).await?;
            }
            Ok::<(), attorn_journal::JournalUnavailable>(())
        });
    }
    callers.join_all().await.into_iter().collect::<Result<(), _>>()?;
    let append_s = begin.elapsed().as_secs_f64();
    let size = count / CALLERS * CALLERS;
    journal.close().await;

    let begin = Instant::now();
    let (journal, _) = Journal::open(Config::new(folder, ORIGIN), signer()?)?;
    let open_s = begin.elapsed().as_secs_f64();
    let indices: Vec<u64> = (0..size.min(50_000)).collect();
    let bundle = journal.export(&indices).await?;
    journal.close().await;

    let keys = [signer()?.verifier().clone()];
    let begin = Instant::now();
    check(folder, &keys)?;
    let check_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    verify(&bundle, Trust::Pinned(&keys))?;
    let verify_s = begin.elapsed().as_secs_f64();
    println!(
        "{{\"entries\":{size},\"appends_per_s\":{:.0},\"open_s\":{open_s:.3},\
         \"folder_verified_per_s\":{:.0},\"bundle_entries\":{},\"bundle_verified_per_s\":{:.0}}}",
        per_second(size, append_s),
        per_second(size, check_s),
        indices.len(),
        per_second(size.min(50_000), verify_s),
    );
    Ok(())
}

fn signer() -> Result<NoteSigner, attorn_audit::note::KeyError> {
    NoteSigner::from_seed(ORIGIN, &[1; 32])
}

fn per_second(count: u64, seconds: f64) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from) / seconds
}

/// An entry as large as that of a usual call.
fn call(number: u64) -> Entry {
    let mut entry = Entry::new(Kind::CallDecided, 1_700_000_000_000 + number);
    entry.agent = Some("agt_k3v5x7z2b4d6f8h1".into());
    entry.agent_key = Some("Hf1Xl0ZkP8vK3sQm9uT5wY7aB2cD4eF6gH8iJ0kL1mN".into());
    entry.arguments_bytes = Some(212);
    entry.arguments_digest = Some(format!("hmac-sha256:{number:064x}"));
    entry.class = Some("write".into());
    entry.decision = Some(Decision::Permit);
    entry.decision_id = Some(format!("dec_{number:020}"));
    entry.method = Some("tools/call".into());
    entry.mcp_version = Some("2026-07-28".into());
    entry.policy_version = Some("17".into());
    entry.proof_jti = Some(format!("{number:032x}"));
    entry.rule = Some("permit-granted".into());
    entry.scope = Some("write:send_invoice".into());
    entry.server = Some("srv_billing".into());
    entry.token_jti = Some(format!("{number:032x}"));
    entry.tool = Some("send_invoice".into());
    entry.trace_id = Some(format!("{number:032x}"));
    entry
}
