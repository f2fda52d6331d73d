//! `/par`: a client sends its request ahead. RFC 9126.
//!
//! Nothing is written but to memory, which is bounded. The proof of the push, where there is one,
//! binds the code to its key (RFC 9449 section 10.1).

use attorn_audit::Kind;
use attorn_net::Body;
use attorn_oauth::authorization_request::{AuthorizationError, Unaddressed};
use attorn_oauth::dpop::VerifiedProof;
use attorn_oauth::error::{ErrorCode, TokenError};
use attorn_oauth::form::Form;
use attorn_oauth::pushed_request::{REQUEST_LIFETIME_S, bound_key, request_uri};
use attorn_oauth::token_request::PresentedClient;
use http::request::Parts;
use http::{Response, StatusCode};

use super::authorize::{Stopped, read};
use super::{People, waiting::Pushed};
use crate::http::{DPOP_NONCE, json_answer, set};
use crate::proof::{authorization, verify_present_proof};
use crate::refused::{self, Refused, Unserved};
use crate::shared::Shared;

/// Why a push is refused: as at the token endpoint, or as at the authorization endpoint.
enum Refusal {
    Token(Unserved),
    Request(Stopped),
}

/// Answers one push.
pub(crate) async fn handle(
    shared: &Shared,
    people: &People,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let about = shared.entry_from(head, Kind::ConsentRefused, now_ms);
    let (code, description, reason) = match push((shared, people), head, body, now_ms / 1000).await
    {
        Ok(answer) => return answer,
        Err(Refusal::Token(unserved)) => return refused::answer(shared, about, unserved).await,
        Err(Refusal::Request(Stopped::Shown(error, reason))) => {
            (error.code(), error.description(), reason)
        }
        Err(Refusal::Request(Stopped::Sent(error, _) | Stopped::Withheld(error))) => {
            (error.code(), error.description(), error.reason())
        }
    };
    if shared.note_refusal(about, reason).await.is_err() {
        return refused::unavailable();
    }
    // RFC 9126 section 2.3.
    let is_client = code == ErrorCode::InvalidClient;
    let status = if is_client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    refused::error(status, code, description)
}

async fn push(
    (shared, people): (&Shared, &People),
    head: &Parts,
    body: &[u8],
    now_s: u64,
) -> Result<Response<Body>, Refusal> {
    if !is_form(head) {
        return Err(TokenError::FormMalformed.into());
    }
    let form = Form::parse(body)?;
    // RFC 9126 section 2: the client authenticates as at the token endpoint. Ours have nothing to.
    match PresentedClient::of(&form, authorization(head))? {
        PresentedClient::Certificate { .. } => {}
        PresentedClient::Assertion { .. } | PresentedClient::JwtSvid { .. } => {
            return Err(TokenError::GrantTypeNotRegistered.into());
        }
    }
    let proof = verify_present_proof(shared, head, "/par", now_s).map_err(TokenError::from)?;
    let unaddressed = Unaddressed::parse(body).map_err(|error| Refusal::Request(error.into()))?;
    let pushed = read((shared, people), unaddressed, now_s).await.map_err(Refusal::Request)?;
    let Pushed { mut request, client } = pushed;
    let proven = proof.as_ref().map(VerifiedProof::jkt);
    request.dpop_jkt = bound_key(request.dpop_jkt, proven).map_err(|_| {
        let destination = request.destination();
        Refusal::Request(Stopped::Sent(AuthorizationError::DpopJktMismatch, destination))
    })?;
    // RFC 9449 section 11.1: burned last.
    if let Some(proof) = proof {
        let _proven = proof.burn(&shared.replays, now_s).map_err(TokenError::from)?;
    }
    let until_s = now_s.saturating_add(REQUEST_LIFETIME_S);
    let pushed = Pushed { request, client };
    let reference = people.pushed.put(&shared.random, pushed, until_s, now_s);
    let body = serde_json::json!({
        "request_uri": request_uri(&reference),
        "expires_in": REQUEST_LIFETIME_S,
    });
    let mut answer = json_answer(StatusCode::CREATED, body.to_string());
    // RFC 9449 section 8.2: the nonce of the next request.
    set(&mut answer, DPOP_NONCE, &shared.new_nonce());
    Ok(answer)
}

fn is_form(head: &Parts) -> bool {
    crate::public::is_media_type(head, "application/x-www-form-urlencoded")
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::Token(Unserved::Refused(Refused::from(error)))
    }
}
