//! Owners: who answers for agents and MCP servers.

use attorn_registry::{LifeCycle, Name, Owner, OwnerId, PersonOrGroup};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::persons::person_by_id;

const COLUMNS: Columns = Columns("owners");
/// As long as anybody follows successors; the owner is one of them.
const SUCCESSORS_MAX: usize = 7;

/// An owner to be.
#[derive(Clone, Debug)]
pub struct NewOwner {
    /// Stable identifier.
    pub id: OwnerId,
    /// Unique among owners.
    pub name: Name,
    /// Where to reach them.
    pub email: Option<String>,
}

impl Store {
    /// Registers an owner, active at once.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn create_owner(
        &self,
        act: &Act<'_>,
        owner: &NewOwner,
    ) -> Result<Changed<Owner>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = insert_owner(&mut change, owner).await?;
        change.finish(ChangeKind::OwnerCreated, owner.id.as_str(), record).await
    }

    /// Changes the state of an owner. Everything of an owner who is not active stops at once.
    ///
    /// # Errors
    /// No such owner, or the life cycle does not hold this change.
    pub async fn set_owner_state(
        &self,
        act: &Act<'_>,
        id: &OwnerId,
        to: LifeCycle,
    ) -> Result<Changed<Owner>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let owner = owner_by_id(change.connection(), id).await?;
        let state = owner.state.become_state(to).map_err(Refusal::Transition)?;
        let stop_ended_s = owner.state.ends_stop(to).then_some(act.now_s).or(owner.stop_ended_s);
        sqlx::query("UPDATE owners SET state = $1, stop_ended_s = $2 WHERE id = $3")
            .bind(state.as_str())
            .bind(COLUMNS.maybe_number(stop_ended_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        if state != LifeCycle::Active {
            end_families(change.connection(), Ends::Owner(id), act.now_s).await?;
        }
        let record = Owner { state, stop_ended_s, ..owner };
        change.finish(ChangeKind::OwnerState, id.as_str(), record).await
    }

    /// Says who an owner is, and who answers after them. Tokens from before do not count again: who
    /// answered before may have been stopped.
    ///
    /// # Errors
    /// No such owner, the person is unknown or not active, or the successor is unknown, not active,
    /// or comes back to the owner.
    pub async fn set_owner(
        &self,
        act: &Act<'_>,
        id: &OwnerId,
        (bound_to, successor): (Option<&PersonOrGroup>, Option<&OwnerId>),
    ) -> Result<Changed<Owner>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let owner = owner_by_id(change.connection(), id).await?;
        match bound_to {
            Some(PersonOrGroup::Person { person }) => {
                let person = person_by_id(change.connection(), person).await?;
                if person.state != LifeCycle::Active {
                    return Err(Refusal::PersonInactive.into());
                }
            }
            Some(PersonOrGroup::Group { .. }) | None => {}
        }
        if let Some(successor) = successor {
            active_owner(change.connection(), successor).await?;
            verify_no_circle(change.connection(), id, successor).await?;
        }
        sqlx::query(
            "UPDATE owners SET bound_to = $1, successor = $2, stop_ended_s = $3 WHERE id = $4",
        )
        .bind(bound_to.map(|to| COLUMNS.to_json(to)).transpose()?)
        .bind(successor.map(OwnerId::as_str))
        .bind(COLUMNS.number(act.now_s)?)
        .bind(id.as_str())
        .execute(change.connection())
        .await?;
        let (bound_to, successor) = (bound_to.cloned(), successor.cloned());
        let record = Owner { bound_to, successor, stop_ended_s: Some(act.now_s), ..owner };
        change.finish(ChangeKind::OwnerSet, id.as_str(), record).await
    }

    /// Every owner, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn owners(&self) -> Result<Vec<Owner>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_owners(&mut connection).await
    }
}

