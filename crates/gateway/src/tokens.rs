//! Access tokens: verified once, judged against the current snapshot on every call.
//!
//! The cache holds only digests of tokens and what their signatures vouched for. A hit is worth as
//! much as a verification: audience, times, epoch, revocation, agent and key are compared again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use attorn_enforce::view::View;
use attorn_jose::sha256;
use attorn_net::{Clock, Elsewhere, Sighting};
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, TokenRefusal, VerifiedToken};
use attorn_oauth::challenge::{Presented, presented};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::possession::PossessionRefusal;
use attorn_planted::{Bug, is_planted};
use attorn_registry::{Agent, LifeCycle, LockedSubject, McpServer, ReasonCode, Snapshot};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::refusal::CredentialRefusal;

/// Verified tokens by the SHA-256 of their text.
#[derive(Debug)]
pub(crate) struct Tokens {
    issuer: String,
    clock: Clock,
    parts: [Mutex<HashMap<[u8; 32], Held>>; PARTS],
}

#[derive(Debug)]
struct Held {
    token: VerifiedToken,
    keys_generation: u64,
    /// Where it was used by who proved its key.
    seen: Option<Sighting>,
}

impl Tokens {
    pub(crate) fn new(issuer: String, clock: Clock) -> Self {
        Self { issuer, clock, parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The token of a request for a server, which `audience` names.
    pub(crate) fn verify(
        &self,
        headers: &HeaderMap,
        (server, audience): (&McpServer, &str),
        view: &View,
        now_s: u64,
    ) -> Result<VerifiedToken, CredentialRefusal> {
        let presented = presented_token(headers)?;
        let (Presented::Bearer(text) | Presented::Dpop(text)) = presented;
        let digest = sha256(text.as_bytes());
        let token = if let Some(token) = self.held(&digest, view.keys_generation) {
            if token.claims().aud != audience {
                return Err(CredentialRefusal::Token(TokenRefusal::Audience));
            }
            token.still_valid(now_s).map_err(CredentialRefusal::Token)?;
            token
        } else {
            let expected = Expected { issuer: &self.issuer, audience, keys: &view.keys };
            let token = access_token::verify(text, &expected, now_s)
                .map_err(|refusal| refused(presented, refusal))?;
            self.hold(digest, &token, view.keys_generation, now_s);
            token
        };
        self.verify_not_ended(&token)?;
        verify_scheme(presented, &token, server)?;
        verify_current(&token, server, &view.snapshot, now_s)?;
        Ok(token)
    }

    /// Asks again what may have changed since [`Tokens::verify`]. Not asked is whether the issuer's key still
    /// verifies: one that is taken away in an emergency ends its tokens by the epoch.
    pub(crate) fn verify_again(
        &self,
        token: &VerifiedToken,
        server: &McpServer,
        view: &View,
        now_s: u64,
    ) -> Result<(), CredentialRefusal> {
        token.still_valid(now_s).map_err(CredentialRefusal::Token)?;
        self.verify_not_ended(token)?;
        let claims = token.claims();
        if claims.cnf.is_bearer() && !server.accepts_bearer(&claims.scope) {
            return Err(CredentialRefusal::BearerNotAllowed);
        }
        verify_current(token, server, &view.snapshot, now_s)
    }

    /// RFC 7519 section 4.1.4: what ended once stays ended, also when the clock goes back.
    fn verify_not_ended(&self, token: &VerifiedToken) -> Result<(), CredentialRefusal> {
        let AccessTokenClaims { iat, exp, .. } = *token.claims();
        if self.clock.had_ended(iat, exp) {
            return Err(CredentialRefusal::Token(TokenRefusal::Expired));
        }
        Ok(())
    }

    /// A use of a token by who proved its key. Gives the place of an earlier use, if it was another
    /// one; a token that was let go is as one never seen.
    pub(crate) fn note_place(
        &self,
        token: &VerifiedToken,
        place: IpAddr,
        now_s: u64,
    ) -> Option<Elsewhere> {
        let part = self.part(token.digest())?.lock();
        let mut part = part.unwrap_or_else(PoisonError::into_inner);
        let seen = &mut part.get_mut(token.digest())?.seen;
        if let Some(seen) = seen {
            return seen.note(place, now_s, access_token::LIFETIME_MAX_S);
        }
        *seen = Some(Sighting::new(place, now_s));
        None
    }

    /// Whether the token of a request was verified before. It says nothing about whether it counts.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let Ok(Presented::Bearer(text) | Presented::Dpop(text)) = presented_token(headers) else {
            return false;
        };
        let digest = sha256(text.as_bytes());
        self.part(&digest).is_some_and(|part| {
            part.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&digest)
        })
    }

    fn held(&self, digest: &[u8; 32], keys_generation: u64) -> Option<VerifiedToken> {
        let part = self.part(digest)?.lock().unwrap_or_else(PoisonError::into_inner);
        let held = part.get(digest)?;
        (held.keys_generation == keys_generation).then(|| held.token.clone())
    }

    fn hold(&self, digest: [u8; 32], token: &VerifiedToken, keys_generation: u64, now_s: u64) {
        let Some(part) = self.part(&digest) else { return };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= PART_ENTRIES_MAX {
            part.retain(|_, held| held.token.still_valid(now_s).is_ok());
        }
        // Only the issuer's signatures get here, so a full part of valid tokens is honest load;
        // emptying it costs time and nothing else.
        if part.len() >= PART_ENTRIES_MAX {
            part.clear();
        }
        part.insert(digest, Held { token: token.clone(), keys_generation, seen: None });
    }

    fn part(&self, digest: &[u8; 32]) -> Option<&Mutex<HashMap<[u8; 32], Held>>> {
        let [first, ..] = *digest;
        self.parts.get(usize::from(first) % PARTS)
    }
}

