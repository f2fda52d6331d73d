//! A registry from a backup, found by the mark beside it.

use attorn_audit::{Decision, Entry, Kind};
use attorn_store::Act;

use crate::authority::StartError;
use crate::shared::Shared;

/// Ends every token of a registry that is older than the mark.
pub(crate) async fn go_beyond(shared: &Shared) -> Result<(), StartError> {
    let now_ms = shared.clock.now_ms();
    let (mark, registry) = (shared.mark.at(), shared.store.in_force().await?);
    let Some(beyond) = shared.mark.beyond(registry) else { return Ok(()) };
    tracing::error!(
        registry = registry.version,
        was = mark.version,
        "the registry is older than it was: every token ends, and what was taken back since is \
         in force again; look through locks, grants and agents"
    );
    let mut entry = Entry {
        decision: Some(Decision::Permit),
        by: Some("authority".to_owned()),
        ..shared.entry(Kind::AdminChanged, now_ms)
    };
    entry.detail.insert("registry".to_owned(), registry.version.to_string());
    entry.detail.insert("was".to_owned(), mark.version.to_string());
    // It only takes away: an authority whose registry went back would otherwise take no lock any more.
    let _recorded = shared.record_emergency(&entry).await?;
    let act = Act { by: "authority", now_s: now_ms / 1000 };
    shared.store.raise_epoch(&act, beyond).await?;
    Ok(())
}
