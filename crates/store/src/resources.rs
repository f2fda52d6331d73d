//! Downstream resources: APIs with their operations and the rules of who gets tokens for them.

use attorn_registry::{
    Downstream, LifeCycle, Name, OwnerId, Resource, ResourceId, ResourceKey, ResourceOperation,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::owners::active_owner;
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("resources");

/// An API to be. Its owner is not optional; it has no operations yet, so nothing can be asked of it.
#[derive(Clone, Debug)]
pub struct NewResource {
    /// Stable identifier.
    pub id: ResourceId,
    /// Unique among resources.
    pub name: Name,
    /// Its resource identifier, unique too. Whoever gives it has checked its form.
    pub url: String,
    /// Who answers for it.
    pub owner: OwnerId,
}

impl Store {
    /// Registers an API.
    ///
    /// # Errors
    /// The owner is unknown or not active, or the name or the URL is taken.
    pub async fn register_resource(
        &self,
        act: &Act<'_>,
        new: &NewResource,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        active_owner(change.connection(), &new.owner).await?;
        sqlx::query(
            "INSERT INTO resources (id, name, url, owner, state, operations, downstreams, created_s)
             VALUES ($1, $2, $3, $4, $5, '[]', '[]', $6)",
        )
        .bind(new.id.as_str())
        .bind(new.name.as_str())
        .bind(&new.url)
        .bind(new.owner.as_str())
        .bind(LifeCycle::Active.as_str())
        .bind(COLUMNS.number(act.now_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
        let record = resource_by_id(change.connection(), &new.id).await?;
        change.finish(ChangeKind::ResourceRegistered, new.id.as_str(), record).await
    }

    /// Changes the state of an API.
    ///
    /// # Errors
    /// No such resource, or the life cycle does not hold this change.
    pub async fn set_resource_state(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        to: LifeCycle,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let resource = resource_by_id(change.connection(), id).await?;
        let state = resource.state.become_state(to).map_err(Refusal::Transition)?;
        sqlx::query("UPDATE resources SET state = $1 WHERE id = $2")
            .bind(state.as_str())
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        change.finish(ChangeKind::ResourceState, id.as_str(), Resource { state, ..resource }).await
    }

    /// Gives an API the key it asks about tokens with; an earlier one ends.
    ///
    /// # Errors
    /// No such resource.
    pub async fn set_resource_key(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        key: ResourceKey,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let resource = resource_by_id(change.connection(), id).await?;
        sqlx::query("UPDATE resources SET public_key = $1 WHERE id = $2")
            .bind(COLUMNS.to_json(&key)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = Resource { key: Some(key), ..resource };
        change.finish(ChangeKind::ResourceKey, id.as_str(), record).await
    }

    /// Adds an operation to an API.
    ///
    /// # Errors
    /// No such resource, or the operation cannot be told from another one.
    pub async fn add_operation(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        operation: ResourceOperation,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut resource = resource_by_id(change.connection(), id).await?;
        resource.verify_operation(&operation).map_err(Refusal::Resource)?;
        resource.operations.push(operation);
        save(&mut change, &resource).await?;
        change.finish(ChangeKind::ResourceOperations, id.as_str(), resource).await
    }

    /// Takes an operation from an API. What is not listed is refused.
    ///
    /// # Errors
    /// No such resource or operation.
    pub async fn remove_operation(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        operation: &str,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut resource = resource_by_id(change.connection(), id).await?;
        let before = resource.operations.len();
        resource.operations.retain(|one| one.id.as_str() != operation);
        if resource.operations.len() == before {
            return Err(Refusal::OperationUnknown.into());
        }
        save(&mut change, &resource).await?;
        change.finish(ChangeKind::ResourceOperations, id.as_str(), resource).await
    }

    /// Lets a server get tokens for an API. The same rule again changes nothing.
    ///
    /// # Errors
    /// No such resource or server, or too many rules.
    pub async fn allow_downstream(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        rule: Downstream,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut resource = resource_by_id(change.connection(), id).await?;
        server_by_id(change.connection(), &rule.server).await?;
        if !resource.downstreams.contains(&rule) {
            resource.verify_downstream().map_err(Refusal::Resource)?;
            resource.downstreams.push(rule);
        }
        save(&mut change, &resource).await?;
        change.finish(ChangeKind::ResourceDownstreams, id.as_str(), resource).await
    }

    /// Takes a rule back.
    ///
    /// # Errors
    /// No such resource or rule.
    pub async fn deny_downstream(
        &self,
        act: &Act<'_>,
        id: &ResourceId,
        rule: &Downstream,
    ) -> Result<Changed<Resource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut resource = resource_by_id(change.connection(), id).await?;
        let before = resource.downstreams.len();
        resource.downstreams.retain(|one| one != rule);
        if resource.downstreams.len() == before {
            return Err(Refusal::DownstreamUnknown.into());
        }
        save(&mut change, &resource).await?;
        change.finish(ChangeKind::ResourceDownstreams, id.as_str(), resource).await
    }
}

/// Puts operations in the place of those that `before` names.
pub(crate) async fn write_operations(
    change: &mut Change<'_>,
    id: &ResourceId,
    (before, after): (&[ResourceOperation], &[ResourceOperation]),
) -> Result<Resource, StoreError> {
    let resource = resource_by_id(change.connection(), id).await?;
    if resource.operations != before {
        return Err(Refusal::OperationsChanged.into());
    }
    let resource = Resource { operations: after.to_vec(), ..resource };
    save(change, &resource).await?;
    Ok(resource)
}

async fn save(change: &mut Change<'_>, resource: &Resource) -> Result<(), Failure> {
    sqlx::query("UPDATE resources SET operations = $1, downstreams = $2 WHERE id = $3")
        .bind(COLUMNS.to_json(&resource.operations)?)
        .bind(COLUMNS.to_json(&resource.downstreams)?)
        .bind(resource.id.as_str())
        .execute(change.connection())
        .await?;
    Ok(())
}

pub(crate) async fn resource_by_id(
    connection: &mut AnyConnection,
    id: &ResourceId,
) -> Result<Resource, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, url, owner, state, public_key, operations, downstreams, created_s
         FROM resources WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::ResourceUnknown)?.read()?)
}

