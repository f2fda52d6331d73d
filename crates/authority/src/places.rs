//! Where clients asked for tokens from lately: one client from two places has two workloads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use attorn_audit::{Entry, Kind};
use attorn_net::{Elsewhere, Peer, SeveralPlaces, Sighting, place};
use attorn_oauth::client_assertion::AuthenticatedClient;
use attorn_oauth::error::TokenError;
use attorn_registry::{AgentId, ReasonCode};
use http::request::Parts;

use crate::refused::Refused;
use crate::shared::Shared;

/// The place of each client.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashMap<AgentId, Sighting>>);

impl Places {
    fn note(
        &self,
        client: &AgentId,
        place: IpAddr,
        now_s: u64,
        within_s: u64,
    ) -> Option<Elsewhere> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = places.get_mut(client) {
            return seen.note(place, now_s, within_s);
        }
        if places.len() >= CLIENTS_MAX {
            places.retain(|_, seen| seen.is_recent(now_s, within_s));
        }
        places.insert(client.clone(), Sighting::new(place, now_s));
        None
    }
}

/// Looks at where an authenticated client asks from: recorded or refused, as configured.
pub(crate) fn verify(
    shared: &Shared,
    client: &AuthenticatedClient,
    head: &Parts,
    now_ms: u64,
) -> Result<(), Refused> {
    let (mode, client_id) = (shared.config.several_places, client.client_id());
    // A listed proxy speaks for many clients, so its address tells nothing of one.
    let from = head.extensions.get::<Peer>().and_then(Peer::charged);
    let Some(from) = place(from).filter(|_| mode != SeveralPlaces::Off) else { return Ok(()) };
    let within_s = shared.config.token_lifetime_s;
    let elsewhere = shared.places.note(client_id, from, now_ms / 1000, within_s);
    let Some(elsewhere) = elsewhere else { return Ok(()) };
    if elsewhere.is_news {
        let mut entry = Entry {
            agent: Some(client_id.to_string()),
            agent_key: Some(client.key().to_string()),
            client_id: Some(client_id.to_string()),
            reason: Some(ReasonCode::CredentialShared.as_str().to_owned()),
            ..shared.entry_from(head, Kind::CredentialShared, now_ms)
        };
        entry.detail.insert("other_peer".to_owned(), elsewhere.before.to_string());
        shared.event(&entry);
    }
    if mode != SeveralPlaces::Refuse {
        return Ok(());
    }
    // RFC 6749 section 5.2. The client learns no more than with a wrong key.
    let error = TokenError::ClientAuthenticationMissing;
    let client_id = Some(client_id.to_string());
    Err(Refused { error, reason: ReasonCode::CredentialShared, client_id, hop: None })
}

/// Beyond that, places that say nothing any more are let go.
const CLIENTS_MAX: usize = 65_536;
