//! Grants: which agent may use what at which server.

use attorn_audit::{Entry, Kind};
use attorn_registry::{Grant, GrantId, ScopePattern};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::delegation;
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
    agent: String,
    /// Name or identifier.
    server: String,
    /// `read:get_invoice`, or `read:*` for every approved read tool.
    patterns: Vec<String>,
    /// First second at which it does not count any more.
    expires_s: Option<u64>,
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
    let patterns: Result<Vec<_>, _> =
        new.patterns.iter().map(|text| ScopePattern::parse(text)).collect();
    let (server, patterns) = (context.server(&new.server)?, patterns?);
    delegation::verify_grant(&context, server, &patterns, new.expires_s)?;
    let grant = Grant {
        id: GrantId::from_random(&context.shared.random.bytes()),
        agent: context.agent(&new.agent)?.id.clone(),
        server: server.id.clone(),
        patterns,
        expires_s: new.expires_s,
        revoked_s: None,
        by: context.operator.id.to_string(),
        reason: new.reason.unwrap_or_default(),
        created_s: context.now_s(),
    };
    let grant = context.shared.store.create_grant(&context.act(), &grant).await?.record;
    let fact = about(&context, Kind::GrantCreated, &grant, &grant.reason);
    Ok(Effect::new(GrantView::of(&context, &grant), fact))
}

pub(crate) async fn revoke(context: Context, reason: Reason) -> Result<Effect<GrantView>, Refusal> {
    let reason = reason.text()?;
    let id = grant_id(&context)?;
    let grant = context.shared.store.revoke_grant(&context.act(), &id).await?.record;
    let fact = about(&context, Kind::GrantRevoked, &grant, &reason);
    Ok(Effect::new(GrantView::of(&context, &grant), fact))
}

fn grant_id(context: &Context) -> Result<GrantId, Refusal> {
    GrantId::parse(context.segment("grant")).map_err(|_| Refusal::Missing(Missing::Grant))
}

fn about(context: &Context, kind: Kind, grant: &Grant, reason: &str) -> Entry {
    let mut fact = context.fact(kind);
    fact.agent = Some(grant.agent.to_string());
    fact.grant = Some(grant.id.to_string());
    fact.server = Some(grant.server.to_string());
    fact.scope = Some(patterns(grant).join(" "));
    fact.detail.insert("reason".to_owned(), reason.to_owned());
    fact.detail.extend(grant.expires_s.map(|s| ("expires_s".to_owned(), s.to_string())));
    fact
}

fn patterns(grant: &Grant) -> Vec<String> {
    grant.patterns.iter().map(ToString::to_string).collect()
}

fn server_name(context: &Context, grant: &Grant) -> String {
    let server = context.snapshot.server(&grant.server);
    server.map_or_else(|| grant.server.to_string(), |server| server.name.to_string())
}

impl GrantView {
    fn of(context: &Context, grant: &Grant) -> Self {
        let agent = context.snapshot.agent(&grant.agent);
        Self {
            id: grant.id.to_string(),
            agent: agent.map_or_else(|| grant.agent.to_string(), |agent| agent.name.to_string()),
            server: server_name(context, grant),
            patterns: patterns(grant),
            expires_s: grant.expires_s,
            revoked_s: grant.revoked_s,
            by: context.name_of(&grant.by),
            reason: grant.reason.clone(),
            created_s: grant.created_s,
            counts: grant.counts(context.now_s()),
        }
    }
}