pub(crate) async fn all_resources(
    connection: &mut AnyConnection,
) -> Result<Vec<Resource>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, url, owner, state, public_key, operations, downstreams, created_s
         FROM resources ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    id: String,
    name: String,
    url: String,
    owner: Option<String>,
    state: String,
    public_key: Option<String>,
    operations: String,
    downstreams: String,
    created_s: i64,
}

impl Row {
    fn read(self) -> Result<Resource, Failure> {
        Ok(Resource {
            id: COLUMNS.parse(&self.id)?,
            name: COLUMNS.parse(&self.name)?,
            url: self.url,
            owner: COLUMNS.maybe_parse(self.owner.as_deref())?,
            state: COLUMNS.state(&self.state)?,
            key: COLUMNS.maybe_json(self.public_key.as_deref())?,
            operations: COLUMNS.json(&self.operations)?,
            downstreams: COLUMNS.json(&self.downstreams)?,
            created_s: COLUMNS.count(self.created_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{Class, HttpMethod, OperationId, PathTemplate, ServerId};

    use super::*;
    use crate::fixtures::{World, act, id, key, name};

    fn operation(path: &str) -> ResourceOperation {
        ResourceOperation {
            id: OperationId::parse("invoice.get").unwrap(),
            class: Class::Read,
            method: HttpMethod::Get,
            path: PathTemplate::parse(path).unwrap(),
        }
    }

    fn rule(server: &ServerId) -> Downstream {
        let server = server.clone();
        Downstream { server, from: "read:*".parse().unwrap(), to: "read:*".parse().unwrap() }
    }

    async fn world() -> (World, NewResource) {
        let world = World::new().await;
        let new = world.new_resource();
        world.store.register_resource(&act(1), &new).await.unwrap();
        (world, new)
    }

    #[tokio::test]
    async fn a_resource_is_registered_and_holds_nothing() {
        let (world, new) = world().await;
        let snapshot = world.store.load_snapshot(1000).await.unwrap();
        let record = snapshot.resource_at(&new.url).unwrap();
        assert_eq!((record.state, &record.id), (LifeCycle::Active, &new.id));
        assert!(record.operations.is_empty() && record.downstreams.is_empty());
        assert_eq!(snapshot.resource_named("billing").unwrap(), record);
    }

    #[tokio::test]
    async fn names_and_addresses_are_unique() {
        let (world, new) = world().await;
        let other = NewResource { id: ResourceId::from_random(&id(61)), ..new.clone() };
        for twin in [
            NewResource { name: name("other"), ..other.clone() },
            NewResource { url: "https://other.example/".into(), ..other },
        ] {
            let refused = world.store.register_resource(&act(2), &twin).await.unwrap_err();
            assert!(matches!(refused, StoreError::Refused(Refusal::NameTaken)));
        }
    }

    #[tokio::test]
    async fn a_new_key_takes_the_place_of_the_old_one() {
        let (world, new) = world().await;
        for seed in [1, 2] {
            let made = ResourceKey { jkt: key(seed), jwk: "{}".into() };
            world.store.set_resource_key(&act(2), &new.id, made.clone()).await.unwrap();
            let snapshot = world.store.load_snapshot(3000).await.unwrap();
            assert_eq!(snapshot.resource(&new.id).unwrap().key, Some(made));
        }
    }

    #[tokio::test]
    async fn operations_come_and_go() {
        let (world, new) = world().await;
        let store = &world.store;
        let record = store.add_operation(&act(2), &new.id, operation("/a")).await.unwrap().record;
        assert_eq!(record.operations, [operation("/a")]);
        let twin = store.add_operation(&act(3), &new.id, operation("/b")).await;
        assert!(matches!(twin, Err(StoreError::Refused(Refusal::Resource(_)))));
        let gone = store.remove_operation(&act(4), &new.id, "invoice.get").await.unwrap().record;
        assert!(gone.operations.is_empty());
        let again = store.remove_operation(&act(5), &new.id, "invoice.get").await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::OperationUnknown))));
    }

    #[tokio::test]
    async fn rules_come_and_go() {
        let (world, new) = world().await;
        let (store, rule) = (&world.store, rule(&world.server));
        for second in [2, 3] {
            let act = act(second);
            let record = store.allow_downstream(&act, &new.id, rule.clone()).await.unwrap().record;
            assert_eq!(record.downstreams, std::slice::from_ref(&rule));
        }
        assert!(store.deny_downstream(&act(4), &new.id, &rule).await.is_ok());
        let again = store.deny_downstream(&act(5), &new.id, &rule).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::DownstreamUnknown))));
        let stranger = self::rule(&ServerId::from_random(&id(77)));
        let refused = store.allow_downstream(&act(6), &new.id, stranger).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::ServerUnknown))));
    }

    #[tokio::test]
    async fn states_follow_the_life_cycle() {
        let (world, new) = world().await;
        let store = &world.store;
        store.set_resource_state(&act(2), &new.id, LifeCycle::Retired).await.unwrap();
        let back = store.set_resource_state(&act(3), &new.id, LifeCycle::Active).await;
        assert!(matches!(back, Err(StoreError::Refused(Refusal::Transition(_)))));
    }
}
