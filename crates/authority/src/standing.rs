//! Whether a token of ours still stands: its signature and times, then the registry as it is now.

use attorn_jose::Compact;
use attorn_json::Limits;
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, TokenRefusal, VerifiedToken};
use attorn_registry::{LockedSubject, ReasonCode, Snapshot};
use serde::Deserialize;

use crate::shared::Shared;

#[derive(Deserialize)]
struct ClaimedAudience {
    aud: String,
}

/// Verifies a token for whichever of our resources it names.
///
/// For the endpoints that are asked *about* a token; whoever is asked to *accept* one knows its own
/// audience and verifies against that.
pub(crate) fn verify_any_audience(
    shared: &Shared,
    token: &str,
    now_s: u64,
) -> Result<VerifiedToken, TokenRefusal> {
    let jws = Compact::parse(token, &Limits::JWT).map_err(|_| TokenRefusal::Malformed)?;
    let document = attorn_json::parse(jws.unauthenticated_payload(), &Limits::JWT)
        .map_err(|_| TokenRefusal::Claims)?;
    let claimed: ClaimedAudience = document.to().map_err(|_| TokenRefusal::Claims)?;
    if shared.config.server_of(&claimed.aud).is_none() {
        return Err(TokenRefusal::Audience);
    }
    let keys = shared.keys.in_use().map_err(|_| TokenRefusal::KeyUnknown)?;
    let expected =
        Expected { issuer: &shared.config.issuer, audience: &claimed.aud, keys: &keys.verifying };
    let token = access_token::verify(token, &expected, now_s)?;
    verify_not_ended(shared, &token)?;
    Ok(token)
}

/// RFC 7519 section 4.1.4: what ended once stays ended, also when the clock goes back.
pub(crate) fn verify_not_ended(shared: &Shared, token: &VerifiedToken) -> Result<(), TokenRefusal> {
    let AccessTokenClaims { iat, exp, .. } = *token.claims();
    if shared.clock.had_ended(iat, exp) { Err(TokenRefusal::Expired) } else { Ok(()) }
}

/// Whether the registry still stands by a token.
pub(crate) fn verify_standing(
    shared: &Shared,
    snapshot: &Snapshot,
    claims: &AccessTokenClaims,
    now_s: u64,
) -> Result<(), ReasonCode> {
    if claims.epoch < snapshot.epoch || snapshot.is_revoked(&claims.jti) {
        return Err(ReasonCode::TokenRevoked);
    }
    let agent = snapshot.acting_agent(&claims.client_id, now_s)?;
    let name = shared.config.server_of(&claims.aud).ok_or(ReasonCode::TokenAudience)?;
    let server = snapshot.server_named(name).ok_or(ReasonCode::ServerUnknown)?;
    snapshot.verify_server(server)?;
    let subject = LockedSubject {
        agent: &agent.id,
        server: &server.id,
        tool: None,
        token_jti: Some(&claims.jti),
        key: Some(claims.cnf.key()),
    };
    if snapshot.lock_on(&subject, now_s).is_some() {
        return Err(ReasonCode::LockActive);
    }
    if claims.iat < snapshot.tokens_from_s(&subject, now_s) {
        return Err(ReasonCode::TokenStopped);
    }
    Ok(())
}
