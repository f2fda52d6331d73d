//! `/introspect`: RFC 7662, for clients about their own tokens, and for MCP servers and APIs about
//! those that they are called with.
//!
//! Implemented: authentication as at the token endpoint, all claims of a token that still stands, the
//! chain of actors among them (RFC 8693 section 4.1). Servers and APIs say who they are by `client_id`.
//! Not implemented: RFC 9701 (JWT answers).

use attorn_audit::{Entry, Kind};
use attorn_net::Body;
use attorn_oauth::access_token::AccessTokenClaims;
use attorn_oauth::error::TokenError;
use attorn_oauth::form::Form;
use attorn_oauth::token_request::PresentedClient;
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::client::{self, Proven};
use crate::http::json_answer;
use crate::proof::{authorization, certificate};
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;
use crate::standing::{KnownToken, verify_any_audience};

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
    let client = client::authenticate_any(shared, &snapshot, &presented, proven, now_s)?;
    shared.throttle.admit_introspection(&client)?;
    // RFC 7662 section 2.1: `token` is required.
    let token =
        form.value("token").ok_or_else(|| Refused::of(TokenError::FormMalformed, Some(&client)))?;
    let own = verify_any_audience(shared, &snapshot, token, now_s)
        .ok()
        .filter(|token| token.is_of(&client) || token.is_for(shared, &snapshot, &client))
        .and_then(|token| {
            let left = token.verify_standing(shared, &snapshot, now_s).ok()?;
            Some((token, left))
        });
    let entry = Entry {
        client_id: Some(client),
        token_jti: own.as_ref().map(|(token, _)| token.jti().to_owned()),
        ..about
    };
    let _noted = shared.note(&entry).await?;
    // RFC 7662 section 2.2: no reason, and the same for foreign, unknown and dead tokens.
    let mut told = own.as_ref().map(|(token, _)| members(token)).unwrap_or_default();
    if let Some((_, left)) = &own {
        // What it unlocks now: a right that was taken away is not told as one.
        told.insert("scope".to_owned(), json!(left));
    }
    told.insert("active".to_owned(), json!(own.is_some()));
    Ok(told.into())
}

/// RFC 7662 section 2.2, with `cnf` as RFC 9449 section 6.2 and RFC 8705 section 3.2 ask.
pub(crate) fn members(token: &KnownToken) -> Map<String, Value> {
    match token {
        KnownToken::Agent(token) => members_of(token.claims()),
        KnownToken::Downstream(token) => members_of(token.claims()),
    }
}

fn members_of<C: Serialize>(claims: &AccessTokenClaims<C>) -> Map<String, Value> {
    let members = [
        ("aud", json!(claims.aud)),
        ("client_id", json!(claims.client_id)),
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
    // RFC 9449 section 6.2: told where there is one.
    let cnf = (!claims.cnf.is_bearer()).then(|| ("cnf", json!(claims.cnf)));
    let act = claims.act.as_ref().map(|act| ("act", json!(act)));
    let approval = claims.attorn_approval.as_ref().map(|id| ("attorn_approval", json!(id)));
    members
        .into_iter()
        .chain(cnf)
        .chain(details)
        .chain(act)
        .chain(approval)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
