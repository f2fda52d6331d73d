//! Who asks at the token, revocation and introspection endpoints.
//!
//! A client that may not act looks exactly like one with wrong credentials; only the journal knows.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use attorn_jose::{Jkt, PublicKey};
use attorn_oauth::access_token::ClientId;
use attorn_oauth::client_assertion::{self, AuthenticatedClient, Expected};
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::error::TokenError;
use attorn_oauth::jwt_svid::{self, SvidRefusal};
use attorn_oauth::mtls::{self, CertificateRefusal, PresentedCertificate};
use attorn_oauth::token_request::PresentedClient;
use attorn_registry::{
    Agent, AgentId, Authentication, Binding, LockTarget, McpServer, ReasonCode, ResourceId,
    ServerId, Snapshot,
};

use crate::refused::Refused;
use crate::shared::Shared;

/// What a request proves besides the client's own word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proven<'a> {
    /// The client certificate of the connection.
    pub(crate) certificate: Option<&'a PresentedCertificate<'a>>,
    /// The key of a proof that holds, not yet burned.
    pub(crate) proof_key: Option<Jkt>,
}

/// Authenticates a client in the one way it is registered for. An assertion is burned.
pub(crate) fn authenticate(
    shared: &Shared,
    snapshot: &Snapshot,
    presented: &PresentedClient,
    proven: Proven<'_>,
    now_s: u64,
) -> Result<AuthenticatedClient, Refused> {
    match presented {
        PresentedClient::Assertion { assertion, client_id } => {
            let usable = |id: &AgentId| usable_keys(shared, snapshot, id, now_s);
            by_assertion(shared, (assertion, client_id.as_deref()), usable, now_s)
        }
        PresentedClient::Certificate { client_id } => {
            let agent = named(snapshot, client_id, CertificateRefusal::Unregistered, now_s)?;
            let certificate = proven.certificate;
            verify_unlocked(snapshot, certificate, now_s)
                .and_then(|()| {
                    let authentication = &agent.authentication;
                    Ok(mtls::authenticate(&agent.id, authentication, certificate, now_s)?)
                })
                .map_err(|error| Refused::of(error, Some(client_id)))
        }
        PresentedClient::JwtSvid { svid, client_id } => {
            let agent = named(snapshot, client_id, SvidRefusal::Subject, now_s)?;
            by_svid(shared, agent, (svid, proven), now_s)
                .map_err(|error| Refused::of(error.into(), Some(client_id)))
        }
    }
}

/// Authenticates an agent, or a server or API that says it is one by the `client_id` parameter; for
/// the endpoints that are asked about tokens. Gives its identifier.
pub(crate) fn authenticate_any(
    shared: &Shared,
    snapshot: &Snapshot,
    presented: &PresentedClient,
    proven: Proven<'_>,
    now_s: u64,
) -> Result<String, Refused> {
    if let PresentedClient::Assertion { assertion, client_id: Some(client_id) } = presented {
        let presented = (assertion.as_str(), Some(client_id.as_str()));
        if ServerId::parse(client_id).is_ok() {
            let usable = |id: &ServerId| keys_of_server(shared, snapshot, id, now_s);
            let _proven = by_assertion(shared, presented, usable, now_s)?;
            return Ok(client_id.clone());
        }
        if ResourceId::parse(client_id).is_ok() {
            let usable = |id: &ResourceId| key_of_resource(shared, snapshot, id, now_s);
            let _proven = by_assertion(shared, presented, usable, now_s)?;
            return Ok(client_id.clone());
        }
    }
    if let PresentedClient::Certificate { client_id } = presented
        && ServerId::parse(client_id).is_ok()
    {
        let _proven = server_by_certificate(snapshot, client_id, proven.certificate, now_s)?;
        return Ok(client_id.clone());
    }
    let agent = authenticate(shared, snapshot, presented, proven, now_s)?;
    Ok(agent.client_id().to_string())
}

