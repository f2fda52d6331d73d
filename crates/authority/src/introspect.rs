//! `/introspect`: RFC 7662, for clients about their own tokens.
//!
//! Implemented: authentication as at the token endpoint, all claims of a token that still stands. Not
//! implemented: introspection by resource servers, RFC 9701 (JWT answers).

use attorn_audit::{Entry, Kind};
use attorn_net::Body;
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_oauth::error::TokenError;
use attorn_oauth::form::Form;
use attorn_oauth::token_request::PresentedClient;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::client::{self, Proven};
use crate::http::json_answer;
use crate::proof::{authorization, certificate};
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;
use crate::standing::{verify_any_audience, verify_standing};

/// Answers one introspection request.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let about = shared.entry_from(head, Kind::TokenIntrospected, now_ms);
    match introspect(shared, head, body, about.clone()).await {
        Ok(body) => json_answer(StatusCode::OK, body.to_string()),
        Err(unserved) => refused::answer(shared, about, unserved).await,
    }
}

async fn introspect(
    shared: &Shared,
    head: &Parts,
    body: &[u8],
    about: Entry,
) -> Result<Value, Unserved> {
    let (now_s, snapshot) = (about.time_ms / 1000, shared.published.load());
    let form = Form::parse(body)?;
    let presented = PresentedClient::of(&form, authorization(head))?;
    let certificate = certificate(head);
    let proven = Proven { certificate: certificate.as_ref(), proof_key: None };
    let client = client::authenticate(shared, &snapshot, &presented, proven, now_s)?;
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
    // RFC 7662 section 2.2: no reason, and the same for foreign, unknown and dead tokens.
    let mut told = own.as_ref().map(|token| members(token.claims())).unwrap_or_default();
    told.insert("active".to_owned(), json!(own.is_some()));
    Ok(told.into())
}

/// RFC 7662 section 2.2, with `cnf` as RFC 9449 section 6.2 and RFC 8705 section 3.2 ask.
pub(crate) fn members(claims: &AccessTokenClaims) -> Map<String, Value> {
    let members = [
        ("aud", json!(claims.aud)),
        ("client_id", json!(claims.client_id)),
        ("cnf", json!(claims.cnf)),
        ("exp", json!(claims.exp)),
        ("iat", json!(claims.iat)),
        ("iss", json!(claims.iss)),
        ("jti", json!(claims.jti)),
        ("nbf", json!(claims.nbf)),
        ("scope", json!(claims.scope)),
        ("sub", json!(claims.sub)),
        ("token_type", json!(claims.cnf.token_type())),
    ];
    // RFC 9396 section 9.2.
    let details = claims.authorization_details.as_ref();
    let details = details.map(|details| ("authorization_details", json!(details)));
    members.into_iter().chain(details).map(|(name, value)| (name.to_owned(), value)).collect()
}
