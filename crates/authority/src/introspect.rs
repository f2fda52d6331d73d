//! `/introspect`: RFC 7662, for clients about their own tokens.
//!
//! Implemented: private_key_jwt authentication, all claims of a token that still stands. Not
//! implemented: introspection by resource servers, RFC 9701 (JWT answers).

use attorn_audit::{Entry, Kind};
use attorn_net::Body;
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_oauth::error::TokenError;
use attorn_oauth::form::Form;
use attorn_oauth::token_request::PresentedAssertion;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::client;
use crate::http::json;
use crate::proof::authorization;
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;
use crate::standing::{verify_any_audience, verify_standing};

/// Answers one introspection request.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let about = shared.entry(Kind::TokenIntrospected, now_ms);
    match introspect(shared, head, body, about.clone()).await {
        Ok(body) => json(StatusCode::OK, body.to_string()),
        Err(unserved) => refused::answer(shared, about, unserved).await,
    }
}

async fn introspect(
    shared: &Shared,
    head: &Parts,
    body: &[u8],
    about: Entry,
) -> Result<serde_json::Value, Unserved> {
    let (now_s, snapshot) = (about.time_ms / 1000, shared.published.load());
    let form = Form::parse(body)?;
    let presented = PresentedAssertion::of(&form, authorization(head))?;
    let client = client::authenticate(shared, &snapshot, &presented, now_s)?;
    // RFC 7662 section 2.1: `token` is required.
    let token = form
        .value("token")
        .ok_or_else(|| Refused::of(TokenError::FormMalformed, Some(client.client_id().as_str())))?;
    let own = verify_any_audience(shared, token, now_s)
        .ok()
        .filter(|token| token.claims().client_id == *client.client_id())
        .filter(|token| verify_standing(shared, &snapshot, token.claims(), now_s).is_ok());
    let entry = Entry {
        client_id: Some(client.client_id().to_string()),
        token_jti: own.as_ref().map(|token| token.claims().jti.clone()),
        ..about
    };
    let _noted = shared.note(&entry).await?;
    Ok(match own {
        Some(token) => active(token.claims()),
        // RFC 7662 section 2.2: no reason, and the same for foreign, unknown and dead tokens.
        None => serde_json::json!({ "active": false }),
    })
}

/// RFC 7662 section 2.2, with `cnf` as RFC 9449 section 6.2 asks.
pub(crate) fn active(claims: &AccessTokenClaims) -> serde_json::Value {
    serde_json::json!({
        "active": true,
        "aud": claims.aud,
        "client_id": claims.client_id,
        "cnf": { "jkt": claims.cnf },
        "exp": claims.exp,
        "iat": claims.iat,
        "iss": claims.iss,
        "jti": claims.jti,
        "nbf": claims.nbf,
        "scope": claims.scope,
        "sub": claims.sub,
        "token_type": "DPoP",
    })
}
