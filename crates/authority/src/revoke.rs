//! `/revoke`: RFC 7009, for clients about their own tokens.

use attorn_audit::{Decision, Entry, Kind};
use attorn_net::Body;
use attorn_oauth::error::TokenError;
use attorn_oauth::form::Form;
use attorn_oauth::token_request::PresentedClient;
use attorn_registry::ReasonCode;
use attorn_store::Act;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::client::{self, Proven};
use crate::http::empty;
use crate::proof::{authorization, certificate};
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;
use crate::standing::verify_any_audience;

/// Answers one revocation request.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let about = shared.entry_from(head, Kind::TokenRevoked, shared.clock.now_ms());
    match revoke(shared, head, body, about.clone()).await {
        Ok(()) => empty(StatusCode::OK),
        Err(unserved) => refused::answer(shared, about, unserved).await,
    }
}

async fn revoke(shared: &Shared, head: &Parts, body: &[u8], about: Entry) -> Result<(), Unserved> {
    let (now_s, snapshot) = (about.time_ms / 1000, shared.published.load());
    let form = Form::parse(body)?;
    let presented = PresentedClient::of(&form, authorization(head))?;
    let certificate = certificate(head);
    let proven = Proven { certificate: certificate.as_ref(), proof_key: None };
    let client = client::authenticate(shared, &snapshot, &presented, proven, now_s)?;
    // RFC 7009 section 2.1: `token` is required.
    let token = form
        .value("token")
        .ok_or_else(|| Refused::of(TokenError::FormMalformed, Some(client.client_id().as_str())))?;
    // RFC 7009 section 2.2: a token that is not valid needs no revocation, and that is a success.
    let Ok(token) = verify_any_audience(shared, token, now_s) else { return Ok(()) };
    let claims = token.claims();
    // A foreign token is answered alike, so that nobody learns whether it lives. Its client leaked
    // it, and this one tried to end it: both are for the journal.
    if claims.client_id != *client.client_id() {
        let mut entry = Entry {
            client_id: Some(client.client_id().to_string()),
            token_jti: Some(claims.jti.clone()),
            ..about
        };
        entry.detail.insert("token_client".to_owned(), claims.client_id.to_string());
        shared.note_aside(entry, ReasonCode::TokenForeign);
        return Ok(());
    }
    // It is over already. Repeating it must not use up what the journal keeps free for emergencies.
    if snapshot.is_revoked(&claims.jti) {
        return Ok(());
    }
    let entry = Entry {
        by: Some(claims.client_id.to_string()),
        client_id: Some(claims.client_id.to_string()),
        decision: Some(Decision::Permit),
        token_jti: Some(claims.jti.clone()),
        ..about
    };
    // Takes a right away, so it is recorded even when the journal refuses all else.
    let _recorded = shared.record_emergency(&entry).await?;
    let act = Act { by: claims.client_id.as_str(), now_s };
    shared.revoke_token(&act, &claims.jti, claims.exp).await.map_err(|_| Unserved::Unavailable)
}
