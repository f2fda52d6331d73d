//! Grants: which agent may use what at which server.

use attorn_audit::{Entry, Kind};
use attorn_registry::{
    AgentId, AuthorizationDetails, CallConstraint, Grant, GrantId, McpServer, ScopePattern,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::delegation;
use super::last_operator::{Taken, verify_remains};
use super::list::List;
use super::reason::Reason;
use super::refusal::{Missing, Refusal};

/// A grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantView {
    id: String,
    agent: String,
    server: String,
    patterns: Vec<String>,
    /// What calls must satisfy: authorization details of RFC 9396.
    #[schema(value_type = Vec<Object>)]
    constraints: Vec<CallConstraint>,
    /// It counts only once a second owner confirmed it.
    awaits_second: bool,
    confirmed_by: Option<String>,
    /// What the tools it reaches do to the flow of information.
    effects: Vec<&'static str>,
    /// What is risky about it, with everything else the agent may use.
    finding: Option<&'static str>,
    expires_s: Option<u64>,
    revoked_s: Option<u64>,
    by: String,
    reason: String,
    created_s: u64,
    /// Whether it gives anything now: neither ended nor revoked.
    counts: bool,
}

/// A new grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantNew {
    /// Name or identifier.
    pub(crate) agent: String,
    /// Name or identifier.
    pub(crate) server: String,
    /// `read:get_invoice`, or `read:*` for every approved read tool.
    pub(crate) patterns: Vec<String>,
    /// Authorization details of the type `mcp_tool_call` that every call must satisfy.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) constraints: Option<Box<RawValue>>,
    /// First second at which it does not count any more.
    pub(crate) expires_s: Option<u64>,
    /// Why; recorded.
    pub(crate) reason: Option<String>,
}

/// A second owner's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    /// Why; recorded.
    reason: Option<String>,
}

/// Which grants to list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantFilter {
    agent: Option<String>,
    server: Option<String>,
}

pub(crate) async fn list(
    context: Context,
    filter: GrantFilter,
) -> Result<List<GrantView>, Refusal> {
    let agent = filter.agent.map(|name| context.agent(&name).map(|agent| agent.id.clone()));
    let server = filter.server.map(|name| context.server(&name).map(|server| server.id.clone()));
    let (agent, server) = (agent.transpose()?, server.transpose()?);
    // From the store, which also remembers what ended.
    let grants = context.shared.store.grants().await?;
    Ok(grants
        .iter()
        .filter(|grant| agent.as_ref().is_none_or(|id| grant.agent == *id))
        .filter(|grant| server.as_ref().is_none_or(|id| grant.server == *id))
        .map(|grant| GrantView::of(&context, grant))
        .collect())
}

pub(crate) async fn show(context: Context) -> Result<GrantView, Refusal> {
    let grant = context.shared.store.grant(&grant_id(&context)?).await?;
    Ok(GrantView::of(&context, &grant))
}

pub(crate) async fn create(context: Context, new: GrantNew) -> Result<Effect<GrantView>, Refusal> {
    let grant = judged(&context, read(&context, new)?)?;
    let grant = context.shared.store.create_grant(&context.act(), &grant).await?.record;
    let fact = created(&context, &grant);
    Ok(Effect::new(GrantView::of(&context, &grant), fact))
}

/// The grant that is asked for. Nothing is said yet of whether the operator may give it.
pub(crate) fn read(context: &Context, new: GrantNew) -> Result<Grant, Refusal> {
    let patterns: Result<Vec<_>, _> =
        new.patterns.iter().map(|text| ScopePattern::parse(text)).collect();
    let (server, patterns) = (context.server(&new.server)?, patterns?);
    let constraints = constraints(&new, server)?;
    Ok(Grant {
        id: GrantId::from_random(&context.shared.random.bytes()),
        agent: context.agent(&new.agent)?.id.clone(),
        server: server.id.clone(),
        patterns,
        constraints,
        awaits_second: false,
        confirmed_by: None,
        expires_s: new.expires_s,
        revoked_s: None,
        by: context.operator.id.to_string(),
        reason: new.reason.unwrap_or_default(),
        created_s: context.now_s(),
    })
}

/// The grant, if the operator may give it, and whether it waits for a second owner.
pub(crate) fn judged(context: &Context, mut grant: Grant) -> Result<Grant, Refusal> {
    let server = context.snapshot.server(&grant.server);
    let server = server.ok_or(Refusal::Missing(Missing::Server))?;
    delegation::verify_grant(context, server, &grant.patterns, grant.expires_s)?;
    grant.awaits_second =
        context.shared.config.second_owner_for_triple && joins_all(context, &grant, Some(&grant));
    Ok(grant)
}

/// What the journal says of a new grant.
pub(crate) fn created(context: &Context, grant: &Grant) -> Entry {
    about(context, Kind::GrantCreated, grant, &grant.reason)
}

