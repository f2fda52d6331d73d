//! What a person, or everybody of a group, may do at an MCP server; and what they gave to agents.

use attorn_audit::{Entry, Kind};
use attorn_registry::{
    Consent, ConsentId, GrantId, Name, PersonGrant, PersonId, PersonOrGroup, ScopePattern,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::reason::Reason;
use super::refusal::{Missing, Refusal};

/// A grant to a person or a group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PersonGrantView {
    id: String,
    /// The person; absent where it is a group's.
    person: Option<String>,
    /// The group; absent where it is a person's.
    group: Option<String>,
    server: String,
    scopes: Vec<String>,
    created_s: u64,
    expires_s: Option<u64>,
    revoked_s: Option<u64>,
    /// Whether it gives anything now: neither ended nor revoked.
    counts: bool,
}

/// A new grant to a person or a group: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonGrantNew {
    /// Name or identifier.
    person: Option<String>,
    /// A group by its name.
    group: Option<String>,
    /// Name or identifier.
    server: String,
    /// `read:get_invoice`, or `read:*` for every approved read tool.
    scopes: Vec<String>,
    /// First second at which it does not count any more.
    expires_s: Option<u64>,
    /// Why; recorded.
    reason: Option<String>,
}

/// Which grants or consents to list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonFilter {
    person: Option<String>,
    server: Option<String>,
}

/// What a person gave to an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentView {
    id: String,
    person: String,
    agent: String,
    server: String,
    scopes: String,
    created_s: u64,
    expires_s: u64,
    /// When it was taken back or replaced.
    revoked_s: Option<u64>,
    /// Whether it gives anything now.
    counts: bool,
}

pub(crate) async fn list(
    context: Context,
    filter: PersonFilter,
) -> Result<List<PersonGrantView>, Refusal> {
    let person = filter.person.map(|text| context.person(&text).cloned()).transpose()?;
    let server = filter.server.map(|text| context.server(&text).map(|it| it.id.clone()));
    let server = server.transpose()?;
    let holds = |grant: &&PersonGrant| {
        let of = |person: &attorn_registry::Person| match &grant.to {
            PersonOrGroup::Person { person: id } => *id == person.id,
            PersonOrGroup::Group { group } => person.groups.contains(group),
        };
        person.as_ref().is_none_or(of) && server.as_ref().is_none_or(|id| grant.server == *id)
    };
    // From the store, which also remembers what ended.
    let grants = context.shared.store.person_grants().await?;
    Ok(grants.iter().filter(holds).map(|grant| PersonGrantView::of(&context, grant)).collect())
}

pub(crate) async fn create(
    context: Context,
    new: PersonGrantNew,
) -> Result<Effect<PersonGrantView>, Refusal> {
    let scopes: Result<Vec<_>, _> =
        new.scopes.iter().map(|text| ScopePattern::parse(text)).collect();
    let server = context.server(&new.server)?;
    if server.is_builtin() {
        // What operators may do is given to their keys.
        return Err(Refusal::Builtin);
    }
    let grant = PersonGrant {
        id: GrantId::from_random(&context.shared.random.bytes()),
        to: person_or_group(&context, new.person.as_deref(), new.group.as_deref())?
            .ok_or(Refusal::Form)?,
        server: server.id.clone(),
        scopes: scopes?,
        created_s: context.now_s(),
        expires_s: new.expires_s,
        revoked_s: None,
    };
    let grant = context.shared.store.create_person_grant(&context.act(), &grant).await?.record;
    let fact = about(&context, Kind::GrantCreated, &grant, &new.reason.unwrap_or_default());
    Ok(Effect::new(PersonGrantView::of(&context, &grant), fact))
}

/// One of the two, or neither.
pub(crate) fn person_or_group(
    context: &Context,
    person: Option<&str>,
    group: Option<&str>,
) -> Result<Option<PersonOrGroup>, Refusal> {
    match (person, group) {
        (Some(person), None) => {
            let person = context.person(person)?.id.clone();
            Ok(Some(PersonOrGroup::Person { person }))
        }
        (None, Some(group)) => Ok(Some(PersonOrGroup::Group { group: Name::parse(group)? })),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Refusal::Form),
    }
}

