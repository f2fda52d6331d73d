//! `/register`: a client makes itself known. RFC 7591 section 3.
//!
//! Anybody may write into the registry here, so it is off unless the operator opened it, what is kept
//! is small, there is a quota for each address and for all, and what nobody uses ends.
//! Not implemented: initial access tokens, software statements, reading or changing a registration
//! (RFC 7592): a client that changes registers again.

use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::JournalUnavailable;
use attorn_net::{Body, Peer};
use attorn_oauth::client_metadata::{ClientMetadata, ClientMetadataRefusal};
use attorn_oauth::error::ErrorCode;
use attorn_registry::{AgentId, ClientSource, OwnerId, PublicClient, ReasonCode};
use attorn_store::{Act, NewPublicClient, StoreError};
use http::request::Parts;
use http::{Response, StatusCode};

use super::clients::{RecordError, new_client};
use super::{People, Registration};
use crate::http::{empty, json_answer};
use crate::refused;
use crate::shared::Shared;

/// Answers one registration.
pub(crate) async fn handle(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    if people.config.registration == Registration::Closed {
        return empty(StatusCode::NOT_FOUND);
    }
    let now_ms = shared.clock.now_ms();
    let about = shared.entry_from(head, Kind::IdentityEnrolmentRefused, now_ms);
    let metadata = if crate::public::is_media_type(head, "application/json") {
        ClientMetadata::of_registration(body)
    } else {
        Err(ClientMetadataRefusal::Malformed)
    };
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(refusal) => {
            if shared.note_refusal(about, refusal.reason()).await.is_err() {
                return refused::unavailable();
            }
            return refused::error(StatusCode::BAD_REQUEST, refusal.code(), refusal.description());
        }
    };
    let now_s = now_ms / 1000;
    let registered = match admit(people, head, now_s) {
        Ok(()) => register((shared, people), &metadata, now_s).await,
        Err(too_many) => Err(too_many),
    };
    match registered {
        Ok(new) => answer(&new, &metadata, now_s),
        Err(RecordError::TooMany) => {
            let _noted = shared.note_refusal(about, ReasonCode::RateLimited).await.is_ok();
            let code = ErrorCode::TemporarilyUnavailable;
            refused::error(StatusCode::TOO_MANY_REQUESTS, code, "too many registrations")
        }
        Err(error) => {
            tracing::warn!(%error, "a client is not registered");
            refused::unavailable()
        }
    }
}

/// RE-17 of the threat model: a flood fills its own share and no other. Counted before anything is waited
/// for: of many at once, no more are than of many in turn.
fn admit(people: &People, head: &Parts, now_s: u64) -> Result<(), RecordError> {
    let place = head.extensions.get::<Peer>().map(|peer| peer.address.ip());
    let place = place.map(|ip| attorn_net::place(Some(ip)).unwrap_or(ip).to_string());
    let place = place.unwrap_or_default();
    let asked = people.registrations.look(&place, PER_ADDRESS_MAX, now_s);
    asked.map_err(|_wait_s| RecordError::TooMany)?;
    people.registrations.count(&place, now_s);
    Ok(())
}

async fn register(
    (shared, people): (&Shared, &People),
    metadata: &ClientMetadata,
    now_s: u64,
) -> Result<NewPublicClient, RecordError> {
    let uris = metadata.redirect_uris.iter().map(|uri| uri.as_str().to_owned());
    let unnamed = || "an application without a name".to_owned();
    let client = PublicClient {
        redirect_uris: uris.collect(),
        source: ClientSource::Dynamic { expires_s: now_s.saturating_add(UNKNOWN_S) },
        display_name: metadata.client_name.clone().unwrap_or_else(unnamed),
    };
    let _alone = shared.turns.next().await;
    let known = shared.store.dynamic_clients(now_s).await.map_err(StoreError::from)?;
    if known >= u64::from(people.config.registrations_max) {
        return Err(RecordError::TooMany);
    }
    let new = new_client((shared, people), client)?;
    let by = new.id.to_string();
    let act = Act { by: &by, now_s };
    announce(shared, (&new.id, new.owner.as_ref(), &new.client), &act).await?;
    shared.store.register_public_client(&act, &new).await?;
    shared.publish().await?;
    Ok(new)
}

/// Records that a client becomes known, or says something else of itself than before. If the process
/// dies after it, the entry names one that is not there.
pub(crate) async fn announce(
    shared: &Shared,
    (id, owner, client): (&AgentId, Option<&OwnerId>, &PublicClient),
    act: &Act<'_>,
) -> Result<(), JournalUnavailable> {
    let mut entry = Entry {
        agent: Some(id.to_string()),
        by: Some(act.by.to_owned()),
        client_id: Some(id.to_string()),
        decision: Some(Decision::Permit),
        owner: owner.map(ToString::to_string),
        ..shared.entry(Kind::IdentityRegistered, act.now_s.saturating_mul(1000))
    };
    let source = match &client.source {
        ClientSource::Dynamic { .. } => "registered itself".to_owned(),
        ClientSource::MetadataDocument { url } => format!("document {url}"),
        ClientSource::Registered => "registered".to_owned(),
    };
    entry.detail.insert("source".to_owned(), source);
    entry.detail.insert("display_name".to_owned(), client.display_name.clone());
    entry.detail.insert("redirect_uris".to_owned(), client.redirect_uris.join(" "));
    shared.record(&entry).await.map(|_recorded| ())
}

/// RFC 7591 section 3.2.1: what is kept, which may be other than what was asked.
fn answer(new: &NewPublicClient, metadata: &ClientMetadata, now_s: u64) -> Response<Body> {
    let mut body = serde_json::json!({
        "client_id": new.id.as_str(),
        "client_id_issued_at": now_s,
        "redirect_uris": new.client.redirect_uris,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    if let (Some(name), Some(members)) = (&metadata.client_name, body.as_object_mut()) {
        members.insert("client_name".to_owned(), name.as_str().into());
    }
    json_answer(StatusCode::CREATED, body.to_string())
}

/// For a first person to use it: a flood is gone after it.
const UNKNOWN_S: u64 = 24 * 3600;
/// A client that was used, and then not for so long, is forgotten.
pub(crate) const UNUSED_S: u64 = 30 * 24 * 3600;
/// In an hour.
const PER_ADDRESS_MAX: u32 = 20;