/// Confirms a grant that joins risks. Nobody is the second owner of what they gave themselves.
pub(crate) async fn confirm(
    context: Context,
    reason: Confirmation,
) -> Result<Effect<GrantView>, Refusal> {
    let id = grant_id(&context)?;
    let grant = context.shared.store.grant(&id).await?;
    let giver = AgentId::parse(&grant.by).ok().and_then(|id| context.snapshot.agent(&id));
    let own = context.snapshot.agent(&context.operator.id).and_then(|agent| agent.owner.as_ref());
    let same_owner = giver.is_some_and(|giver| giver.owner.as_ref() == own);
    if grant.by == context.operator.id.to_string() || own.is_none() || same_owner {
        return Err(Refusal::SameOwner);
    }
    let grant = context.shared.store.confirm_grant(&context.act(), &id).await?.record;
    let fact = about(&context, Kind::GrantConfirmed, &grant, &reason.reason.unwrap_or_default());
    Ok(Effect::new(GrantView::of(&context, &grant), fact))
}

/// What a new grant says of arguments.
fn constraints(new: &GrantNew, server: &McpServer) -> Result<Vec<CallConstraint>, Refusal> {
    let Some(text) = &new.constraints else { return Ok(Vec::new()) };
    // The admin API decides without looking at the body; constraints would not be enforced there.
    if server.is_builtin() {
        return Err(Refusal::Builtin);
    }
    let details = AuthorizationDetails::parse(text.get()).map_err(Refusal::Details)?;
    Ok(details.as_slice().to_vec())
}

/// Whether the agent of a grant joins all three effects, and the grant has a part in it.
fn joins_all(context: &Context, grant: &Grant, more: Option<&Grant>) -> bool {
    let snapshot = &context.snapshot;
    !snapshot.effects_of_grant(grant).is_empty()
        && snapshot.effects_of(&grant.agent, more, context.now_s()).joins_all()
}

pub(crate) async fn revoke(context: Context, reason: Reason) -> Result<Effect<GrantView>, Refusal> {
    let reason = reason.text()?;
    let id = grant_id(&context)?;
    verify_remains(&context, Taken::Grant(&id))?;
    let grant = context.shared.store.revoke_grant(&context.act(), &id).await?.record;
    let fact = about(&context, Kind::GrantRevoked, &grant, &reason);
    Ok(Effect::new(GrantView::of(&context, &grant), fact))
}

fn grant_id(context: &Context) -> Result<GrantId, Refusal> {
    GrantId::parse(context.segment("grant")).map_err(|_| Refusal::Missing(Missing::Grant))
}

/// What the journal says of any change of a grant.
pub(crate) fn about(context: &Context, kind: Kind, grant: &Grant, reason: &str) -> Entry {
    let mut fact = context.fact(kind);
    fact.agent = Some(grant.agent.to_string());
    fact.grant = Some(grant.id.to_string());
    fact.server = Some(grant.server.to_string());
    fact.scope = Some(patterns(grant).join(" "));
    fact.detail.insert("reason".to_owned(), reason.to_owned());
    if !grant.constraints.is_empty() {
        let constraints = serde_json::to_string(&grant.constraints).unwrap_or_default();
        fact.detail.insert("constraints".to_owned(), constraints);
    }
    if grant.awaits_second {
        fact.detail.insert("second_owner".to_owned(), "needed".to_owned());
    }
    fact.detail.extend(grant.expires_s.map(|s| ("expires_s".to_owned(), s.to_string())));
    fact
}

pub(crate) fn patterns(grant: &Grant) -> Vec<String> {
    grant.patterns.iter().map(ToString::to_string).collect()
}

fn server_name(context: &Context, grant: &Grant) -> String {
    let server = context.snapshot.server(&grant.server);
    server.map_or_else(|| grant.server.to_string(), |server| server.name.to_string())
}

fn finding(context: &Context, grant: &Grant) -> Option<&'static str> {
    let lives =
        grant.revoked_s.is_none() && grant.expires_s.is_none_or(|end_s| context.now_s() < end_s);
    // A grant made a moment ago is not in the picture yet.
    (lives && joins_all(context, grant, Some(grant))).then_some(JOINS_ALL)
}

const JOINS_ALL: &str = "with its other grants the agent reads private data, takes in untrusted content and sends outside";

impl GrantView {
    fn of(context: &Context, grant: &Grant) -> Self {
        let agent = context.snapshot.agent(&grant.agent);
        Self {
            id: grant.id.to_string(),
            agent: agent.map_or_else(|| grant.agent.to_string(), |agent| agent.name.to_string()),
            server: server_name(context, grant),
            patterns: patterns(grant),
            constraints: grant.constraints.clone(),
            awaits_second: grant.awaits_second && grant.confirmed_by.is_none(),
            confirmed_by: grant.confirmed_by.as_ref().map(|by| context.name_of(by)),
            effects: context.snapshot.effects_of_grant(grant).names(),
            finding: finding(context, grant),
            expires_s: grant.expires_s,
            revoked_s: grant.revoked_s,
            by: context.name_of(&grant.by),
            reason: grant.reason.clone(),
            created_s: grant.created_s,
            counts: grant.counts(context.now_s()),
        }
    }
}
