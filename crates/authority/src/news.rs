//! What leads from one version of the registry to the next, here and at gateways elsewhere.

use attorn_oauth::registry_message::RegistryChange;
use attorn_registry::{Snapshot, SnapshotDelta, SnapshotParts};
use attorn_store::{Store, StoreError};

/// The registry as it is now: the one in force and what changed since, or read whole.
///
/// # Errors
/// The registry cannot be read.
pub async fn next_snapshot(
    store: &Store,
    now: &Snapshot,
    now_ms: u64,
) -> Result<(Snapshot, Option<SnapshotDelta>), StoreError> {
    if now.version > 0
        && let Some(delta) = store.load_delta(now.version, now_ms).await?
    {
        match now.apply(delta.clone()) {
            Ok(next) => return Ok((next, Some(delta))),
            Err(refusal) => tracing::warn!(%refusal, "the registry is read whole"),
        }
    }
    Ok((store.load_snapshot(now_ms).await?, None))
}

/// What a gateway that has `after` in force is told. `last` is what led to `now`, so that it is
/// not read again for each gateway.
///
/// # Errors
/// The registry cannot be read.
pub async fn change_after(
    store: &Store,
    (now, last): (&Snapshot, Option<&SnapshotDelta>),
    after: u64,
    now_ms: u64,
) -> Result<RegistryChange, StoreError> {
    if now.version == after {
        return Ok(RegistryChange::Unchanged(after));
    }
    if let Some(delta) = last
        && delta.after == after
    {
        return Ok(RegistryChange::Delta(Box::new(delta.clone())));
    }
    if after > 0
        && let Some(delta) = store.load_delta(after, now_ms).await?
    {
        return Ok(RegistryChange::Delta(Box::new(delta)));
    }
    Ok(RegistryChange::Whole(Box::new(SnapshotParts::from(now))))
}
