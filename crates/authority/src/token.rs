//! `/token`: the walk of one token request, from a form to a bound access token.
//!
//! Implemented: RFC 6749 section 4.4 with RFC 7523 client assertions, JWT-SVIDs and RFC 8705
//! certificates, tokens bound by RFC 9449 proofs with our nonces or to the certificate, RFC 8707
//! resources, RFC 9068 tokens, RFC 9396 details; RFC 8693 in [`crate::exchange`], codes and refresh tokens in
//! [`crate::people`], assertions of other issuers in [`crate::jwt_grant`]. Not implemented: every other
//! grant.

use std::collections::BTreeSet;

use attorn_audit::{Decision, Entry, Kind};
use attorn_net::Body;
use attorn_oauth::access_token::{self, AccessTokenClaims, BEARER_LIFETIME_MAX_S};
use attorn_oauth::actor::Actor;
use attorn_oauth::client_assertion::AuthenticatedClient;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::{DpopRefusal, VerifiedProof};
use attorn_oauth::error::{ErrorCode, TokenError};
use attorn_oauth::mtls::{self, CertificateRefusal, PresentedCertificate};
use attorn_oauth::resource::ResourceIndicator;
use attorn_oauth::scope::narrow;
use attorn_oauth::subject::Subject as TokenSubject;
use attorn_oauth::token_request::{ClientCredentials, Served, TokenRequest};
use attorn_registry::{
    Agent, AgentId, AuthorizationDetails, Binding, CallConstraint, Class, Grant, GrantId,
    Holder as AgentHolder, LockTarget, LockedSubject, McpServer, ReasonCode, ScopeSet, ScopeTarget,
    Snapshot,
};
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::admin::Operation;
use crate::client::{self, Proven};
use crate::http::{DPOP_NONCE, json_answer, set};
use crate::proof::{authorization, certificate, verify_present_proof};
use crate::refused::{self, Refused, Unserved};
use crate::shared::{Recorded, Shared};
use crate::{Config, exchange, jwt_grant, people, places, traced};

/// Answers one token request.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let started = (now_ms, Instant::now());
    let assertions = !shared.trusted_issuers.is_empty();
    let served = Served { people: shared.people.is_some(), assertions };
    let redeemed = match TokenRequest::parse(body, authorization(head), served) {
        Ok(TokenRequest::AuthorizationCode(asked)) => match &shared.people {
            Some(people) => people::redeem_code((shared, people), head, &asked, now_ms).await,
            None => Err(TokenError::GrantTypeUnsupported.into()),
        },
        Ok(TokenRequest::RefreshToken(asked)) => match &shared.people {
            Some(people) => people::redeem_refresh((shared, people), head, &asked, now_ms).await,
            None => Err(TokenError::GrantTypeUnsupported.into()),
        },
        Ok(TokenRequest::ClientCredentials(asked)) => redeem(shared, head, &asked, now_ms).await,
        Ok(TokenRequest::JwtBearer(asked)) => jwt_grant::redeem(shared, head, &asked, now_ms).await,
        Ok(TokenRequest::TokenExchange(asked)) => {
            exchange::redeem(shared, head, &asked, now_ms).await
        }
        Err(error) => Err(error.into()),
    };
    match redeemed {
        Ok(answer) => {
            shared.telemetry.calls.token_issued();
            traced::tell(shared, head, started, None);
            answer
        }
        Err(unserved) => {
            let reason = note_failure(shared, head, &unserved);
            traced::tell(shared, head, started, Some(reason));
            let about = shared.entry_from(head, Kind::TokenRefused, now_ms);
            refused::answer(shared, about, unserved).await
        }
    }
}

