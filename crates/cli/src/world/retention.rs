//! Removes entries that are older than they have to be kept.

use std::time::Duration;

use attorn_audit::Entry;
use attorn_gateway::Carried;
use attorn_journal::{Journal, ReadError, Removal, RemoveError};
use attorn_net::Shutdown;
use attorn_payloads::SealedPayloads;

use crate::clock;
use crate::outside::causes;

/// What can go, and what has to be said of it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Entries before this one can go.
    pub(crate) before: u64,
    /// What they, and those removed before them, still count for.
    carried: Vec<String>,
}

/// Looks once an hour until the shutdown.
///
/// `kept` is where entries begin that another system is still owed.
pub(super) async fn follow(
    (journal, payloads): (Journal, SealedPayloads),
    keep_days: u32,
    kept: impl Fn() -> Option<u64>,
    shutdown: Shutdown,
) {
    let reason = format!("keep_days = {keep_days}");
    loop {
        if let Err(error) = once(&journal, keep_days, kept(), &reason).await {
            tracing::error!(error = causes(&error), "old entries of the journal are not removed");
        }
        remove_payloads(&payloads, older_than(keep_days, clock::now_ms())).await;
        tokio::select! {
            () = shutdown.started() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn once(
    journal: &Journal,
    keep_days: u32,
    kept: Option<u64>,
    reason: &str,
) -> Result<(), RemoveError> {
    let now_ms = clock::now_ms();
    let plan = plan(journal, older_than(keep_days, now_ms), kept).await?;
    if plan.before == 0 {
        return Ok(());
    }
    let (first, before) = (journal.first(), plan.before);
    journal.remove(plan.removal("journal.keep_days", reason, now_ms)).await?;
    if before > first {
        tracing::info!(first, before, "old entries of the journal are removed");
    }
    Ok(())
}

/// Removes sealed payloads of whole days that are older.
pub(crate) async fn remove_payloads(payloads: &SealedPayloads, cutoff_ms: u64) {
    let payloads = payloads.clone();
    let removed = tokio::task::spawn_blocking(move || payloads.remove_before(cutoff_ms / 1000));
    match removed.await {
        Ok(Ok(0)) | Err(_) => {}
        Ok(Ok(days)) => tracing::info!(days, "old sealed payloads are removed"),
        Ok(Err(error)) => tracing::error!(%error, "old sealed payloads are not removed"),
    }
}

/// The moment before which entries are older than `keep_days`.
pub(crate) fn older_than(keep_days: u32, now_ms: u64) -> u64 {
    now_ms.saturating_sub(u64::from(keep_days) * DAY_MS)
}

/// The whole tiles, oldest first, whose every entry is from before `cutoff_ms` and before `kept`.
///
/// # Errors
/// The journal cannot be read.
pub(crate) async fn plan(
    journal: &Journal,
    cutoff_ms: u64,
    kept: Option<u64>,
) -> Result<Plan, ReadError> {
    let earlier = journal.tombstone().map(|signed| signed.tombstone);
    let (mut before, carried) =
        earlier.map_or_else(Default::default, |earlier| (earlier.end, earlier.carried));
    let mut carried = Carried::read(&carried).ok_or(ReadError::Tombstone)?;
    let most = journal.removable().min(kept.unwrap_or(u64::MAX));
    while before + TILE <= most {
        let entries = journal.read(before..before + TILE).await?;
        // What is no entry has no age, and stays.
        let is_old = |bytes: &[u8]| Entry::parse(bytes).is_ok_and(|it| it.time_ms < cutoff_ms);
        if !entries.iter().all(|bytes| is_old(bytes)) {
            break;
        }
        entries.iter().for_each(|bytes| carried.add(bytes));
        before += TILE;
    }
    Ok(Plan { before, carried: carried.lines() })
}

impl Plan {
    pub(crate) fn removal(self, by: &str, reason: &str, now_ms: u64) -> Removal {
        Removal {
            before: self.before,
            by: by.to_owned(),
            reason: reason.to_owned(),
            carried: self.carried,
            now_ms,
        }
    }
}

const TILE: u64 = 256;
const DAY_MS: u64 = 86_400_000;
const PAUSE: Duration = Duration::from_secs(3600);