pub(crate) async fn revoke(
    context: Context,
    reason: Reason,
) -> Result<Effect<PersonGrantView>, Refusal> {
    let reason = reason.text()?;
    let id = GrantId::parse(context.segment("grant"));
    let id = id.map_err(|_| Refusal::Missing(Missing::Grant))?;
    let grant = context.shared.store.revoke_person_grant(&context.act(), &id).await?.record;
    let fact = about(&context, Kind::GrantRevoked, &grant, &reason);
    Ok(Effect::new(PersonGrantView::of(&context, &grant), fact))
}

pub(crate) async fn consents(
    context: Context,
    filter: PersonFilter,
) -> Result<List<ConsentView>, Refusal> {
    let person = filter.person.map(|text| context.person(&text).map(|it| it.id.clone()));
    let server = filter.server.map(|text| context.server(&text).map(|it| it.id.clone()));
    let (person, server) = (person.transpose()?, server.transpose()?);
    let consents = context.shared.store.consents(person.as_ref()).await?;
    let here = consents.iter().filter(|it| server.as_ref().is_none_or(|id| it.server == *id));
    Ok(here.map(|consent| ConsentView::of(&context, consent)).collect())
}

pub(crate) async fn revoke_consent(
    context: Context,
    reason: Reason,
) -> Result<Effect<ConsentView>, Refusal> {
    let reason = reason.text()?;
    let id = ConsentId::parse(context.segment("consent"));
    let id = id.map_err(|_| Refusal::Missing(Missing::Consent))?;
    let consent = context.shared.store.revoke_consent(&context.act(), &id).await?.record;
    let mut fact = context.fact(Kind::GrantRevoked);
    fact.agent = Some(consent.agent.to_string());
    fact.server = Some(consent.server.to_string());
    fact.scope = Some(consent.scopes.to_string());
    fact.subject = Some(consent.person.to_string());
    fact.detail.insert("consent".to_owned(), consent.id.to_string());
    fact.detail.insert("reason".to_owned(), reason);
    Ok(Effect::new(ConsentView::of(&context, &consent), fact))
}

fn about(context: &Context, kind: Kind, grant: &PersonGrant, reason: &str) -> Entry {
    let mut fact = context.fact(kind);
    fact.grant = Some(grant.id.to_string());
    fact.server = Some(grant.server.to_string());
    fact.scope = Some(texts(&grant.scopes).join(" "));
    match &grant.to {
        PersonOrGroup::Person { person } => fact.subject = Some(person.to_string()),
        PersonOrGroup::Group { group } => {
            fact.detail.insert("group".to_owned(), group.to_string());
        }
    }
    fact.detail.insert("reason".to_owned(), reason.to_owned());
    fact.detail.extend(grant.expires_s.map(|s| ("expires_s".to_owned(), s.to_string())));
    fact
}

fn texts(patterns: &[ScopePattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn person_name(context: &Context, id: &PersonId) -> String {
    context.snapshot.person(id).map_or_else(|| id.to_string(), |it| it.name.to_string())
}

fn server_name(context: &Context, id: &attorn_registry::ServerId) -> String {
    context.snapshot.server(id).map_or_else(|| id.to_string(), |it| it.name.to_string())
}

impl PersonGrantView {
    fn of(context: &Context, grant: &PersonGrant) -> Self {
        let (person, group) = match &grant.to {
            PersonOrGroup::Person { person } => (Some(person_name(context, person)), None),
            PersonOrGroup::Group { group } => (None, Some(group.to_string())),
        };
        Self {
            id: grant.id.to_string(),
            person,
            group,
            server: server_name(context, &grant.server),
            scopes: texts(&grant.scopes),
            created_s: grant.created_s,
            expires_s: grant.expires_s,
            revoked_s: grant.revoked_s,
            counts: grant.counts(context.now_s()),
        }
    }
}

impl ConsentView {
    fn of(context: &Context, consent: &Consent) -> Self {
        let agent = context.snapshot.agent(&consent.agent);
        Self {
            id: consent.id.to_string(),
            person: person_name(context, &consent.person),
            agent: agent.map_or_else(|| consent.agent.to_string(), |it| it.name.to_string()),
            server: server_name(context, &consent.server),
            scopes: consent.scopes.to_string(),
            created_s: consent.created_s,
            expires_s: consent.expires_s,
            revoked_s: consent.revoked_s,
            counts: consent.counts(context.now_s()),
        }
    }
}