/// The steps of the walk. Nothing is burned before everything that can be verified was.
async fn redeem(
    shared: &Shared,
    head: &Parts,
    asked: &ClientCredentials,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let certificate = certificate(head);
    // Before the client: a proof that only lacks our nonce must not cost the client its assertion.
    let proof = verify_present_proof(shared, head, "/token", now_s).map_err(TokenError::from)?;
    let proof_key = proof.as_ref().map(VerifiedProof::jkt);
    let proven = Proven { certificate: certificate.as_ref(), proof_key };
    let client = client::authenticate(shared, &snapshot, &asked.client, proven, now_s)?;
    let possession = (proof, certificate.as_ref());
    let key = admit(shared, (head, &snapshot), &client, possession, now_ms)?;
    let wanted = Wanted {
        scope: asked.scope.as_ref(),
        details: asked.details.as_ref(),
        resource: asked.resource.as_ref(),
    };
    let about = shared.entry_from(head, Kind::TokenIssued, now_ms);
    issue(shared, &snapshot, (&client, &key), wanted, about).await
}

/// What an agent asks for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) scope: Option<&'a ScopeSet>,
    pub(crate) details: Option<&'a AuthorizationDetails>,
    pub(crate) resource: Option<&'a ResourceIndicator>,
}

/// Takes a client that proved who it is as far as its key, whose proof is burned.
pub(crate) fn admit(
    shared: &Shared,
    (head, snapshot): (&Parts, &Snapshot),
    client: &AuthenticatedClient,
    (proof, certificate): (Option<VerifiedProof>, Option<&PresentedCertificate<'_>>),
    now_ms: u64,
) -> Result<Holder, Unserved> {
    shared.throttle.admit(client.client_id().as_str())?;
    places::verify(shared, client, head, now_ms)?;
    let agent = snapshot.agent(client.client_id());
    let key = bind(shared, agent, proof, certificate, now_ms / 1000);
    Ok(key.map_err(|error| Refused::of(error, Some(client.client_id().as_str())))?)
}

/// Issues a token to an agent for itself. `about` is the entry that says where it came from.
pub(crate) async fn issue(
    shared: &Shared,
    snapshot: &Snapshot,
    (client, key): (&AuthenticatedClient, &Holder),
    wanted: Wanted<'_>,
    about: Entry,
) -> Result<Response<Body>, Unserved> {
    let now_s = about.time_ms / 1000;
    let refused = |error| Refused::of(error, Some(client.client_id().as_str()));
    let server =
        target(shared, snapshot, client.client_id(), wanted.resource, now_s).map_err(refused)?;
    verify_unlocked(snapshot, client, key, server, now_s).map_err(refused)?;
    let holder = AgentHolder::alone(client.client_id());
    let granted = snapshot.held_scopes(holder, &server.id, now_s);
    // It authenticated, so it may act; what may not act any more holds nothing.
    let granted = granted.map_err(|_| refused(TokenError::ScopeNotGranted))?;
    let scope = narrow(wanted.scope, &granted).map_err(refused)?;
    let of = (client.client_id(), server);
    let details = narrowed_details(snapshot, of, &scope, wanted.details, now_s).map_err(refused)?;
    let subject = Subject { holder, key: key.confirmation, server, scope, details, now_s };
    let claims = subject.claims(shared, snapshot);
    let keys = shared.keys.in_use()?;
    let token =
        access_token::issue(&claims, &keys.kid, &keys.signer).map_err(|_| Unserved::Unavailable)?;
    let entry = Entry {
        server: Some(server.id.to_string()),
        agent_key: Some(client.key().to_string()),
        ..issued(&claims, key, about)
    };
    // If the process dies after this line, a token is on record that nobody holds. Whoever may set a
    // lock gets one while the journal refuses all else; gateways and who only looks may use a part of
    // what is kept free.
    let recorded = if may_take_away(&claims.scope) && server.is_builtin() {
        shared.record_emergency(&entry).await?
    } else if server.is_builtin() {
        shared.record_own(&entry).await?
    } else {
        shared.record(&entry).await?
    };
    shared.uses.note(client.client_id(), now_s);
    Ok(answer(shared, &token, &claims, &recorded))
}

/// Whether a token for the administration is good for an act that takes rights away.
fn may_take_away(scope: &ScopeSet) -> bool {
    Operation::ALL.iter().any(|act| act.takes_away() && scope.contains(&act.scope()))
}

/// What a token will be bound to: a key that was proven, or the certificate of the connection.
pub(crate) struct Holder {
    pub(crate) confirmation: Confirmation,
    pub(crate) proof_jti: Option<String>,
}

/// Takes the binding that the client is registered for; a client never chooses a weaker one.
pub(crate) fn bind(
    shared: &Shared,
    agent: Option<&Agent>,
    proof: Option<VerifiedProof>,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<Holder, TokenError> {
    let agent = agent.ok_or(TokenError::ClientAuthenticationMissing)?;
    match agent.binding {
        // RFC 9449 section 5.
        Binding::Dpop => {
            let proof = proof.ok_or(TokenError::Possession(DpopRefusal::Missing))?;
            let key = proof.burn(&shared.replays, now_s)?;
            let confirmation = Confirmation::Jkt(key.jkt());
            Ok(Holder { confirmation, proof_jti: Some(key.proof_jti().to_owned()) })
        }
        // RFC 8705 section 3.
        Binding::Certificate => {
            let certificate = certificate.ok_or(TokenError::CertificateMissing)?;
            match mtls::verify_registered(&agent.authentication, certificate, now_s) {
                // A client that authenticates by assertions may use any certificate.
                Ok(()) | Err(CertificateRefusal::Method) => {}
                Err(refusal) => return Err(refusal.into()),
            }
            let confirmation = Confirmation::Certificate(certificate.thumbprint);
            Ok(Holder { confirmation, proof_jti: None })
        }
    }
}

/// Counts a refusal, and charges credentials that do not hold to where they came from. Asking
/// without our nonce is how an honest client begins.
fn note_failure(shared: &Shared, head: &Parts, unserved: &Unserved) -> ReasonCode {
    let reason = match unserved {
        Unserved::Refused(refused) => {
            let code = refused.error.code();
            let is_credential = code == ErrorCode::InvalidDpopProof
                || code == ErrorCode::InvalidClient
                // An assertion stands for a client, or for a person; a signature was verified for it.
                || matches!(refused.error, TokenError::JwtGrant(_))
                // Anybody can make these up, and each is looked for in the registry.
                || matches!(refused.error, TokenError::Grant(unknown) if unknown.is_unknown());
            if is_credential {
                shared.throttle.failed(head);
            }
            refused.reason
        }
        Unserved::Limited(_) => ReasonCode::RateLimited,
        Unserved::Unavailable => ReasonCode::JournalUnavailable,
    };
    shared.telemetry.calls.token_refused(reason);
    reason
}

/// What a token is made from.
pub(crate) struct Subject<'a> {
    pub(crate) holder: AgentHolder<'a>,
    pub(crate) key: Confirmation,
    pub(crate) server: &'a McpServer,
    pub(crate) scope: ScopeSet,
    pub(crate) details: Option<AuthorizationDetails>,
    pub(crate) now_s: u64,
}

impl Subject<'_> {
    /// RFC 9068 section 2.2, and `cnf` of RFC 9449 section 6.1 or RFC 8705 section 3.1.
    pub(crate) fn claims(self, shared: &Shared, snapshot: &Snapshot) -> AccessTokenClaims {
        let AgentHolder { agent: client_id, person } = self.holder;
        // `iat` has whole seconds: in the second in which a stop ends, or the clock is
        // set back, only a later one tells this
        // token from those before it. It is within the leeway of everybody who reads it.
        let from_s = self.tokens_from_s(snapshot).max(shared.clock.tokens_from_s());
        let iat = self.now_s.max(from_s);
        AccessTokenClaims {
            // RFC 8693 section 4.1: the agent acts, and the token is about the person.
            act: person.map(|_| Actor { act: None, sub: client_id.to_string() }),
            attorn_approval: None,
            aud: shared.config.resource_of(self.server.name.as_str()),
            authorization_details: self.details,
            client_id: client_id.clone(),
            cnf: self.key,
            epoch: snapshot.epoch,
            exp: iat.saturating_add(if self.key.is_bearer() {
                lifetime_s(&shared.config, &self.scope).min(BEARER_LIFETIME_MAX_S)
            } else {
                lifetime_s(&shared.config, &self.scope)
            }),
            // What a person holds rests on several grants, each of which counts by itself.
            grt: match person {
                None => sole_grant(snapshot, client_id, self.server, &self.scope, self.now_s),
                Some(_) => None,
            },
            iat,
            iss: shared.config.issuer.clone(),
            jti: attorn_jose::base64url(&shared.random.bytes::<16>()),
            nbf: self.now_s,
            parent: None,
            sub: match person {
                None => TokenSubject::Agent(client_id.clone()),
                Some(person) => TokenSubject::Person(person.clone()),
            },
            scope: self.scope,
        }
    }

    /// The first second whose tokens count, after the stops that ended of all the token is for.
    fn tokens_from_s(&self, snapshot: &Snapshot) -> u64 {
        let (AgentHolder { agent, person }, server) = (self.holder, &self.server.id);
        let key = Some(self.key.key());
        let subject = LockedSubject { agent, person, server, tool: None, token_jti: None, key };
        let of_all = snapshot.tokens_from_s(&subject, self.now_s);
        let uses = self.scope.iter().filter_map(|scope| {
            let tool = match &scope.tool {
                ScopeTarget::Tool(tool) => Some((server, tool.as_str())),
                ScopeTarget::Prompts | ScopeTarget::Resources => None,
            };
            let rests_on = snapshot.grants_behind(self.holder, server, scope, self.now_s);
            rests_on.iter().map(|grant| snapshot.use_from_s(tool, grant, self.now_s)).max()
        });
        uses.fold(of_all, u64::max)
    }
}

