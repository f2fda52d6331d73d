//! The caller, a token, and the authority itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::Context;
use super::refusal::Refusal;
use crate::introspect::members;
use crate::standing::verify_any_audience;

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Whoami {
    id: String,
    name: String,
    owner: Option<String>,
    issuer: String,
    /// What the presented token holds.
    scope: String,
    /// First second at which the token does not count any more.
    token_ends_s: u64,
}

/// A token to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenText {
    token: String,
}

/// What a token says: the members of RFC 7662 section 2.2 when it is active.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    /// Whether it still stands.
    active: bool,
    /// Why it does not, as a reason code.
    reason: Option<&'static str>,
    /// The claims, when the signature holds.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    claims: serde_json::Map<String, serde_json::Value>,
}

/// What runs, and how it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    issuer: String,
    gateway: String,
    agents: usize,
    /// Agents past their end.
    agents_ended: usize,
    servers: usize,
    owners: usize,
    locks_in_force: usize,
    /// Gateways as which another process asked and was refused: see `gateway.list`.
    gateways_copied: usize,
    /// Servers that take tokens without a proof, a finding: see `server.list`.
    servers_accepting_bearer: usize,
    /// Tools that wait for their owner.
    tools_waiting: usize,
    policy_version: u64,
    epoch: u64,
    signing_key: Option<String>,
    /// Durable entries of the journal.
    journal_entries: u64,
    /// Number of the last change in force.
    registry_version: u64,
}

pub(crate) async fn whoami(context: Context) -> Result<Whoami, Refusal> {
    let agent = context.snapshot.agent(&context.operator.id);
    Ok(Whoami {
        id: context.operator.id.to_string(),
        name: context.operator.name.clone(),
        owner: context.owner_name(agent.and_then(|agent| agent.owner.as_ref())),
        issuer: context.shared.config.issuer.clone(),
        scope: context.operator.scope.to_string(),
        token_ends_s: context.operator.token_ends_s(),
    })
}

pub(crate) async fn inspect(context: Context, asked: TokenText) -> Result<TokenView, Refusal> {
    let (shared, now_s) = (&context.shared, context.now_s());
    let token = match verify_any_audience(shared, &context.snapshot, asked.token.trim(), now_s) {
        Ok(token) => token,
        Err(refusal) => {
            let reason = Some(refusal.reason().as_str());
            return Ok(TokenView { active: false, reason, claims: serde_json::Map::new() });
        }
    };
    let standing = token.verify_standing(shared, &context.snapshot, now_s);
    let reason = standing.err().map(attorn_registry::ReasonCode::as_str);
    Ok(TokenView { active: reason.is_none(), reason, claims: members(&token) })
}

pub(crate) async fn status(context: Context) -> Result<Status, Refusal> {
    let snapshot = &context.snapshot;
    let tools = snapshot.servers().flat_map(|server| server.tools.values());
    let keys = context.shared.keys.in_use().ok();
    let accepting = snapshot.servers().filter(|server| !server.accept_bearer.is_empty()).count();
    Ok(Status {
        issuer: context.shared.config.issuer.clone(),
        gateway: context.shared.config.gateway_url.clone(),
        agents: snapshot.agents().count(),
        agents_ended: snapshot.agents().filter(|one| one.has_ended(context.now_s())).count(),
        servers: snapshot.servers().count(),
        owners: snapshot.owners().count(),
        gateways_copied: context.shared.followers.refused_count(),
        locks_in_force: snapshot.locks().filter(|lock| lock.holds(context.now_s())).count(),
        servers_accepting_bearer: accepting,
        tools_waiting: tools.filter(|tool| tool.approved_class().is_none()).count(),
        policy_version: snapshot.policy.version,
        epoch: snapshot.epoch,
        signing_key: keys.map(|keys| keys.kid.clone()),
        journal_entries: context.shared.journal.size(),
        registry_version: snapshot.version,
    })
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenText([redacted])")
    }
}
