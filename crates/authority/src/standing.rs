//! Whether a token of ours still stands: its signature and times, then the registry as it is now.

use attorn_jose::Compact;
use attorn_json::Limits;
use attorn_oauth::access_token::{self, AccessTokenClaims, Expected, TokenRefusal, VerifiedToken};
use attorn_policy::{Approved, HopRequest, decide_hop};
use attorn_registry::{
    Holder, LockedSubject, ReasonCode, ResourceId, Scope, ScopeSet, ServerId, Snapshot,
};
use serde::Deserialize;

use crate::shared::Shared;

#[derive(Deserialize)]
struct ClaimedAudience {
    aud: String,
}

/// A token of ours, of either kind.
#[derive(Debug)]
pub(crate) enum KnownToken {
    /// An agent's, for an MCP server or the admin API.
    Agent(VerifiedToken),
    /// A server's, for an API.
    Downstream(VerifiedToken<ServerId>),
}

/// Verifies a token for whichever of our resources it names.
///
/// For the endpoints that are asked *about* a token; whoever is asked to *accept* one knows its own
/// audience and verifies against that.
pub(crate) fn verify_any_audience(
    shared: &Shared,
    snapshot: &Snapshot,
    token: &str,
    now_s: u64,
) -> Result<KnownToken, TokenRefusal> {
    let jws = Compact::parse(token, &Limits::JWT).map_err(|_| TokenRefusal::Malformed)?;
    let document = attorn_json::parse(jws.unauthenticated_payload(), &Limits::JWT)
        .map_err(|_| TokenRefusal::Claims)?;
    let claimed: ClaimedAudience = document.to().map_err(|_| TokenRefusal::Claims)?;
    let keys = shared.keys.in_use().map_err(|_| TokenRefusal::KeyUnknown)?;
    let expected =
        Expected { issuer: &shared.config.issuer, audience: &claimed.aud, keys: &keys.verifying };
    if shared.config.server_of(&claimed.aud).is_some() {
        let token = access_token::verify(token, &expected, now_s)?;
        verify_not_ended(shared, &token)?;
        return Ok(KnownToken::Agent(token));
    }
    if snapshot.resource_at(&claimed.aud).is_some() {
        let token = access_token::verify(token, &expected, now_s)?;
        verify_not_ended(shared, &token)?;
        return Ok(KnownToken::Downstream(token));
    }
    Err(TokenRefusal::Audience)
}

/// RFC 7519 section 4.1.4: what ended once stays ended, also when the clock goes back.
pub(crate) fn verify_not_ended<C>(
    shared: &Shared,
    token: &VerifiedToken<C>,
) -> Result<(), TokenRefusal> {
    let AccessTokenClaims { iat, exp, .. } = token.claims();
    if shared.clock.had_ended(*iat, *exp) { Err(TokenRefusal::Expired) } else { Ok(()) }
}

impl KnownToken {
    /// Its name.
    pub(crate) fn jti(&self) -> &str {
        match self {
            Self::Agent(token) => &token.claims().jti,
            Self::Downstream(token) => &token.claims().jti,
        }
    }

    /// Its end.
    pub(crate) fn exp(&self) -> u64 {
        match self {
            Self::Agent(token) => token.claims().exp,
            Self::Downstream(token) => token.claims().exp,
        }
    }

    /// The client it was issued to.
    pub(crate) fn client_id(&self) -> String {
        match self {
            Self::Agent(token) => token.claims().client_id.to_string(),
            Self::Downstream(token) => token.claims().client_id.to_string(),
        }
    }

    /// Whether it was issued to this client.
    pub(crate) fn is_of(&self, client_id: &str) -> bool {
        self.client_id() == client_id
    }

    /// Whether this client, an MCP server or an API, is who it is for.
    pub(crate) fn is_for(&self, shared: &Shared, snapshot: &Snapshot, client_id: &str) -> bool {
        let server = ServerId::parse(client_id).ok().and_then(|id| snapshot.server(&id));
        let audience = server.map(|server| shared.config.resource_of(server.name.as_str()));
        match self {
            Self::Agent(token) => audience.is_some_and(|audience| audience == token.claims().aud),
            Self::Downstream(token) => {
                let resource = ResourceId::parse(client_id).ok();
                let resource = resource.and_then(|id| snapshot.resource(&id));
                resource.is_some_and(|resource| resource.url == token.claims().aud)
            }
        }
    }

