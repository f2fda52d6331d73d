//! Rotation of the signing keys: pre-published, active, retired, removed.

use attorn_registry::{IssuerKey, KeyState};
use attorn_store::{Act, Failure, InForce, StoreError};

use crate::keys::KeyError;
use crate::shared::Shared;

/// A rotation that did not happen, or not completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for RotationError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// The pre-published key signs, the active one only verifies, and the retired ones go. A new one is
/// shown. Tokens live at most five minutes; rotations that are closer together end tokens early.
pub(crate) async fn rotate(
    shared: &Shared,
    act: &Act<'_>,
    now: &[IssuerKey],
) -> Result<Vec<IssuerKey>, RotationError> {
    let shown = now.iter().any(|key| key.state == KeyState::Prepublished);
    // A rotation that was cut short may have left none to take over.
    let missing = if shown { None } else { Some(add(shared, act).await?) };
    let next = missing.iter().chain(now);
    let states: Vec<_> = next.map(|key| (key.kid.as_str(), after_rotation(key.state))).collect();
    shared.store.set_issuer_key_states(act, &states).await?;
    // Dies before this line: the next rotation adds the key that is missing.
    add(shared, act).await?;
    let keys = shared.store.issuer_keys().await?;
    destroy_ended(shared, &keys)?;
    Ok(keys)
}

/// Every key is replaced, the pre-published one too: it lay beside the lost one. No older token
/// stands, neither by its key nor by its epoch.
pub(crate) async fn emergency_rotate(
    shared: &Shared,
    act: &Act<'_>,
    now: &[IssuerKey],
) -> Result<Vec<IssuerKey>, RotationError> {
    let active = add(shared, act).await?;
    let removed = now.iter().map(|key| (key.kid.as_str(), KeyState::Removed));
    let states: Vec<_> = removed.chain([(active.kid.as_str(), KeyState::Active)]).collect();
    shared.store.set_issuer_key_states(act, &states).await?;
    // Dies before this line: older tokens are refused all the same, because their keys are gone.
    // Beyond what any gateway has in force: this registry may be from a backup.
    // A gateway only claims its version: an absurd one must not stop the emergency.
    let (own, claimed) = (shared.published.load().version, shared.followers.latest());
    let is_plausible = claimed.saturating_sub(own) <= CLAIM_AHEAD_MAX;
    let before = InForce { version: if is_plausible { claimed } else { own }, epoch: 0 };
    shared.store.raise_epoch(act, before).await?;
    add(shared, act).await?;
    let keys = shared.store.issuer_keys().await?;
    destroy_ended(shared, &keys)?;
    Ok(keys)
}

/// Removes the private parts of keys that only verify, or not even that. Called after the registry
/// knows their end, so that no crash leaves an active key without its file; and at the start, for
/// what a crash left over.
pub(crate) fn destroy_ended(shared: &Shared, keys: &[IssuerKey]) -> Result<(), KeyError> {
    for key in keys {
        match key.state {
            KeyState::Prepublished | KeyState::Active => {}
            KeyState::Retired | KeyState::Removed => shared.keys.destroy(&key.kid)?,
        }
    }
    Ok(())
}

async fn add(shared: &Shared, act: &Act<'_>) -> Result<IssuerKey, RotationError> {
    let key = shared.keys.make(&shared.random, KeyState::Prepublished)?;
    Ok(shared.store.add_issuer_key(act, &key).await?.record)
}

const fn after_rotation(state: KeyState) -> KeyState {
    match state {
        KeyState::Prepublished => KeyState::Active,
        KeyState::Active => KeyState::Retired,
        KeyState::Retired | KeyState::Removed => KeyState::Removed,
    }
}

/// More changes than a registry loses with the oldest backup anybody keeps.
const CLAIM_AHEAD_MAX: u64 = 1 << 32;
