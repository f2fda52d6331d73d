//! People: invited with a one-time code, given roles and groups, stopped and resumed, retired for
//! good.

use std::collections::BTreeSet;

use attorn_audit::{Entry, Kind};
use attorn_registry::{ExternalSubject, LifeCycle, Name, Person, PersonId, Provided, Role};
use attorn_store::{INVITATION_LIFETIME_S, NewPerson, PersonSettings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::last_operator::verify_remains_after;
use super::list::List;
use super::operation::Operation;
use super::reason::{Reason, ReasonWished};
use super::refusal::Refusal;
use crate::code::OneTimeCode;

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PersonView {
    /// Also the `sub` of tokens that act for them.
    id: String,
    name: String,
    display_name: Option<String>,
    /// `pending` until they use their code; `active`, `suspended` or `retired`.
    state: &'static str,
    /// `viewer`, `developer`, `operator`, `approver`, `auditor`, `admin`.
    roles: Vec<&'static str>,
    groups: Vec<String>,
    /// The identity provider they are linked to, if they are.
    issuer: Option<String>,
    /// Who they are there.
    subject: Option<String>,
    /// Which of the roles the provider gave at their last log-in.
    provided_roles: Vec<&'static str>,
    /// Which of the groups.
    provided_groups: Vec<String>,
    created_s: u64,
}

/// A new person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    name: String,
    /// What pages show.
    display_name: Option<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

/// What a person is called, may do and belongs to. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonWanted {
    display_name: Option<String>,
    roles: Option<BTreeSet<String>>,
    groups: Option<BTreeSet<String>>,
}

/// Who a person is at an identity provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonLink {
    /// The provider; without it, the one that people log in at.
    issuer: Option<String>,
    /// `sub` of the ID tokens of the provider.
    subject: String,
}

/// A person and the code that lets them in. Without `Debug`: the code is a secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct PersonCode {
    id: String,
    name: String,
    state: &'static str,
    /// Shown this once. Good for one password, for a day.
    code: String,
    code_expires_s: u64,
}

pub(crate) async fn list(context: Context) -> Result<List<PersonView>, Refusal> {
    let mut persons: Vec<_> = context.snapshot.persons().collect();
    persons.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(persons.into_iter().map(PersonView::of).collect())
}

pub(crate) async fn show(context: Context) -> Result<PersonView, Refusal> {
    Ok(PersonView::of(context.person(context.segment("person"))?))
}

pub(crate) async fn invite(
    context: Context,
    new: PersonNew,
) -> Result<Effect<PersonCode>, Refusal> {
    let (roles, groups) = (roles(&new.roles)?, groups(&new.groups)?);
    // A group has grants, and may answer for agents: it is given as roles are.
    if !roles.is_empty() || !groups.is_empty() {
        context.may(Operation::PersonSet)?;
    }
    let new = NewPerson {
        id: PersonId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        settings: PersonSettings { display_name: new.display_name, roles, groups },
        external: None,
        provided: Provided::default(),
    };
    let person = context.shared.store.create_person(&context.act(), &new).await?.record;
    let fact = about(&context, Kind::IdentityRegistered, &person);
    with_code(&context, &person, fact).await
}

/// A new code: the password that is set with it replaces an earlier one.
pub(crate) async fn code(context: Context, _: ReasonWished) -> Result<Effect<PersonCode>, Refusal> {
    let person = context.person(context.segment("person"))?;
    // Whoever has the code can be the person, so it takes what giving them all of it would take.
    if !person.roles.is_empty() || !person.groups.is_empty() {
        context.may(Operation::PersonSet)?;
    }
    let fact = about(&context, Kind::IdentityCodeIssued, person);
    with_code(&context, person, fact).await
}

async fn with_code(
    context: &Context,
    person: &Person,
    fact: Entry,
) -> Result<Effect<PersonCode>, Refusal> {
    let code = OneTimeCode::new(&context.shared.random, context.now_s(), INVITATION_LIFETIME_S);
    context.shared.store.create_invitation(&context.act(), &person.id, code.hash()).await?;
    let output = PersonCode {
        id: person.id.to_string(),
        name: person.name.to_string(),
        state: person.state.as_str(),
        code_expires_s: code.expires_s,
        code: code.into_text(),
    };
    Ok(Effect::new(output, fact))
}

pub(crate) async fn set(
    context: Context,
    wanted: PersonWanted,
) -> Result<Effect<PersonView>, Refusal> {
    let person = context.person(context.segment("person"))?;
    let wished = wanted.roles.as_ref().map(roles).transpose()?;
    let settings = PersonSettings {
        display_name: wanted.display_name.or_else(|| person.display_name.clone()),
        // What the provider gave is not given by hand by being left alone.
        roles: wished.unwrap_or_else(|| person.given_roles()),
        groups: match &wanted.groups {
            Some(names) => groups(names)?,
            None => person.given_groups(),
        },
    };
    let PersonSettings { roles, groups, .. } = settings.clone();
    let next = person.clone().with_given(roles, groups);
    // Who answers may be whoever is in a group.
    verify_remains_after(&context, |delta| delta.persons.push(next))?;
    let store = &context.shared.store;
    let person = store.set_person(&context.act(), &person.id, &settings).await?.record;
    let fact = about(&context, Kind::AdminChanged, &person);
    Ok(Effect::new(PersonView::of(&person), fact))
}

