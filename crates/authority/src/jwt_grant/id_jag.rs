//! A client asks with an identity provider's word on a person: an ID-JAG.
//!
//! The provider says who, for which client, where and what at most. What the token holds is also within
//! what the person may do and gave, and what the client may do: the rule of the registry is the same as
//! for codes. Without a link from the provider's subject to a person there is nothing.

use attorn_jose::Jkt;
use attorn_net::Body;
use attorn_oauth::confirmation::Confirmation;
use attorn_oauth::dpop::VerifiedProof;
use attorn_oauth::error::TokenError;
use attorn_oauth::id_jag::{self, Expected, VerifiedIdJag};
use attorn_oauth::jwt_grant::JwtGrantRefusal;
use attorn_oauth::mtls::PresentedCertificate;
use attorn_oauth::token_request::{JwtBearer, PresentedClient};
use attorn_registry::{
    Agent, AgentId, AgentKind, AuthorizationDetails, Binding, LockTarget, McpServer, Person,
    ReasonCode, ScopeSet, Snapshot,
};
use attorn_store::Reuse;
use http::Response;
use http::request::Parts;

use super::{Presented, consent};
use crate::client::{Proven, authenticate};
use crate::delegated_token::{ForPerson, issue};
use crate::people::{prolong, redeeming};
use crate::proof::certificate;
use crate::refused::{Refused, Unserved};
use crate::shared::Shared;
use crate::token::{answer, bind};

/// The steps of one request. The assertion is used up last before something is issued for it.
pub(super) async fn redeem(
    shared: &Shared,
    head: &Parts,
    presented: Presented<'_>,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let Presented { asked, issuer, verified, proof } = presented;
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let certificate = certificate(head);
    let held = Proven {
        certificate: certificate.as_ref(),
        proof_key: proof.as_ref().map(VerifiedProof::jkt),
    };
    let client = client_of(shared, &snapshot, asked, held, now_s).await?;
    let refused = |error: TokenError| Refused::of(error, Some(&client.client_id));
    shared.throttle.admit(client.agent.id.as_str())?;
    let expected = Expected {
        issuer: &issuer.config.issuer,
        tenant: issuer.config.tenant.as_deref(),
        audience: &shared.config.issuer,
        client_id: &client.client_id,
        proven: proven(&client.agent, proof.as_ref(), certificate.as_ref()),
        lifetime_max_s: issuer.config.lifetime_max_s(),
    };
    let jag = id_jag::verify(&verified, &expected, now_s);
    let jag = jag.map_err(|refusal| refused(refusal.into()))?;
    let person = person_of(&snapshot, &jag, now_s).map_err(refused)?;
    let server = server_of(shared, &snapshot, &jag, asked).map_err(refused)?;
    let scope = scope_of(&jag, asked.scope.as_ref());
    let details = details_of(&jag, asked).map_err(refused)?;
    let key = bind(shared, Some(&client.agent), proof, certificate.as_ref(), now_s);
    let key = key.map_err(refused)?;
    // If the process dies after this line, the assertion is used up and nobody has a token for it.
    let is_first = shared.store.use_assertion(&jag.single_use, Reuse::Never, jag.expires_s).await;
    if !is_first.map_err(|_| Unserved::Unavailable)? {
        return Err(refused(JwtGrantRefusal::Replayed.into()).into());
    }
    let parties = consent::Parties { person, agent: &client.agent, server };
    consent::give_for(shared, (head, &snapshot), &issuer.config, &parties, scope.as_ref(), now_ms)
        .await?;
    // What the provider said of a consent may be in force only now.
    let snapshot_now = shared.published.load();
    let for_person = ForPerson {
        person: &person.id,
        agent: &client.agent.id,
        server,
        scope: scope.as_ref(),
        details,
        key,
        noted: vec![
            ("assertion_issuer".to_owned(), issuer.config.issuer.clone()),
            ("assertion_jti".to_owned(), jag.jti.clone()),
        ],
    };
    let issued = issue(shared, &snapshot_now, head, for_person, now_ms).await?;
    prolong(shared, &client.agent, now_s).await;
    // No refresh token: draft-ietf-oauth-identity-assertion-authz-grant-04 section 4.4.3.
    Ok(answer(shared, &issued.text, &issued.claims, &issued.recorded))
}

/// Who asks, and by what name.
struct Asking {
    agent: Agent,
    client_id: String,
}

