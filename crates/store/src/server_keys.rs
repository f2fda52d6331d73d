//! The public keys of MCP servers. Their private parts are with the gateways that front them, or with
//! the servers.

use attorn_registry::{
    Jkt, KeyHolder, KeyState, LifeCycle, McpServer, ServerId, ServerKey, TransitionRefused,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("server_keys");

impl Store {
    /// Gives a server a new key. An earlier one of the same holder is retired: what it signed still
    /// names the server.
    ///
    /// # Errors
    /// No such server, it is retired, or the key is registered already.
    pub async fn add_server_key(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        (jkt, jwk): (Jkt, &str),
        holder: KeyHolder,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        if server.state == LifeCycle::Retired {
            let refused = TransitionRefused { from: server.state, to: LifeCycle::Active };
            return Err(Refusal::Transition(refused).into());
        }
        retire_active(change.connection(), id, &[holder]).await?;
        sqlx::query(
            "INSERT INTO server_keys (jkt, server, jwk, state, holder, created_s)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(jkt.to_string())
        .bind(id.as_str())
        .bind(jwk)
        .bind(KeyState::Active.as_str())
        .bind(holder.as_str())
        .bind(COLUMNS.number(act.now_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::KeyTaken))?;
        let record = server_by_id(change.connection(), id).await?;
        change.finish(ChangeKind::ServerKeys, id.as_str(), record).await
    }

    /// Ends the active keys of a server, when the server itself has ended.
    ///
    /// # Errors
    /// No such server.
    pub async fn retire_server_keys(
        &self,
        act: &Act<'_>,
        id: &ServerId,
    ) -> Result<Changed<McpServer>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        retire_active(change.connection(), id, &KeyHolder::ALL).await?;
        let record = server_by_id(change.connection(), id).await?;
        change.finish(ChangeKind::ServerKeys, id.as_str(), record).await
    }
}

async fn retire_active(
    connection: &mut AnyConnection,
    id: &ServerId,
    holders: &[KeyHolder],
) -> Result<(), Failure> {
    for holder in holders {
        sqlx::query(
            "UPDATE server_keys SET state = $1 WHERE server = $2 AND state = $3 AND holder = $4",
        )
        .bind(KeyState::Retired.as_str())
        .bind(id.as_str())
        .bind(KeyState::Active.as_str())
        .bind(holder.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(crate) async fn keys_of(
    connection: &mut AnyConnection,
    id: &ServerId,
) -> Result<Vec<ServerKey>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT server, jkt, jwk, state, holder FROM server_keys WHERE server = $1
         ORDER BY created_s, jkt",
    )
    .bind(id.as_str())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| row.read().map(|(_, key)| key)).collect()
}

pub(crate) async fn all_keys(
    connection: &mut AnyConnection,
) -> Result<Vec<(ServerId, ServerKey)>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT server, jkt, jwk, state, holder FROM server_keys
         ORDER BY server, created_s, jkt",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    server: String,
    jkt: String,
    jwk: String,
    state: String,
    holder: String,
}

impl Row {
    fn read(self) -> Result<(ServerId, ServerKey), Failure> {
        let key = ServerKey {
            jkt: COLUMNS.parse(&self.jkt)?,
            jwk: self.jwk,
            state: COLUMNS.key_state(&self.state)?,
            holder: COLUMNS.key_holder(&self.holder)?,
        };
        Ok((COLUMNS.parse(&self.server)?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewServer;
    use crate::fixtures::{World, act, id, key, name};

    #[tokio::test]
    async fn a_new_key_retires_the_one_before() {
        let world = World::new().await;
        let (store, server) = (&world.store, &world.server);
        store.add_server_key(&act(1), server, (key(1), "{}"), KeyHolder::Gateway).await.unwrap();
        let record = store
            .add_server_key(&act(2), server, (key(2), "{}"), KeyHolder::Gateway)
            .await
            .unwrap()
            .record;
        let states: Vec<_> = record.keys.iter().map(|key| (key.jkt, key.state)).collect();
        assert_eq!(states, [(key(1), KeyState::Retired), (key(2), KeyState::Active)]);
        assert_eq!(record.active_key().unwrap().jkt, key(2));
        let snapshot = store.load_snapshot(3000).await.unwrap();
        assert_eq!(snapshot.server(server).unwrap().keys, record.keys);
        let back = store.add_server_key(&act(3), server, (key(1), "{}"), KeyHolder::Gateway).await;
        assert!(matches!(back, Err(StoreError::Refused(Refusal::KeyTaken))));
    }

    #[tokio::test]
    async fn each_holder_has_a_key_of_their_own() {
        let world = World::new().await;
        let (store, server) = (&world.store, &world.server);
        for (second, holder) in [(1, KeyHolder::Gateway), (2, KeyHolder::Server)] {
            let made = (key(second), "{}");
            store.add_server_key(&act(u64::from(second)), server, made, holder).await.unwrap();
        }
        let new = store.add_server_key(&act(3), server, (key(3), "{}"), KeyHolder::Server).await;
        let record = new.unwrap().record;
        assert_eq!(record.active_key().unwrap().jkt, key(1));
        let accepted: Vec<_> = record.accepted_keys().map(|key| key.jkt).collect();
        assert_eq!(accepted, [key(1), key(3)]);
        let ended = store.retire_server_keys(&act(4), server).await.unwrap().record;
        assert_eq!(ended.accepted_keys().count(), 0);
    }

    #[tokio::test]
    async fn a_key_stands_for_one_server() {
        let world = World::new().await;
        let other = ServerId::from_random(&id(60));
        let new = NewServer { id: other.clone(), name: name("other"), ..world.new_server() };
        world.store.register_server(&act(1), &new).await.unwrap();
        world
            .store
            .add_server_key(&act(1), &world.server, (key(1), "{}"), KeyHolder::Gateway)
            .await
            .unwrap();
        let taken =
            world.store.add_server_key(&act(1), &other, (key(1), "{}"), KeyHolder::Gateway).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::KeyTaken))));
    }

    #[tokio::test]
    async fn a_server_s_key_ends_with_it() {
        let world = World::new().await;
        let (store, server) = (&world.store, &world.server);
        store.add_server_key(&act(1), server, (key(1), "{}"), KeyHolder::Gateway).await.unwrap();
        store.set_server_state(&act(2), server, LifeCycle::Retired).await.unwrap();
        let record = store.retire_server_keys(&act(3), server).await.unwrap().record;
        assert_eq!(record.active_key(), None);
        let late = store.add_server_key(&act(4), server, (key(2), "{}"), KeyHolder::Gateway).await;
        assert!(matches!(late, Err(StoreError::Refused(Refusal::Transition(_)))));
    }
}