/// Says who a person is at the provider: from then on, whoever is that there is this person here.
pub(crate) async fn link(
    context: Context,
    link: PersonLink,
) -> Result<Effect<PersonView>, Refusal> {
    let person = context.person(context.segment("person"))?;
    // Whoever is the subject can be the person, as with a code.
    if !person.roles.is_empty() || !person.groups.is_empty() {
        context.may(Operation::PersonSet)?;
    }
    let of_log_in = context.shared.config.login.as_ref().map(|login| login.issuer.clone());
    let issuer = link.issuer.or(of_log_in).ok_or(Refusal::Form)?;
    let external = ExternalSubject { issuer, subject: link.subject };
    let store = &context.shared.store;
    let passkeys = store.passkeys_of(&person.id).await?;
    let person = store.link_person(&context.act(), &person.id, &external).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &person);
    if !passkeys.is_empty() {
        // They sign in at the provider from now on, and only there by something like a passkey.
        let ids: Vec<_> = passkeys.iter().map(|passkey| passkey.id.as_str()).collect();
        fact.detail.insert("passkeys_removed".to_owned(), ids.join(" "));
    }
    // Who they are there stays out of the journal: it could not be taken out again.
    fact.detail.insert("linked".to_owned(), external.issuer);
    Ok(Effect::new(PersonView::of(&person), fact))
}

/// Takes the link away, and what the provider gave. Sessions end.
pub(crate) async fn unlink(
    context: Context,
    reason: Reason,
) -> Result<Effect<PersonView>, Refusal> {
    let reason = reason.text()?;
    let person = context.person(context.segment("person"))?;
    let next = Person { external: None, ..person.clone() }.with_provided(&Provided::default());
    // Who answers may be whoever is in a group.
    verify_remains_after(&context, |delta| delta.persons.push(next))?;
    let issuer = person.external.as_ref().map(|external| external.issuer.clone());
    let store = &context.shared.store;
    let person = store.unlink_person(&context.act(), &person.id).await?.record;
    let mut fact = about(&context, Kind::AdminChanged, &person);
    fact.detail.extend([("reason".to_owned(), reason)]);
    fact.detail.extend(issuer.map(|issuer| ("unlinked".to_owned(), issuer)));
    Ok(Effect::new(PersonView::of(&person), fact))
}

pub(crate) async fn suspend(
    context: Context,
    reason: Reason,
) -> Result<Effect<PersonView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Suspended, Kind::IdentitySuspended, reason).await
}

pub(crate) async fn resume(
    context: Context,
    reason: ReasonWished,
) -> Result<Effect<PersonView>, Refusal> {
    become_state(context, LifeCycle::Active, Kind::IdentityResumed, reason.text()).await
}

pub(crate) async fn retire(
    context: Context,
    reason: Reason,
) -> Result<Effect<PersonView>, Refusal> {
    let reason = Some(reason.text()?);
    become_state(context, LifeCycle::Retired, Kind::IdentityRetired, reason).await
}

async fn become_state(
    context: Context,
    to: LifeCycle,
    kind: Kind,
    reason: Option<String>,
) -> Result<Effect<PersonView>, Refusal> {
    let person = context.person(context.segment("person"))?;
    // Only a code that was used makes a pending person active.
    if person.state == LifeCycle::Pending && to == LifeCycle::Active {
        return Err(Refusal::NotSignedIn);
    }
    if to != LifeCycle::Active {
        let next = Person { state: to, ..person.clone() };
        verify_remains_after(&context, |delta| delta.persons.push(next))?;
    }
    let store = &context.shared.store;
    let person = store.set_person_state(&context.act(), &person.id, to).await?.record;
    let mut fact = about(&context, kind, &person);
    fact.detail.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    Ok(Effect::new(PersonView::of(&person), fact))
}

/// What the journal says of any change of a person. What they call themselves stays out of it.
fn about(context: &Context, kind: Kind, person: &Person) -> Entry {
    let mut fact = context.fact(kind);
    fact.subject = Some(person.id.to_string());
    let join = |texts: Vec<&str>| texts.join(" ");
    let roles = join(person.roles.iter().map(|role| role.as_str()).collect());
    let groups = join(person.groups.iter().map(Name::as_str).collect());
    fact.detail.extend([
        ("kind".to_owned(), "person".to_owned()),
        ("name".to_owned(), person.name.to_string()),
        ("roles".to_owned(), roles),
        ("groups".to_owned(), groups),
    ]);
    fact
}

fn roles(names: &BTreeSet<String>) -> Result<BTreeSet<Role>, Refusal> {
    names.iter().map(|name| name.parse().map_err(|_| Refusal::Role)).collect()
}

fn groups(names: &BTreeSet<String>) -> Result<BTreeSet<Name>, Refusal> {
    names.iter().map(|name| Name::parse(name).map_err(Refusal::Name)).collect()
}

impl PersonView {
    fn of(person: &Person) -> Self {
        Self {
            id: person.id.to_string(),
            name: person.name.to_string(),
            display_name: person.display_name.clone(),
            state: person.state.as_str(),
            roles: person.roles.iter().map(|role| role.as_str()).collect(),
            groups: person.groups.iter().map(ToString::to_string).collect(),
            issuer: person.external.as_ref().map(|external| external.issuer.clone()),
            subject: person.external.as_ref().map(|external| external.subject.clone()),
            provided_roles: person.provided.roles.iter().map(|role| role.as_str()).collect(),
            provided_groups: person.provided.groups.iter().map(ToString::to_string).collect(),
            created_s: person.created_s,
        }
    }
}
