//! Owners: who answers for an identity.

use attorn_audit::{Entry, Kind};
use attorn_registry::{Name, Owner, OwnerId};
use attorn_store::NewOwner;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, Effect};
use super::list::List;
use super::refusal::Refusal;

/// An owner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnerView {
    id: String,
    name: String,
    email: Option<String>,
    /// `active`, `suspended` or `retired`.
    state: &'static str,
    created_s: u64,
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
    Ok(owners.into_iter().map(OwnerView::of).collect())
}

pub(crate) async fn create(context: Context, new: OwnerNew) -> Result<Effect<OwnerView>, Refusal> {
    let new = read(&context, new)?;
    let owner = context.shared.store.create_owner(&context.act(), &new).await?.record;
    Ok(Effect::new(OwnerView::of(&owner), registered(&context, &owner)))
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
    fn of(owner: &Owner) -> Self {
        Self {
            id: owner.id.to_string(),
            name: owner.name.to_string(),
            email: owner.email.clone(),
            state: owner.state.as_str(),
            created_s: owner.created_s,
        }
    }
}
