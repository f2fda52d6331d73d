//! Owners: who answers for agents and MCP servers.

use attorn_registry::{LifeCycle, Name, Owner, OwnerId};
use sqlx::SqliteConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("owners");

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
        let record = Owner { state, stop_ended_s, ..owner };
        change.finish(ChangeKind::OwnerState, id.as_str(), record).await
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

/// Everything can be put under an active owner only.
pub(crate) async fn active_owner(
    connection: &mut SqliteConnection,
    id: &OwnerId,
) -> Result<Owner, StoreError> {
    let owner = owner_by_id(connection, id).await?;
    if owner.state == LifeCycle::Active { Ok(owner) } else { Err(Refusal::OwnerInactive.into()) }
}

pub(crate) async fn owner_by_id(
    connection: &mut SqliteConnection,
    id: &OwnerId,
) -> Result<Owner, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, email, state, created_s, stop_ended_s FROM owners WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::OwnerUnknown)?.read()?)
}

pub(crate) async fn all_owners(connection: &mut SqliteConnection) -> Result<Vec<Owner>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, email, state, created_s, stop_ended_s FROM owners ORDER BY name",
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
    async fn states_follow_the_life_cycle() {
        let world = World::new().await;
        let id = &world.owner.id;
        let store = &world.store;
        store.set_owner_state(&act(1), id, LifeCycle::Retired).await.unwrap();
        let refused = store.set_owner_state(&act(2), id, LifeCycle::Active).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::Transition(_))));
    }
}
