//! A workload asks with the JWT of its platform, and is the agent that the rules of that platform say.
//!
//! The agent has no key here and no code. What it gets is what `client_credentials` gives it, bound to the
//! key that the request proves.

use attorn_audit::{Entry, Kind};
use attorn_net::Body;
use attorn_oauth::client_assertion::AuthenticatedClient;
use attorn_oauth::error::TokenError;
use attorn_oauth::jwt_grant::JwtGrantRefusal;
use attorn_oauth::token_request::PresentedClient;
use attorn_oauth::workload_grant::{self, Expected, VerifiedWorkload};
use attorn_registry::{LockTarget, ReasonCode, Snapshot};
use attorn_store::Reuse;
use http::Response;
use http::request::Parts;

use super::Presented;
use crate::client::acting;
use crate::proof::certificate;
use crate::refused::{Refused, Unserved};
use crate::shared::Shared;
use crate::token::{Wanted, admit, issue};

/// The steps of one request. Nothing is used up before everything that can be verified was.
pub(super) async fn redeem(
    shared: &Shared,
    head: &Parts,
    presented: Presented<'_>,
    now_ms: u64,
) -> Result<Response<Body>, Unserved> {
    let Presented { asked, issuer, verified, proof } = presented;
    let (now_s, snapshot) = (now_ms / 1000, shared.published.load());
    let expected = Expected {
        issuer: &issuer.config.issuer,
        audience: &shared.config.issuer,
        token_endpoint: &shared.config.endpoint("/token"),
        rules: &issuer.config.agents,
        lifetime_max_s: issuer.config.lifetime_max_s(),
    };
    let workload = workload_grant::verify(&verified, &expected, now_s);
    let workload = workload.map_err(TokenError::from)?;
    let client = client_of(&snapshot, &workload, now_s)?;
    let client_id = client.client_id().as_str();
    verify_named(asked.client.as_ref(), client_id)
        .map_err(|error| Refused::of(error, Some(client_id)))?;
    let certificate = certificate(head);
    let possession = (proof, certificate.as_ref());
    let held = admit(shared, (head, &snapshot), &client, possession, now_ms)?;
    let reuse = if issuer.config.single_use {
        Reuse::Never
    } else {
        // RFC 7800 section 1: from now on it is worth something with this key alone.
        Reuse::SameKey(held.confirmation.key())
    };
    // If the process dies after this line, the assertion is used up and nobody has a token for it.
    let is_first = shared.store.use_assertion(workload.single_use(), reuse, workload.expires_s());
    if !is_first.await.map_err(|_| Unserved::Unavailable)? {
        let error = TokenError::from(JwtGrantRefusal::Replayed);
        return Err(Refused::of(error, Some(client_id)).into());
    }
    let wanted = Wanted {
        scope: asked.scope.as_ref(),
        details: asked.details.as_ref(),
        resource: asked.resource.as_ref(),
    };
    let about = noted(shared.entry_from(head, Kind::TokenIssued, now_ms), &expected, &workload);
    issue(shared, &snapshot, (&client, &held), wanted, about).await
}

/// The agent of the workload, if it may act. Unknown and stopped ones look the same to the client.
fn client_of(
    snapshot: &Snapshot,
    workload: &VerifiedWorkload,
    now_s: u64,
) -> Result<AuthenticatedClient, Refused> {
    let name = workload.agent().as_str();
    let refused = |refusal: JwtGrantRefusal, client_id: &str| {
        Refused::of(TokenError::from(refusal), Some(client_id))
    };
    let standing = JwtGrantRefusal::Standing;
    let agent = snapshot.agent_named(name);
    let agent = agent.ok_or_else(|| refused(standing(ReasonCode::AgentUnknown), name))?;
    let client_id = agent.id.as_str();
    let client = workload.client(agent).map_err(|refusal| refused(refusal, client_id))?;
    acting(snapshot, &agent.id, now_s).map_err(|reason| refused(standing(reason), client_id))?;
    // A lock on the key of a platform stops all that it vouches for.
    let vouching = LockTarget::Key { jkt: workload.key() };
    match snapshot.active_lock(&vouching, now_s) {
        None => Ok(client),
        Some(_) => Err(refused(standing(ReasonCode::LockActive), client_id)),
    }
}

/// RFC 7521 section 4.1: a client may name itself, and is then the one of the assertion. One that
/// authenticates as well would have two ways in.
fn verify_named(named: Option<&PresentedClient>, client_id: &str) -> Result<(), TokenError> {
    match named {
        None => Ok(()),
        Some(PresentedClient::Certificate { client_id: named }) if named == client_id => Ok(()),
        Some(PresentedClient::Certificate { .. }) => Err(JwtGrantRefusal::ClientMismatch.into()),
        Some(PresentedClient::Assertion { .. } | PresentedClient::JwtSvid { .. }) => {
            Err(TokenError::ClientAuthenticationRepeated)
        }
    }
}

/// The entry says which workload it was, and on whose word.
fn noted(mut about: Entry, expected: &Expected<'_>, workload: &VerifiedWorkload) -> Entry {
    let detail = &mut about.detail;
    detail.insert("assertion_issuer".to_owned(), expected.issuer.to_owned());
    detail.insert("assertion_subject".to_owned(), workload.subject().to_owned());
    detail.extend(workload.jti().map(|jti| ("assertion_jti".to_owned(), jti.to_owned())));
    about
}
