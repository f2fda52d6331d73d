//! Writes a journal for other programs to verify: `write_log <folder> <entries>`.
//!
//! Prints the key that verifies its checkpoints. Beside the log stands `bundle.json`, an export of
//! some entries with a consistency proof. The key is fixed: never take it for anything else.
#![expect(clippy::print_stdout, reason = "what it prints is its purpose")]

use std::error::Error;

use attorn_audit::note::NoteSigner;
use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::{Config, Durability, Journal};

const ORIGIN: &str = "example/gateway/1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: write_log <folder> <entries>".into());
    };
    let count: u64 = count.parse()?;
    let signer = NoteSigner::from_seed(ORIGIN, &[1; 32])?;
    let vkey = signer.verifier().to_vkey();
    let (journal, _) = Journal::open(Config::new(&folder, ORIGIN), signer)?;
    let earlier = write(&journal, 0..count / 3).await?;
    write(&journal, count / 3..count).await?;
    let indices: Vec<u64> = (0..count).filter(|index| index % 255 == 0).collect();
    let bundle = journal.export_since(&indices, Some(earlier)).await?;
    journal.close().await;
    std::fs::write(format!("{folder}/bundle.json"), bundle)?;
    println!("{vkey}");
    Ok(())
}

/// Appends entries and gives the first checkpoint that covers them.
async fn write(journal: &Journal, numbers: std::ops::Range<u64>) -> Result<String, Box<dyn Error>> {
    let end = numbers.end;
    for number in numbers {
        let mut entry = Entry::new(Kind::CallDecided, 1_700_000_000_000 + number);
        entry.decision = Some(Decision::Permit);
        entry.decision_id = Some(format!("dec_{number}"));
        entry.tool = Some("get_invoice".into());
        journal.append(entry.to_canonical(), Durability::Written).await?;
    }
    journal.subscribe().wait_for(|size| *size >= end).await?;
    journal.export(&[end.saturating_sub(1)]).await?;
    Ok(journal.checkpoint().note.to_string())
}