/// RFC 7521 section 4.1: a client of people says who it is, an agent proves it in its one way.
async fn client_of(
    shared: &Shared,
    snapshot: &Snapshot,
    asked: &JwtBearer,
    proven: Proven<'_>,
    now_s: u64,
) -> Result<Asking, Refused> {
    let presented = asked.client.as_ref().ok_or(TokenError::ClientAuthenticationMissing)?;
    match presented {
        PresentedClient::Certificate { client_id } if is_of_people(snapshot, client_id) => {
            let refused = |reason| Refused::of(TokenError::ClientStanding(reason), Some(client_id));
            let people = shared.people.as_ref().ok_or(ReasonCode::ClientUnknown);
            let people = people.map_err(refused)?;
            let agent = redeeming((shared, people), snapshot, client_id, now_s).await;
            let agent = agent.map_err(refused)?;
            Ok(Asking { agent, client_id: client_id.clone() })
        }
        PresentedClient::Assertion { .. }
        | PresentedClient::Certificate { .. }
        | PresentedClient::JwtSvid { .. } => {
            let client = authenticate(shared, snapshot, presented, proven, now_s)?;
            let client_id = client.client_id().to_string();
            let missing = || Refused::of(TokenError::ClientAuthenticationMissing, Some(&client_id));
            let agent = snapshot.agent(client.client_id()).cloned().ok_or_else(missing)?;
            Ok(Asking { agent, client_id })
        }
    }
}

/// Whether a name is that of a client that has nothing to prove it with. Names that nobody has are
/// asked to authenticate, and fail.
fn is_of_people(snapshot: &Snapshot, client_id: &str) -> bool {
    let Ok(id) = AgentId::parse(client_id) else { return true };
    snapshot.agent(&id).is_some_and(|agent| agent.kind == AgentKind::Client)
}

/// The key that the client's tokens are bound to, if the request proves it.
fn proven(
    agent: &Agent,
    proof: Option<&VerifiedProof>,
    certificate: Option<&PresentedCertificate<'_>>,
) -> Option<Confirmation> {
    match agent.binding {
        Binding::Certificate => certificate.map(|it| Confirmation::Certificate(it.thumbprint)),
        Binding::Dpop => proof.map(|proof| Confirmation::Jkt(proof.jkt())),
    }
}

/// The person whom the provider's subject is linked to. Nobody is made known by an assertion.
fn person_of<'s>(
    snapshot: &'s Snapshot,
    jag: &VerifiedIdJag,
    now_s: u64,
) -> Result<&'s Person, TokenError> {
    let standing = |reason| TokenError::from(JwtGrantRefusal::Standing(reason));
    let is_locked = |jkt: Jkt| snapshot.active_lock(&LockTarget::Key { jkt }, now_s).is_some();
    if is_locked(jag.key) {
        return Err(standing(ReasonCode::LockActive));
    }
    let person = snapshot.person_external(&jag.subject);
    let person = person.ok_or_else(|| standing(ReasonCode::PersonUnknown))?;
    snapshot.acting_person(&person.id).map_err(standing)
}

/// The server of the assertion, which a request may name and not change: RFC 8707 section 2.2.
fn server_of<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    jag: &VerifiedIdJag,
    asked: &JwtBearer,
) -> Result<&'s McpServer, TokenError> {
    if asked.resource.as_ref().is_some_and(|asked| *asked != jag.resource) {
        return Err(TokenError::ResourceUnknown);
    }
    let name = shared.config.server_of(jag.resource.as_str());
    let server = name.and_then(|name| snapshot.server_named(name));
    server.filter(|server| !server.is_builtin()).ok_or(TokenError::ResourceUnknown)
}

/// What was asked of what the provider allows.
fn scope_of(jag: &VerifiedIdJag, asked: Option<&ScopeSet>) -> Option<ScopeSet> {
    match (&jag.scope, asked) {
        (Some(allowed), Some(asked)) => Some(allowed.intersect(asked)),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

/// What was asked of arguments, or what the provider allows. Of both nobody says which is within the
/// other, so both are not taken.
fn details_of<'a>(
    jag: &'a VerifiedIdJag,
    asked: &'a JwtBearer,
) -> Result<Option<&'a AuthorizationDetails>, TokenError> {
    match (&jag.details, &asked.details) {
        (Some(_), Some(_)) => Err(TokenError::AuthorizationDetails),
        (one, other) => Ok(one.as_ref().or(other.as_ref())),
    }
}
