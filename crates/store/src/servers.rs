//! MCP servers.

use std::collections::{BTreeSet, HashMap};

use attorn_registry::{
    Class, LifeCycle, McpServer, Name, OwnerId, ServerId, ServerKey, Tool, UpstreamSpec,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::{Ends, end_families};
use crate::owners::active_owner;
use crate::server_keys::{all_keys, keys_of};
use crate::tools::{all_tools, tools_of};

const COLUMNS: Columns = Columns("servers");

/// An MCP server to be. Its owner is not optional.
#[derive(Clone, Debug)]
pub struct NewServer {
    /// Stable identifier.
    pub id: ServerId,
    /// Unique among servers.
    pub name: Name,
    /// Who answers for it.
    pub owner: OwnerId,
    /// How to reach it.
    pub upstream: UpstreamSpec,
}

impl Store {
    /// Registers an MCP server. It is active at once, and none of its tools is: each waits for
    /// its approval.
    ///
    /// # Errors
    /// The owner is unknown or not active, the name is taken or reserved, or the upstream cannot
    /// be what it says.
    pub async fn register_server(
        &self,
        act: &Act<'_>,
        server: &NewServer,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = insert_server(&mut change, server, LifeCycle::Active).await?;
        change.finish(ChangeKind::ServerRegistered, server.id.as_str(), record).await
    }

    /// Changes the state of a server.
    ///
    /// # Errors
    /// No such server, or the life cycle does not hold this change.
    pub async fn set_server_state(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        to: LifeCycle,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        let state = server.state.become_state(to).map_err(Refusal::Transition)?;
        let stop_ended_s = server.state.ends_stop(to).then_some(act.now_s).or(server.stop_ended_s);
        sqlx::query("UPDATE servers SET state = $1, stop_ended_s = $2 WHERE id = $3")
            .bind(state.as_str())
            .bind(COLUMNS.maybe_number(stop_ended_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        if state != LifeCycle::Active {
            end_families(change.connection(), Ends::Server(id), act.now_s).await?;
        }
        let record = McpServer { state, stop_ended_s, ..server };
        change.finish(ChangeKind::ServerState, id.as_str(), record).await
    }

    /// Puts a server under another owner. Tokens from before do not count again: what stopped the
    /// old owner stopped them.
    ///
    /// # Errors
    /// No such server, or the owner is unknown or not active.
    pub async fn set_server_owner(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        owner: &OwnerId,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        active_owner(change.connection(), owner).await?;
        sqlx::query("UPDATE servers SET owner = $1, stop_ended_s = $2 WHERE id = $3")
            .bind(owner.as_str())
            .bind(COLUMNS.number(act.now_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let owner = Some(owner.clone());
        let record = McpServer { owner, stop_ended_s: Some(act.now_s), ..server };
        change.finish(ChangeKind::ServerOwner, id.as_str(), record).await
    }

    /// Says for which classes a server takes tokens that are bound to no key; the empty set is none.
    ///
    /// # Errors
    /// No such server, it is the built-in one, or the class is irreversible.
    pub async fn set_server_bearer(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        classes: &BTreeSet<Class>,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        if classes.contains(&Class::Irreversible) {
            return Err(Refusal::BearerIrreversible.into());
        }
        if server.is_builtin() {
            return Err(Refusal::ServerUnknown.into());
        }
        sqlx::query("UPDATE servers SET accept_bearer = $1 WHERE id = $2")
            .bind(COLUMNS.to_json(classes)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = McpServer { accept_bearer: classes.clone(), ..server };
        change.finish(ChangeKind::ServerBearer, id.as_str(), record).await
    }

    /// One server with its tools.
    ///
    /// # Errors
    /// No such server.
    pub async fn server(&self, id: &ServerId) -> Result<McpServer, StoreError> {
        let mut connection = self.pool.acquire().await?;
        server_by_id(&mut connection, id).await
    }

    /// Every server with its tools, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn servers(&self) -> Result<Vec<McpServer>, Failure> {
        let mut connection = self.pool.acquire().await?;
        all_servers(&mut connection).await
    }
}

/// As [`Store::register_server`], as a part of a change.
pub(crate) async fn insert_server(
    change: &mut Change<'_>,
    server: &NewServer,
    state: LifeCycle,
) -> Result<McpServer, StoreError> {
    server.upstream.verify_for(&server.name).map_err(Refusal::Server)?;
    active_owner(change.connection(), &server.owner).await?;
    sqlx::query(
        "INSERT INTO servers (id, name, owner, state, upstream, created_s)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(server.id.as_str())
    .bind(server.name.as_str())
    .bind(server.owner.as_str())
    .bind(state.as_str())
    .bind(COLUMNS.to_json(&server.upstream)?)
    .bind(COLUMNS.number(change.act.now_s)?)
    .execute(change.connection())
    .await
    .map_err(|error| StoreError::unique(error, Refusal::NameTaken))?;
    server_by_id(change.connection(), &server.id).await
}

pub(crate) async fn server_by_id(
    connection: &mut AnyConnection,
    id: &ServerId,
) -> Result<McpServer, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, owner, state, upstream, created_s, stop_ended_s, accept_bearer
         FROM servers
         WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let row = row.ok_or(Refusal::ServerUnknown)?;
    let tools = tools_of(connection, id).await?;
    Ok(row.read(tools, keys_of(connection, id).await?)?)
}

pub(crate) async fn all_servers(connection: &mut AnyConnection) -> Result<Vec<McpServer>, Failure> {
    let mut tools: HashMap<ServerId, Vec<Tool>> = HashMap::new();
    for (server, tool) in all_tools(connection).await? {
        tools.entry(server).or_default().push(tool);
    }
    let mut keys: HashMap<ServerId, Vec<ServerKey>> = HashMap::new();
    for (server, key) in all_keys(connection).await? {
        keys.entry(server).or_default().push(key);
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, owner, state, upstream, created_s, stop_ended_s, accept_bearer
         FROM servers
         ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    let whole = |row: Row| {
        let id = COLUMNS.parse(&row.id)?;
        row.read(tools.remove(&id).unwrap_or_default(), keys.remove(&id).unwrap_or_default())
    };
    rows.into_iter().map(whole).collect()
}

row! {
    id: String,
    name: String,
    owner: Option<String>,
    state: String,
    upstream: String,
    created_s: i64,
    stop_ended_s: Option<i64>,
    accept_bearer: Option<String>,
}

impl Row {
    fn read(self, tools: Vec<Tool>, keys: Vec<ServerKey>) -> Result<McpServer, Failure> {
        Ok(McpServer {
            id: COLUMNS.parse(&self.id)?,
            name: COLUMNS.parse(&self.name)?,
            owner: COLUMNS.maybe_parse(self.owner.as_deref())?,
            state: COLUMNS.state(&self.state)?,
            upstream: COLUMNS.json(&self.upstream)?,
            keys,
            tools: tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect(),
            created_s: COLUMNS.count(self.created_s)?,
            stop_ended_s: COLUMNS.maybe_count(self.stop_ended_s)?,
            accept_bearer: COLUMNS.maybe_json(self.accept_bearer.as_deref())?.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, id, name};

    #[tokio::test]
    async fn tokens_without_a_proof_are_taken_only_where_it_is_said() {
        let world = World::new().await;
        let store = &world.store;
        assert!(store.server(&world.server).await.unwrap().accept_bearer.is_empty());
        let read = BTreeSet::from([Class::Read]);
        let set = store.set_server_bearer(&act(2), &world.server, &read).await.unwrap().record;
        assert_eq!(set.accept_bearer, read);
        assert_eq!(store.server(&world.server).await.unwrap(), set);
        let all = BTreeSet::from([Class::Read, Class::Irreversible]);
        let refused = store.set_server_bearer(&act(3), &world.server, &all).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::BearerIrreversible))));
        let none = store.set_server_bearer(&act(4), &world.server, &BTreeSet::new()).await.unwrap();
        assert!(none.record.accept_bearer.is_empty());
    }

    #[tokio::test]
    async fn a_server_is_registered_with_its_upstream() {
        let world = World::new().await;
        let upstream = UpstreamSpec::Stdio {
            command: "npx".into(),
            args: vec!["-y".into(), "$(id)".into()],
            env: [("A".to_owned(), "${B}".to_owned())].into(),
            sha256: None,
        };
        let new = NewServer {
            id: ServerId::from_random(&id(60)),
            name: name("erp"),
            upstream,
            ..world.new_server()
        };
        let record = world.store.register_server(&act(1), &new).await.unwrap().record;
        assert_eq!((record.state, &record.upstream), (LifeCycle::Active, &new.upstream));
        assert_eq!(world.store.server(&new.id).await.unwrap(), record);
        assert_eq!(world.store.servers().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn names_are_unique_and_not_reserved() {
        let world = World::new().await;
        let twin = NewServer { id: ServerId::from_random(&id(61)), ..world.new_server() };
        let refused = world.store.register_server(&act(1), &twin).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::NameTaken)));
        let reserved = NewServer { name: name("admin"), ..twin.clone() };
        let refused = world.store.register_server(&act(1), &reserved).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::Server(_))));
        let builtin = NewServer { upstream: UpstreamSpec::Builtin, ..reserved };
        assert!(world.store.register_server(&act(1), &builtin).await.is_ok());
    }

    #[tokio::test]
    async fn an_owner_is_needed() {
        let world = World::new().await;
        let stranger = OwnerId::from_random(&id(77));
        let new = NewServer { owner: stranger.clone(), name: name("erp"), ..world.new_server() };
        let refused = world.store.register_server(&act(1), &new).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::OwnerUnknown)));
        let refused = world.store.set_server_owner(&act(1), &world.server, &stranger).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::OwnerUnknown))));
    }

    #[tokio::test]
    async fn states_follow_the_life_cycle() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        store.set_server_state(&act(1), id, LifeCycle::Suspended).await.unwrap();
        store.set_server_state(&act(2), id, LifeCycle::Active).await.unwrap();
        let refused = store.set_server_state(&act(3), id, LifeCycle::Pending).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::Transition(_)))));
    }
}
