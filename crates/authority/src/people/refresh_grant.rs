//! `/token` with a refresh token: RFC 6749 section 6 for clients of people.
//!
//! Bound to the key of the first redemption (RFC 9449 section 5), rotated at each use, and worth what
//! the person's consent, rights and standing are worth at that moment. Nothing is used up before
//! everything that can be verified was: a request that fails takes nothing from the honest client.

use attorn_audit::{Entry, Kind};
use attorn_jose::{base64url, sha256};
use attorn_net::Body;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::error::TokenError;
use attorn_oauth::grant::GrantRefusal;
use attorn_oauth::token_request::RefreshToken;
use attorn_store::RefreshRecord;
use http::Response;
use http::request::Parts;

use super::People;
use super::clients::redeeming;
use super::code_grant::{answer, given, prolong, server_of, verify_not_stopped};
use super::endings::end_replayed;
use crate::delegated_token::{ForPerson, issue};
use crate::proof::verify_proof;
use crate::refused::{Refused, Unserved};
use crate::shared::Shared;
use crate::token::Holder;

/// The steps of one renewal.
pub(crate) async fn redeem(
    (shared, people): (&Shared, &People),
    head: &Parts,
    asked: &RefreshToken,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let refused = |error: TokenError| Refused::of(error, Some(&asked.client_id));
    let proof = verify_proof(shared, head, "/token", now_s).map_err(TokenError::from)?;
    let agent = redeeming((shared, people), &snapshot, &asked.client_id, now_s).await;
    let agent = agent.map_err(|reason| refused(TokenError::ClientStanding(reason)))?;
    let hash = sha256(asked.refresh_token.as_bytes());
    let record = shared.store.refresh_token(&hash, now_s).await;
    let record = record.map_err(|_| Unserved::Unavailable)?;
    let RefreshRecord { family, is_used } =
        record.ok_or_else(|| refused(GrantRefusal::RefreshUnknown.into()))?;
    if family.agent != agent.id || family.client_id != asked.client_id {
        return Err(refused(GrantRefusal::RefreshOfAnotherClient.into()).into());
    }
    // RFC 9449 section 5: never without its key, so never as a bearer token.
    if family.jkt != Some(proof.jkt()) {
        return Err(refused(GrantRefusal::KeyMismatch.into()).into());
    }
    // Only now: who merely knows the client's name must not use up its rate.
    shared.throttle.admit(agent.id.as_str())?;
    let proven = proof.burn(&shared.replays, now_s).map_err(|error| refused(error.into()))?;
    let about = Entry {
        agent: Some(agent.id.to_string()),
        client_id: Some(asked.client_id.clone()),
        proof_key: Some(proven.jkt().to_string()),
        server: Some(family.server.to_string()),
        subject: Some(family.person.to_string()),
        ..shared.entry_from(head, Kind::TokenRefused, now_ms)
    };
    let replayed = GrantRefusal::RefreshReplayed;
    if is_used {
        end_replayed(shared, &about, &family.id, replayed.reason()).await?;
        return Err(refused(replayed.into()).into());
    }
    verify_not_stopped(&snapshot, &family, now_s).map_err(refused)?;
    // RFC 6749 section 6: no more than what was given at first.
    if asked.scope.as_ref().is_some_and(|scope| !scope.is_subset(&family.scope)) {
        return Err(refused(TokenError::ScopeNotGranted).into());
    }
    let server = server_of(shared, &snapshot, &family.server, asked.resource.as_ref());
    let server = server.map_err(refused)?;
    let for_person = ForPerson {
        person: &family.person,
        agent: &agent.id,
        server,
        scope: Some(asked.scope.as_ref().unwrap_or(&family.scope)),
        details: None,
        key: Holder {
            confirmation: Confirmation::Jkt(proven.jkt()),
            proof_jti: Some(proven.proof_jti().to_owned()),
        },
        noted: Vec::new(),
    };
    let issued = issue(shared, &snapshot, head, for_person, now_ms).await?;
    let refresh = base64url(&shared.random.bytes::<32>());
    let given = given(&people.config, &issued, (Some(refresh.as_str()), &family), now_s);
    let rotated = shared.store.rotate_refresh_token(&hash, &given, now_s).await;
    // Of two at once one wins; the other one has used it twice.
    if !rotated.map_err(|_| Unserved::Unavailable)? {
        end_replayed(shared, &about, &family.id, replayed.reason()).await?;
        return Err(refused(replayed.into()).into());
    }
    prolong(shared, &agent, now_s).await;
    Ok(answer(shared, &issued, Some(refresh.as_str())))
}