/// As [`Store::create_owner`], as a part of a change.
pub(crate) async fn insert_owner(
    change: &mut Change<'_>,
    owner: &NewOwner,
) -> Result<Owner, StoreError> {
    sqlx::query(
        "INSERT INTO owners (id, name, email, state, created_s) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(owner.id.as_str())
    .bind(owner.name.as_str())
    .bind(owner.email.as_deref())
    .bind(LifeCycle::Active.as_str())
    .bind(COLUMNS.number(change.act.now_s)?)
    .execute(change.connection())
    .await
    .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
    owner_by_id(change.connection(), &owner.id).await
}

/// Who answers after somebody does not come back to them.
async fn verify_no_circle(
    connection: &mut AnyConnection,
    id: &OwnerId,
    successor: &OwnerId,
) -> Result<(), StoreError> {
    let mut next = Some(successor.clone());
    for _ in 0..SUCCESSORS_MAX {
        let Some(owner) = next else { return Ok(()) };
        if owner == *id {
            return Err(Refusal::OwnerCircle.into());
        }
        next = owner_by_id(connection, &owner).await?.successor;
    }
    // Longer than anybody follows it.
    Err(Refusal::OwnerCircle.into())
}

/// Everything can be put under an active owner only.
pub(crate) async fn active_owner(
    connection: &mut AnyConnection,
    id: &OwnerId,
) -> Result<Owner, StoreError> {
    let owner = owner_by_id(connection, id).await?;
    if owner.state == LifeCycle::Active { Ok(owner) } else { Err(Refusal::OwnerInactive.into()) }
}

pub(crate) async fn owner_by_id(
    connection: &mut AnyConnection,
    id: &OwnerId,
) -> Result<Owner, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, email, state, created_s, stop_ended_s, bound_to, successor
         FROM owners WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::OwnerUnknown)?.read()?)
}

pub(crate) async fn all_owners(connection: &mut AnyConnection) -> Result<Vec<Owner>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, email, state, created_s, stop_ended_s, bound_to, successor
         FROM owners ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    name: String,
    email: Option<String>,
    state: String,
    created_s: i64,
    stop_ended_s: Option<i64>,
    bound_to: Option<String>,
    successor: Option<String>,
}

impl Row {
    fn read(self) -> Result<Owner, Failure> {
        Ok(Owner {
            id: COLUMNS.parse(&self.id)?,
            name: COLUMNS.parse(&self.name)?,
            email: self.email,
            state: COLUMNS.state(&self.state)?,
            created_s: COLUMNS.count(self.created_s)?,
            stop_ended_s: COLUMNS.maybe_count(self.stop_ended_s)?,
            bound_to: COLUMNS.maybe_json(self.bound_to.as_deref())?,
            successor: COLUMNS.maybe_parse(self.successor.as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn a_name_is_given_once() {
        let world = World::new().await;
        let twin = NewOwner { id: OwnerId::from_random(&id(99)), ..world.owner.clone() };
        let refused = world.store.create_owner(&act(1), &twin).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::NameTaken)));
        let other = NewOwner { name: name("bob"), ..twin };
        let created = world.store.create_owner(&act(1), &other).await.unwrap();
        assert_eq!(created.record.state, LifeCycle::Active);
        assert_eq!(world.store.owners().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_owner_is_a_person_and_has_a_successor() {
        let world = World::new().await;
        let store = &world.store;
        let id_of = |seed| OwnerId::from_random(&id(seed));
        for (seed, text) in [(70, "bob"), (71, "carla")] {
            let new = NewOwner { id: id_of(seed), name: name(text), email: None };
            store.create_owner(&act(1), &new).await.unwrap();
        }
        let ann = &world.owner.id;
        let nobody = PersonOrGroup::Person { person: world.person() };
        let refused = store.set_owner(&act(2), ann, (Some(&nobody), None)).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonUnknown))));
        let person = world.active_person().await;
        let to = PersonOrGroup::Person { person: person.clone() };
        let set =
            store.set_owner(&act(5), ann, (Some(&to), Some(&id_of(70)))).await.unwrap().record;
        assert_eq!((set.bound_to.as_ref(), set.successor.as_ref()), (Some(&to), Some(&id_of(70))));
        assert_eq!(set.stop_ended_s, Some(5));
        assert!(store.owners().await.unwrap().contains(&set));
        store.set_owner(&act(6), &id_of(70), (None, Some(&id_of(71)))).await.unwrap();
        for circle in [ann, &id_of(71)] {
            let refused = store.set_owner(&act(7), &id_of(71), (None, Some(circle))).await;
            assert!(matches!(refused, Err(StoreError::Refused(Refusal::OwnerCircle))));
        }
        store.set_person_state(&act(8), &person, LifeCycle::Suspended).await.unwrap();
        let refused = store.set_owner(&act(9), &id_of(71), (Some(&to), None)).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PersonInactive))));
    }

    #[tokio::test]
    async fn states_follow_the_life_cycle() {
        let world = World::new().await;
        let id = &world.owner.id;
        let store = &world.store;
        store.set_owner_state(&act(1), id, LifeCycle::Retired).await.unwrap();
        let refused = store.set_owner_state(&act(2), id, LifeCycle::Active).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::Transition(_))));
    }
}