/// RFC 8707 section 2: the one server the token is for. Unknown, stopped and not granted look alike.
fn target<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    client: &AgentId,
    resource: Option<&ResourceIndicator>,
    now_s: u64,
) -> Result<&'s McpServer, TokenError> {
    let is_reachable = |server: &&McpServer| {
        let granted = snapshot.counting_grants(client, &server.id, now_s).next().is_some();
        granted && snapshot.verify_server(server).is_ok()
    };
    let Some(resource) = resource else {
        let mut granted = snapshot.servers().filter(is_reachable);
        // Only where there is nothing to choose from.
        return match (granted.next(), granted.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) | (None, _) => Err(TokenError::ResourceMissing),
        };
    };
    let name = shared.config.server_of(resource.as_str()).ok_or(TokenError::ResourceUnknown)?;
    snapshot.server_named(name).filter(is_reachable).ok_or(TokenError::ResourceUnknown)
}

/// RFC 9396 section 6: what was asked under what the grants say, tool by tool. A tool under several
/// grants is within one of them, and one without constraints frees it.
pub(crate) fn narrowed_details(
    snapshot: &Snapshot,
    (client, server): (&AgentId, &McpServer),
    scope: &ScopeSet,
    asked: Option<&AuthorizationDetails>,
    now_s: u64,
) -> Result<Option<AuthorizationDetails>, TokenError> {
    let in_scope = |tool: &str| {
        scope.iter().any(|one| matches!(&one.tool, ScopeTarget::Tool(name) if name == tool))
    };
    // Details about a tool that the token does not unlock would be read as a right to it.
    if asked.is_some_and(|asked| !asked.as_slice().iter().all(|detail| in_scope(&detail.tool))) {
        return Err(TokenError::AuthorizationDetails);
    }
    let grants: Vec<&Grant> = snapshot.counting_grants(client, &server.id, now_s).collect();
    if asked.is_none() && grants.iter().all(|grant| grant.constraints.is_empty()) {
        return Ok(None);
    }
    let tools: BTreeSet<&str> = scope
        .iter()
        .filter_map(|scope| match &scope.tool {
            ScopeTarget::Tool(tool) => Some(tool.as_str()),
            ScopeTarget::Prompts | ScopeTarget::Resources => None,
        })
        .collect();
    let of_tool = |tool: &str| -> Vec<CallConstraint> {
        let covers = |grant: &&&Grant| {
            let mut scopes =
                scope.iter().filter(|one| one.tool == ScopeTarget::Tool(tool.to_owned()));
            scopes.any(|scope| grant.covers(scope))
        };
        let merged = grants.iter().filter(covers).map(|grant| grant.merged_constraint(tool));
        merged.collect::<Option<_>>().unwrap_or_default()
    };
    let granted: Vec<_> = tools.into_iter().map(of_tool).collect();
    AuthorizationDetails::narrow(asked, &granted).map_err(|_| TokenError::AuthorizationDetails)
}