    /// Whether the registry still stands by it. Gives what it still unlocks.
    pub(crate) fn verify_standing(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        now_s: u64,
    ) -> Result<ScopeSet, ReasonCode> {
        match self {
            Self::Agent(token) => verify_standing(shared, snapshot, token.claims(), now_s),
            Self::Downstream(token) => downstream_standing(shared, snapshot, token.claims(), now_s),
        }
    }
}

/// An API that has no guard is told what the rules and the policies leave, as a guard would find it.
fn downstream_standing(
    shared: &Shared,
    snapshot: &Snapshot,
    claims: &AccessTokenClaims<ServerId>,
    now_s: u64,
) -> Result<ScopeSet, ReasonCode> {
    let resource = snapshot.resource_at(&claims.aud).ok_or(ReasonCode::ResourceUnknown)?;
    // A token of this kind that verified has a parent.
    let of = claims.downstream_use().ok_or(ReasonCode::DelegationNotAllowed)?;
    let left = snapshot.downstream_scopes(resource, (&of, &claims.scope), now_s)?;
    let server = snapshot.server(of.server).ok_or(ReasonCode::ServerUnknown)?;
    let approved = if claims.attorn_approval.is_some() { Approved::Named } else { Approved::No };
    let (agent, person) = (&of.parent.client_id, of.person);
    let policies = &shared.policies.load();
    let api = resource;
    let hop = HopRequest { snapshot, policies, server, agent, person, api, approved, now_s };
    let permitted = decide_hop(&hop, &left).part();
    permitted.map(|(permit, _)| permit.scopes().clone()).map_err(|denial| denial.reason)
}

/// Whether the registry still stands by a token, and by what of its scope.
fn verify_standing(
    shared: &Shared,
    snapshot: &Snapshot,
    claims: &AccessTokenClaims,
    now_s: u64,
) -> Result<ScopeSet, ReasonCode> {
    if claims.epoch < snapshot.epoch || snapshot.is_revoked(&claims.jti) {
        return Err(ReasonCode::TokenRevoked);
    }
    let holder = Holder { agent: &claims.client_id, person: claims.sub.person() };
    let agent = snapshot.acting(holder, now_s)?;
    if claims.cnf.is_given_up(agent, now_s) {
        return Err(ReasonCode::TokenRevoked);
    }
    let name = shared.config.server_of(&claims.aud).ok_or(ReasonCode::TokenAudience)?;
    let server = snapshot.server_named(name).ok_or(ReasonCode::ServerUnknown)?;
    snapshot.verify_server(server)?;
    let subject = LockedSubject {
        agent: &agent.id,
        person: holder.person,
        server: &server.id,
        tool: None,
        token_jti: Some(&claims.jti),
        key: Some(claims.cnf.key()),
    };
    if claims.cnf.is_bearer() && !server.accepts_bearer(&claims.scope) {
        return Err(ReasonCode::TokenBearerNotAllowed);
    }
    if snapshot.lock_on(&subject, now_s).is_some() {
        return Err(ReasonCode::LockActive);
    }
    if claims.iat < snapshot.tokens_from_s(&subject, now_s) {
        return Err(ReasonCode::TokenStopped);
    }
    let open =
        snapshot.open_scopes(holder, &server.id, (claims.iat, now_s))?.intersect(&claims.scope);
    let is_from_before = |scope: &Scope| {
        let behind = snapshot.grants_behind(holder, &server.id, scope, now_s);
        behind.into_iter().any(|grant| claims.iat < snapshot.use_from_s(None, grant, now_s))
    };
    // A lock on a grant that has ended: what the token held from before does not count again.
    let left: ScopeSet = open.iter().filter(|scope| !is_from_before(scope)).cloned().collect();
    if left.is_empty() && !open.is_empty() {
        return Err(ReasonCode::TokenStopped);
    }
    // A token may unlock nothing from the start.
    let has_ended = left.is_empty() && !claims.scope.is_empty();
    if has_ended { Err(ReasonCode::ScopeMissing) } else { Ok(left) }
}