/// The token of the one `Authorization` header. Nothing else carries a token: not the query, not
/// the body (MCP 2026-07-28, Authorization, Token Requirements).
fn presented_token(headers: &HeaderMap) -> Result<Presented<'_>, CredentialRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(CredentialRefusal::TokenMissing)?;
    if values.next().is_some() {
        return Err(CredentialRefusal::TokenMalformed);
    }
    let value = value.to_str().map_err(|_| CredentialRefusal::TokenMalformed)?;
    presented(value).ok_or(CredentialRefusal::TokenMalformed)
}

/// What comes under `Bearer` and has not even the form of our tokens is a bearer token.
fn refused(presented: Presented<'_>, refusal: TokenRefusal) -> CredentialRefusal {
    match (presented, refusal) {
        (
            Presented::Bearer(_),
            TokenRefusal::Malformed | TokenRefusal::Type | TokenRefusal::Unbound,
        ) => CredentialRefusal::BearerNotAllowed,
        (Presented::Bearer(_) | Presented::Dpop(_), refusal) => CredentialRefusal::Token(refusal),
    }
}

/// Each binding has its scheme: `DPoP` (RFC 9449 section 7.1), and `Bearer` for a token that is
/// bound to the certificate of its connection (RFC 8705 section 3).
fn verify_scheme(
    presented: Presented<'_>,
    token: &VerifiedToken,
    server: &McpServer,
) -> Result<(), CredentialRefusal> {
    match (presented, token.confirmation()) {
        // RFC 6750 section 2.1, where the owner of the server said so for all that it unlocks.
        (Presented::Bearer(_), Confirmation::Bearer(_)) => {
            if server.accepts_bearer(&token.claims().scope) {
                Ok(())
            } else {
                Err(CredentialRefusal::BearerNotAllowed)
            }
        }
        (Presented::Dpop(_), Confirmation::Jkt(_))
        | (Presented::Bearer(_), Confirmation::Certificate(_)) => Ok(()),
        (Presented::Bearer(_), Confirmation::Jkt(_)) if is_planted(Bug::BearerTaken) => Ok(()),
        // RFC 9449 section 7.2: a token bound by DPoP under `Bearer` is refused.
        (Presented::Bearer(_), Confirmation::Jkt(_)) => Err(CredentialRefusal::BearerNotAllowed),
        (Presented::Dpop(_), Confirmation::Bearer(_) | Confirmation::Certificate(_)) => {
            Err(CredentialRefusal::Possession(PossessionRefusal::OtherMethod))
        }
    }
}

/// What may have changed since the token was issued, or since it was verified.
fn verify_current(
    token: &VerifiedToken,
    server: &McpServer,
    snapshot: &Snapshot,
    now_s: u64,
) -> Result<(), CredentialRefusal> {
    let claims = token.claims();
    let agent = snapshot
        .agent(&claims.client_id)
        .ok_or(CredentialRefusal::Caller(ReasonCode::AgentUnknown))?;
    // An agent that is not there yet, or not any more, has no tokens. A suspended one has: it is
    // told why nothing works.
    match agent.state {
        LifeCycle::Active | LifeCycle::Suspended => {}
        LifeCycle::Discovered | LifeCycle::Pending => {
            return Err(CredentialRefusal::Caller(ReasonCode::AgentPending));
        }
        LifeCycle::Retired => return Err(CredentialRefusal::Caller(ReasonCode::AgentRetired)),
    }
    if !counts_now(claims, agent, snapshot, now_s) {
        return Err(CredentialRefusal::TokenRevoked);
    }
    if is_from_before_stop(claims, server, snapshot, now_s) {
        return Err(CredentialRefusal::TokenStopped);
    }
    Ok(())
}

/// Whether a stop of the caller, the server, their owners, the key or the token itself ended after
/// the token was issued.
pub(crate) fn is_from_before_stop(
    claims: &AccessTokenClaims,
    server: &McpServer,
    snapshot: &Snapshot,
    now_s: u64,
) -> bool {
    let subject = LockedSubject {
        agent: &claims.client_id,
        person: claims.sub.person(),
        server: &server.id,
        tool: None,
        token_jti: Some(&claims.jti),
        key: Some(claims.cnf.key()),
    };
    claims.iat < snapshot.tokens_from_s(&subject, now_s)
}

/// Whether a token has not been taken back: not itself, not its epoch, not its key.
pub(crate) fn counts_now(
    claims: &AccessTokenClaims,
    agent: &Agent,
    snapshot: &Snapshot,
    now_s: u64,
) -> bool {
    let revoked = snapshot.is_revoked(&claims.jti) && !is_planted(Bug::RevocationIgnored);
    claims.epoch >= snapshot.epoch && !revoked && !claims.cnf.is_given_up(agent, now_s)
}

const PARTS: usize = 16;
const PART_ENTRIES_MAX: usize = 4096;