fn verify_unlocked(
    snapshot: &Snapshot,
    client: &AuthenticatedClient,
    key: &Holder,
    server: &McpServer,
    now_s: u64,
) -> Result<(), TokenError> {
    let subject = LockedSubject {
        agent: client.client_id(),
        person: None,
        server: &server.id,
        tool: None,
        token_jti: None,
        key: Some(key.confirmation.key()),
    };
    // The client's own key was looked at when it was used; the proof's may be another one.
    let key_locked = snapshot.active_lock(&LockTarget::Key { jkt: client.key() }, now_s).is_some();
    if key_locked || snapshot.lock_on(&subject, now_s).is_some() {
        return Err(TokenError::ResourceUnknown);
    }
    Ok(())
}

/// A token that can do what cannot be undone lives shorter.
pub(crate) fn lifetime_s(config: &Config, scope: &ScopeSet) -> u64 {
    let irreversible = scope.iter().any(|scope| scope.class == Class::Irreversible);
    if irreversible { config.irreversible_token_lifetime_s } else { config.token_lifetime_s }
}

/// The grant that covers the whole scope, where one does.
fn sole_grant(
    snapshot: &Snapshot,
    client: &AgentId,
    server: &McpServer,
    scope: &ScopeSet,
    now_s: u64,
) -> Option<GrantId> {
    let covers_all = |grant: &&_| scope.iter().all(|one| Grant::covers(grant, one));
    let grant = snapshot.counting_grants(client, &server.id, now_s).find(covers_all)?;
    Some(grant.id.clone())
}