/// Authenticates an MCP server by a key or a certificate that stands for it. It has no other way.
pub(crate) fn authenticate_server(
    shared: &Shared,
    snapshot: &Snapshot,
    presented: &PresentedClient,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<AuthenticatedClient<ServerId>, Refused> {
    match presented {
        PresentedClient::Assertion { assertion, client_id } => {
            let usable = |id: &ServerId| keys_of_server(shared, snapshot, id, now_s);
            by_assertion(shared, (assertion, client_id.as_deref()), usable, now_s)
        }
        PresentedClient::Certificate { client_id } => {
            server_by_certificate(snapshot, client_id, certificate, now_s)
        }
        PresentedClient::JwtSvid { client_id, .. } => {
            let error = TokenError::ClientAuthenticationMissing;
            Err(Refused::of(error, Some(client_id)))
        }
    }
}

/// RFC 8705 section 2.2, for a server that may act. All others look like one that showed the wrong
/// certificate.
fn server_by_certificate(
    snapshot: &Snapshot,
    client_id: &str,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<AuthenticatedClient<ServerId>, Refused> {
    let refused = |error: TokenError| Refused::of(error, Some(client_id));
    let unknown = TokenError::from(CertificateRefusal::Unregistered);
    let id = ServerId::parse(client_id).map_err(|_| refused(unknown))?;
    let server = acting_server(snapshot, &id, now_s).map_err(|reason| {
        // A name that nobody registered was only claimed: that is no verdict on a server.
        let is_unknown = reason == ReasonCode::ServerUnknown;
        let reason = if is_unknown { unknown.reason() } else { reason };
        Refused { reason, ..refused(unknown) }
    })?;
    verify_unlocked(snapshot, certificate, now_s).map_err(refused)?;
    let client = mtls::authenticate_server(server, certificate, now_s);
    client.map_err(|refusal| refused(refusal.into()))
}

fn by_assertion<C: ClientId>(
    shared: &Shared,
    (assertion, client_id): (&str, Option<&str>),
    usable_keys: impl FnOnce(&C) -> Result<Vec<PublicKey>, ReasonCode>,
    now_s: u64,
) -> Result<AuthenticatedClient<C>, Refused> {
    let expected = Expected { issuer: &shared.config.issuer, client_id };
    let mut named = None;
    let keys_of = |id: &C| {
        let keys = usable_keys(id);
        named = Some((id.to_string(), keys.as_ref().err().copied()));
        keys.unwrap_or_default()
    };
    let replays = &shared.replays;
    let client = client_assertion::authenticate(assertion, &expected, keys_of, replays, now_s);
    client.map_err(|refusal| {
        let error = TokenError::ClientAuthentication(refusal);
        let (client_id, standing) = named.unzip();
        // A name that nobody registered was only claimed: that is no verdict on an agent.
        let unknown =
            [ReasonCode::AgentUnknown, ReasonCode::ResourceUnknown, ReasonCode::ServerUnknown];
        let verdict = standing.flatten().filter(|reason| !unknown.contains(reason));
        let reason = verdict.unwrap_or_else(|| error.reason());
        Refused { reason, client_id, error, hop: None }
    })
}

/// draft-ietf-oauth-spiffe-client-auth-02 section 3.1: the SVID of the workload that the client is.
fn by_svid(
    shared: &Shared,
    agent: &Agent,
    (svid, proven): (&str, Proven<'_>),
    now_s: u64,
) -> Result<AuthenticatedClient, SvidRefusal> {
    let Authentication::Spiffe { id } = &agent.authentication else {
        return Err(SvidRefusal::Subject);
    };
    let holder = match agent.binding {
        Binding::Certificate => {
            proven.certificate.map(|held| Confirmation::Certificate(held.thumbprint).key())
        }
        Binding::Dpop => proven.proof_key,
    };
    let issuer = &shared.config.issuer;
    let expected = jwt_svid::Expected { issuer, client_id: &agent.id, id, holder };
    let keys = shared.trust_domains.keys(id.trust_domain());
    jwt_svid::authenticate(svid, &expected, &keys, &shared.svid_holders, now_s)
}

/// The client of a `client_id` parameter, if it may act. All others look like wrong credentials.
fn named<'s>(
    snapshot: &'s Snapshot,
    client_id: &str,
    refusal: impl Into<TokenError>,
    now_s: u64,
) -> Result<&'s Agent, Refused> {
    let error = refusal.into();
    let id = AgentId::parse(client_id).map_err(|_| Refused::of(error, Some(client_id)))?;
    acting(snapshot, &id, now_s).map_err(|reason| {
        let reason = if reason == ReasonCode::AgentUnknown { error.reason() } else { reason };
        Refused { reason, client_id: Some(client_id.to_owned()), error, hop: None }
    })
}

/// An agent that is active, answered for and not locked.
pub(crate) fn acting<'s>(
    snapshot: &'s Snapshot,
    id: &AgentId,
    now_s: u64,
) -> Result<&'s Agent, ReasonCode> {
    let agent = snapshot.acting_agent(id, now_s)?;
    let owners = snapshot.owners_behind(agent.owner.as_ref());
    let owners = owners.map(|owner| LockTarget::Owner { owner: owner.id.clone() });
    let mut locks = owners.chain([LockTarget::Agent { agent: id.clone() }]);
    if locks.any(|target| snapshot.active_lock(&target, now_s).is_some()) {
        return Err(ReasonCode::LockActive);
    }
    Ok(agent)
}

