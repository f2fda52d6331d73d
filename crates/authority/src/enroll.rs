//! `/enroll`: a one-time code and a proven key make a registered agent an active one.
//!
//! The code is looked at last and burned with the key in one transaction. Every failure looks the
//! same from outside.

use attorn_audit::{Decision, Entry, Kind};
use attorn_jose::sha256;
use attorn_json::Limits;
use attorn_net::Body;
use attorn_oauth::enrolment::{self, Expected};
use attorn_oauth::error::ErrorCode;
use attorn_registry::{Agent, AgentId, AgentKind, Jkt, LockTarget, ReasonCode, Snapshot};
use attorn_store::{Act, StoreError};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::http::json_answer;
use crate::refused::{error, unavailable};
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presented {
    code: String,
    proof: String,
}

/// What an enrolled client needs to know.
#[derive(Serialize)]
struct Enrolled<'a> {
    client_id: &'a str,
    name: &'a str,
    kind: &'static str,
    issuer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_url: Option<&'a str>,
    /// Where servers granted later are found.
    gateway_url: &'a str,
    servers: Vec<Reachable>,
}

#[derive(Serialize)]
struct Reachable {
    name: String,
    resource: String,
}

/// Why an enrolment does not happen.
enum Unenrolled {
    Refused,
    Unavailable,
}

impl From<StoreError> for Unenrolled {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(_) => Self::Refused,
            StoreError::Failed(_) => Self::Unavailable,
        }
    }
}

/// Answers one enrolment.
pub(crate) async fn handle(shared: &Shared, head: &Parts, body: &[u8]) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    match enroll(shared, head, body, now_ms).await {
        Ok(answer) => answer,
        Err(Unenrolled::Unavailable) => unavailable(),
        Err(Unenrolled::Refused) => {
            let entry = shared.entry_from(head, Kind::IdentityEnrolmentRefused, now_ms);
            if shared.note_refusal(entry, ReasonCode::EnrolmentRefused).await.is_err() {
                return unavailable();
            }
            let description = "the code or its proof is not accepted";
            error(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, description)
        }
    }
}

async fn enroll(
    shared: &Shared,
    head: &Parts,
    body: &[u8],
    now_ms: u64,
) -> Result<Response<Body>, Unenrolled> {
    let now_s = now_ms / 1000;
    let document = attorn_json::parse(body, &BODY_LIMITS).map_err(|_| Unenrolled::Refused)?;
    let presented: Presented = document.to().map_err(|_| Unenrolled::Refused)?;
    let expected = Expected { issuer: &shared.config.issuer, code: &presented.code };
    let proven =
        enrolment::verify(&presented.proof, &expected, now_s).map_err(|_| Unenrolled::Refused)?;
    let jkt = proven.key().thumbprint();
    // Only the holder of an unused code gets further, so nobody else can fill the journal with it,
    // or keep an operator's lock waiting for its turn.
    let code_hash = sha256(presented.code.as_bytes());
    let agent_id = shared.store.enrolment(&code_hash, now_s).await?;
    let _alone = shared.turns.next().await;
    verify_unlocked(&shared.published.load(), &agent_id, jkt, now_s)?;
    let entry = Entry {
        agent: Some(agent_id.to_string()),
        agent_key: Some(jkt.to_string()),
        decision: Some(Decision::Permit),
        proof_jti: Some(proven.jti().to_owned()),
        ..shared.entry_from(head, Kind::IdentityEnrolled, now_ms)
    };
    // If the process dies after this line, the journal shows an enrolment that may not have
    // happened; the code is then still good.
    let _intended = shared.record(&entry).await.map_err(|_| Unenrolled::Unavailable)?;
    let act = Act { by: agent_id.as_str(), now_s };
    let jwk = proven.key().to_jwk(None);
    let agent = shared.store.redeem_enrolment(&act, &code_hash, (jkt, &jwk)).await?.record;
    shared.publish().await.map_err(|_| Unenrolled::Unavailable)?;
    Ok(answer(shared, &agent, now_s))
}

/// A lock ends and a key stays: one that gets in under a lock would act after it.
fn verify_unlocked(
    snapshot: &Snapshot,
    agent: &AgentId,
    jkt: Jkt,
    now_s: u64,
) -> Result<(), Unenrolled> {
    let owner = snapshot.agent(agent).and_then(|agent| agent.owner.as_ref());
    let owners = snapshot.owners_behind(owner);
    let owners = owners.map(|owner| LockTarget::Owner { owner: owner.id.clone() });
    let own = [LockTarget::Agent { agent: agent.clone() }, LockTarget::Key { jkt }];
    let mut targets = own.into_iter().chain(owners);
    if targets.any(|target| snapshot.active_lock(&target, now_s).is_some()) {
        return Err(Unenrolled::Refused);
    }
    Ok(())
}

fn answer(shared: &Shared, agent: &Agent, now_s: u64) -> Response<Body> {
    let snapshot = shared.published.load();
    let mut servers: Vec<_> = snapshot
        .servers()
        .filter(|server| !server.is_builtin())
        .filter(|server| snapshot.counting_grants(&agent.id, &server.id, now_s).next().is_some())
        .map(|server| Reachable {
            name: server.name.to_string(),
            resource: shared.config.resource_of(server.name.as_str()),
        })
        .collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    let enrolled = Enrolled {
        client_id: agent.id.as_str(),
        name: agent.name.as_str(),
        kind: agent.kind.as_str(),
        issuer: &shared.config.issuer,
        admin_url: match agent.kind {
            AgentKind::Gateway | AgentKind::Operator => Some(&shared.config.admin_url),
            AgentKind::Agent | AgentKind::Client => None,
        },
        gateway_url: &shared.config.gateway_url,
        servers,
    };
    json_answer(StatusCode::OK, serde_json::to_vec(&enrolled).unwrap_or_default())
}

/// A code and a JWT of at most 8 KiB.
const BODY_LIMITS: Limits = Limits { bytes_max: 16 * 1024, depth_max: 2 };
