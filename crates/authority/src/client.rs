//! Who asks at the token, revocation and introspection endpoints.
//!
//! A client that may not act looks exactly like one with wrong credentials; only the journal knows.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use attorn_jose::{Jkt, PublicKey};
use attorn_oauth::client_assertion::{self, AuthenticatedClient, Expected};
use attorn_oauth::error::TokenError;
use attorn_oauth::token_request::PresentedAssertion;
use attorn_registry::{AgentId, LockTarget, ReasonCode, Snapshot};

use crate::refused::Refused;
use crate::shared::Shared;

/// Authenticates a client by its assertion, which is burned.
pub(crate) fn authenticate(
    shared: &Shared,
    snapshot: &Snapshot,
    presented: &PresentedAssertion,
    now_s: u64,
) -> Result<AuthenticatedClient, Refused> {
    let expected =
        Expected { issuer: &shared.config.issuer, client_id: presented.client_id.as_deref() };
    let mut named = None;
    let keys_of = |id: &AgentId| {
        let keys = usable_keys(shared, snapshot, id, now_s);
        named = Some((id.to_string(), keys.as_ref().err().copied()));
        keys.unwrap_or_default()
    };
    let (assertion, replays) = (&presented.assertion, &shared.replays);
    let client = client_assertion::authenticate(assertion, &expected, keys_of, replays, now_s);
    client.map_err(|refusal| {
        let error = TokenError::ClientAuthentication(refusal);
        let (client_id, standing) = named.unzip();
        // A name that nobody registered was only claimed: that is no verdict on an agent.
        let verdict = standing.flatten().filter(|reason| *reason != ReasonCode::AgentUnknown);
        Refused { reason: verdict.unwrap_or_else(|| error.reason()), client_id, error }
    })
}

/// The keys a client may use now, or why it may use none.
fn usable_keys(
    shared: &Shared,
    snapshot: &Snapshot,
    id: &AgentId,
    now_s: u64,
) -> Result<Vec<PublicKey>, ReasonCode> {
    let agent = snapshot.acting_agent(id)?;
    let owner = agent.owner.clone().map(|owner| LockTarget::Owner { owner });
    let locks = [Some(LockTarget::Agent { agent: id.clone() }), owner];
    if locks.iter().flatten().any(|target| snapshot.active_lock(target, now_s).is_some()) {
        return Err(ReasonCode::LockActive);
    }
    let unlocked = |jkt: Jkt| snapshot.active_lock(&LockTarget::Key { jkt }, now_s).is_none();
    let keys: Vec<_> = agent
        .accepted_keys(now_s)
        .filter(|key| unlocked(key.jkt))
        .filter_map(|key| shared.client_keys.parsed(key.jkt, &key.jwk))
        .collect();
    if keys.is_empty() { Err(ReasonCode::ClientAuthentication) } else { Ok(keys) }
}

/// Parsed client keys by thumbprint. A thumbprint names one key for ever, so nothing goes stale.
#[derive(Debug, Default)]
pub(crate) struct ClientKeys(RwLock<HashMap<Jkt, PublicKey>>);

impl ClientKeys {
    fn parsed(&self, jkt: Jkt, jwk: &str) -> Option<PublicKey> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&jkt).cloned();
        if known.is_some() {
            return known;
        }
        // What the registry holds under another thumbprint is not this key.
        let key = PublicKey::parse_jwk(jwk).ok().filter(|key| key.thumbprint() == jkt)?;
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS_MAX {
            keys.clear();
        }
        keys.insert(jkt, key.clone());
        Some(key)
    }
}

const CACHED_KEYS_MAX: usize = 16 * 1024;