/// A lock on a certificate stops whoever shows it.
fn verify_unlocked(
    snapshot: &Snapshot,
    certificate: Option<&PresentedCertificate<'_>>,
    now_s: u64,
) -> Result<(), TokenError> {
    let Some(certificate) = certificate else { return Ok(()) };
    let jkt = Confirmation::Certificate(certificate.thumbprint).key();
    match snapshot.active_lock(&LockTarget::Key { jkt }, now_s) {
        None => Ok(()),
        Some(_) => Err(CertificateRefusal::Unregistered.into()),
    }
}

/// The keys a client may use now, or why it may use none.
fn usable_keys(
    shared: &Shared,
    snapshot: &Snapshot,
    id: &AgentId,
    now_s: u64,
) -> Result<Vec<PublicKey>, ReasonCode> {
    let agent = acting(snapshot, id, now_s)?;
    // RFC 8705 section 2: a client that is registered for its certificate has no other way in.
    match agent.authentication {
        Authentication::PrivateKeyJwt => {}
        Authentication::None
        | Authentication::SelfSignedTlsClientAuth { .. }
        | Authentication::Spiffe { .. }
        | Authentication::TlsClientAuth { .. }
        | Authentication::Workload { .. } => return Err(ReasonCode::ClientAuthentication),
    }
    let unlocked = |jkt: Jkt| snapshot.active_lock(&LockTarget::Key { jkt }, now_s).is_none();
    let keys: Vec<_> = agent
        .accepted_keys(now_s)
        .filter(|key| unlocked(key.jkt))
        .filter_map(|key| shared.client_keys.parsed(key.jkt, &key.jwk))
        .collect();
    if keys.is_empty() { Err(ReasonCode::ClientAuthentication) } else { Ok(keys) }
}

/// A server that is active, answered for and not locked. The built-in one is no client.
fn acting_server<'s>(
    snapshot: &'s Snapshot,
    id: &ServerId,
    now_s: u64,
) -> Result<&'s McpServer, ReasonCode> {
    let server = snapshot.server(id).filter(|server| !server.is_builtin());
    let server = server.ok_or(ReasonCode::ServerUnknown)?;
    snapshot.verify_server(server)?;
    let is_open = |target: &LockTarget| snapshot.active_lock(target, now_s).is_none();
    let owners = snapshot.owners_behind(server.owner.as_ref());
    let owners = owners.map(|owner| LockTarget::Owner { owner: owner.id.clone() });
    let mut locks = owners.chain([LockTarget::Server { server: id.clone() }]);
    if locks.all(|target| is_open(&target)) { Ok(server) } else { Err(ReasonCode::LockActive) }
}

/// The keys that stand for a server now, or why none does.
fn keys_of_server(
    shared: &Shared,
    snapshot: &Snapshot,
    id: &ServerId,
    now_s: u64,
) -> Result<Vec<PublicKey>, ReasonCode> {
    let server = acting_server(snapshot, id, now_s)?;
    let is_open = |target: &LockTarget| snapshot.active_lock(target, now_s).is_none();
    let keys: Vec<_> = server
        .accepted_keys()
        .filter(|key| is_open(&LockTarget::Key { jkt: key.jkt }))
        .filter_map(|key| shared.client_keys.parsed(key.jkt, &key.jwk))
        .collect();
    if keys.is_empty() { Err(ReasonCode::ClientAuthentication) } else { Ok(keys) }
}

/// The key that an API asks with now, or why it has none.
fn key_of_resource(
    shared: &Shared,
    snapshot: &Snapshot,
    id: &ResourceId,
    now_s: u64,
) -> Result<Vec<PublicKey>, ReasonCode> {
    let resource = snapshot.resource(id).ok_or(ReasonCode::ResourceUnknown)?;
    snapshot.verify_resource(resource, now_s)?;
    let key = resource.key.as_ref().ok_or(ReasonCode::ClientAuthentication)?;
    if snapshot.active_lock(&LockTarget::Key { jkt: key.jkt }, now_s).is_some() {
        return Err(ReasonCode::LockActive);
    }
    let parsed = shared.client_keys.parsed(key.jkt, &key.jwk);
    parsed.map(|key| vec![key]).ok_or(ReasonCode::ClientAuthentication)
}

/// Parsed client keys by thumbprint. A thumbprint names one key for ever, so nothing goes stale.
#[derive(Debug, Default)]
pub(crate) struct ClientKeys(RwLock<HashMap<Jkt, PublicKey>>);

impl ClientKeys {
    fn parsed(&self, jkt: Jkt, jwk: &str) -> Option<PublicKey> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&jkt).cloned();
        if known.is_some() {
            return known;
        }
        // What the registry holds under another thumbprint is not this key.
        let key = PublicKey::parse_jwk(jwk).ok().filter(|key| key.thumbprint() == jkt)?;
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS_MAX {
            keys.clear();
        }
        keys.insert(jkt, key.clone());
        Some(key)
    }
}

const CACHED_KEYS_MAX: usize = 16 * 1024;