/// The SHA-256 of what the token says of arguments: the constraint digest of the journal.
fn details_digest(claims: &AccessTokenClaims) -> Option<(String, String)> {
    let details = claims.authorization_details.as_ref()?;
    let digest = attorn_jose::sha256(details.to_text().as_bytes());
    Some(("authorization_details_digest".to_owned(), attorn_jose::base64url(&digest)))
}

pub(crate) fn issued(claims: &AccessTokenClaims, key: &Holder, mut about: Entry) -> Entry {
    about.detail.extend(details_digest(claims));
    Entry {
        actor_chain: claims.act.as_ref().map(Actor::chain),
        agent: Some(claims.client_id.to_string()),
        audience: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.to_string()),
        decision: Some(Decision::Permit),
        grant: claims.grt.as_ref().map(ToString::to_string),
        proof_jti: key.proof_jti.clone(),
        proof_key: (!key.confirmation.is_bearer()).then(|| key.confirmation.key().to_string()),
        scope: Some(claims.scope.to_string()),
        subject: Some(claims.sub.to_string()),
        token_jti: Some(claims.jti.clone()),
        ..about
    }
}

/// RFC 6749 section 5.1. Needs the proof that the token is on record.
pub(crate) fn answer(
    shared: &Shared,
    token: &str,
    claims: &AccessTokenClaims,
    _recorded: &Recorded,
) -> Response<Body> {
    let mut body = serde_json::json!({
        "access_token": token,
        // RFC 9449 section 5, RFC 8705 section 3.
        "token_type": claims.cnf.token_type(),
        "expires_in": claims.exp.saturating_sub(claims.iat),
        // RFC 6749 section 3.3: told always, since it may be less than was asked for.
        "scope": claims.scope.to_string(),
    });
    if let (Some(details), Some(members)) = (&claims.authorization_details, body.as_object_mut()) {
        // RFC 9396 section 7: the details as granted.
        let details = serde_json::to_value(details).unwrap_or_default();
        members.insert("authorization_details".to_owned(), details);
    }
    let mut answer = json_answer(StatusCode::OK, body.to_string());
    match claims.cnf {
        // RFC 9449 section 8.2: the nonce of the next request, so that it needs no second attempt.
        Confirmation::Jkt(_) => set(&mut answer, DPOP_NONCE, &shared.new_nonce()),
        Confirmation::Bearer(_) | Confirmation::Certificate(_) => {}
    }
    answer
}
