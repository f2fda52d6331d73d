//! Owners: who answers for an identity.

use attorn_audit::{Entry, Kind};
use attorn_registry::{Name, Owner, OwnerId, PersonOrGroup};
use attorn_store::NewOwner;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::last_operator::verify_remains_after;
use super::list::List;
use super::person_grants::person_or_group;
use super::refusal::Refusal;

/// An owner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnerView {
    id: String,
    name: String,
    email: Option<String>,
    /// `active`, `suspended` or `retired`.
    state: &'static str,
    /// The person it is, if it is one.
    person: Option<String>,
    /// The group it is, if it is one.
    group: Option<String>,
    /// Who answers after them.
    successor: Option<String>,
    created_s: u64,
}

/// Who an owner is, and who answers after them. All of it is said each time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerAnswering {
    /// A person by name or identifier.
    person: Option<String>,
    /// A group by its name.
    group: Option<String>,
    /// An owner by name or identifier.
    successor: Option<String>,
}

/// A new owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerNew {
    /// `[a-z0-9][a-z0-9-]{0,62}`
    pub(crate) name: String,
    pub(crate) email: Option<String>,
}

pub(crate) async fn list(context: Context) -> Result<List<OwnerView>, Refusal> {
    let mut owners: Vec<_> = context.snapshot.owners().collect();
    owners.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(owners.into_iter().map(|owner| OwnerView::of(&context, owner)).collect())
}

pub(crate) async fn create(context: Context, new: OwnerNew) -> Result<Effect<OwnerView>, Refusal> {
    let new = read(&context, new)?;
    let owner = context.shared.store.create_owner(&context.act(), &new).await?.record;
    Ok(Effect::new(OwnerView::of(&context, &owner), registered(&context, &owner)))
}

/// Says who an owner is. It may not leave the last operator without anybody who answers for it.
pub(crate) async fn set(
    context: Context,
    wanted: OwnerAnswering,
) -> Result<Effect<OwnerView>, Refusal> {
    let owner = context.owner(context.segment("owner"))?;
    let bound_to = person_or_group(&context, wanted.person.as_deref(), wanted.group.as_deref())?;
    let successor = wanted.successor.as_deref().map(|text| context.owner(text)).transpose()?;
    let successor = successor.map(|owner| owner.id.clone());
    let next = Owner { bound_to: bound_to.clone(), successor: successor.clone(), ..owner.clone() };
    verify_remains_after(&context, |delta| delta.owners.push(next))?;
    let store = &context.shared.store;
    let wanted = (bound_to.as_ref(), successor.as_ref());
    let owner = store.set_owner(&context.act(), &owner.id, wanted).await?.record;
    let output = OwnerView::of(&context, &owner);
    let mut fact = context.fact(Kind::IdentityOwnerChanged);
    fact.owner = Some(owner.id.to_string());
    let details = [
        ("person", output.person.clone()),
        ("group", output.group.clone()),
        ("successor", output.successor.clone()),
    ];
    let details = details.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    fact.detail.extend(details);
    Ok(Effect::new(output, fact))
}

/// The owner to be.
pub(crate) fn read(context: &Context, new: OwnerNew) -> Result<NewOwner, Refusal> {
    Ok(NewOwner {
        id: OwnerId::from_random(&context.shared.random.bytes()),
        name: Name::parse(&new.name)?,
        email: new.email,
    })
}

/// What the journal says of a new owner.
pub(crate) fn registered(context: &Context, owner: &Owner) -> Entry {
    let mut fact = context.fact(Kind::IdentityRegistered);
    fact.owner = Some(owner.id.to_string());
    fact.detail.insert("name".to_owned(), owner.name.to_string());
    fact
}

impl OwnerView {
    fn of(context: &Context, owner: &Owner) -> Self {
        let (person, group) = match &owner.bound_to {
            None => (None, None),
            Some(PersonOrGroup::Person { person: id }) => {
                let person = context.snapshot.person(id);
                (Some(person.map_or_else(|| id.to_string(), |it| it.name.to_string())), None)
            }
            Some(PersonOrGroup::Group { group }) => (None, Some(group.to_string())),
        };
        Self {
            person,
            group,
            successor: context.owner_name(owner.successor.as_ref()),
            id: owner.id.to_string(),
            name: owner.name.to_string(),
            email: owner.email.clone(),
            state: owner.state.as_str(),
            created_s: owner.created_s,
        }
    }
}
