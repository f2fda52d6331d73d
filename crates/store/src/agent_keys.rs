//! The keys of agents. A key never moves to another agent and never comes back.

use attorn_registry::{Agent, AgentId, AgentKey, Jkt, KeyRefusal, KeyState, rotate};
use sqlx::AnyConnection;

use crate::Store;
use crate::agents::agent_by_id;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("agent_keys");

impl Store {
    /// Gives an agent a new key. The old ones still count for `overlap_s` seconds.
    ///
    /// # Errors
    /// No such agent, or the key is registered already.
    pub async fn rotate_agent_key(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        (jkt, jwk): (Jkt, &str),
        overlap_s: u64,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let agent = agent_by_id(change.connection(), id).await?;
        let keys = rotated(&agent, jkt, jwk, (act.now_s, overlap_s))?;
        write_keys(change.connection(), id, &keys).await?;
        change.finish(ChangeKind::AgentKeys, id.as_str(), Agent { keys, ..agent }).await
    }

    /// Ends a key at once.
    ///
    /// # Errors
    /// No such agent, or it has no such key.
    pub async fn remove_agent_key(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        jkt: &Jkt,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut agent = agent_by_id(change.connection(), id).await?;
        let key = agent.keys.iter_mut().find(|key| key.jkt == *jkt).ok_or(Refusal::KeyUnknown)?;
        key.state = KeyState::Removed;
        write_keys(change.connection(), id, &agent.keys).await?;
        change.finish(ChangeKind::AgentKeys, id.as_str(), agent).await
    }
}

/// The keys after a rotation at `now_s`.
pub(crate) fn rotated(
    agent: &Agent,
    jkt: Jkt,
    jwk: &str,
    (now_s, overlap_s): (u64, u64),
) -> Result<Vec<AgentKey>, Refusal> {
    rotate(&agent.keys, jkt, jwk, now_s, overlap_s).map_err(|KeyRefusal::Known| Refusal::KeyTaken)
}

/// Writes the keys of an agent: known ones change their state, new ones are added.
pub(crate) async fn write_keys(
    connection: &mut AnyConnection,
    id: &AgentId,
    keys: &[AgentKey],
) -> Result<(), StoreError> {
    for key in keys {
        let not_after_s = COLUMNS.maybe_number(key.not_after_s)?;
        let known = sqlx::query(
            "UPDATE agent_keys SET state = $1, not_after_s = $2 WHERE jkt = $3 AND agent = $4",
        )
        .bind(key.state.as_str())
        .bind(not_after_s)
        .bind(key.jkt.to_string())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?;
        if known.rows_affected() > 0 {
            continue;
        }
        sqlx::query(
            "INSERT INTO agent_keys (jkt, agent, jwk, state, not_before_s, not_after_s)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(key.jkt.to_string())
        .bind(id.as_str())
        .bind(&key.jwk)
        .bind(key.state.as_str())
        .bind(COLUMNS.number(key.not_before_s)?)
        .bind(not_after_s)
        .execute(&mut *connection)
        .await
        .map_err(|error| StoreError::unique(error, Refusal::KeyTaken))?;
    }
    Ok(())
}

pub(crate) async fn keys_of(
    connection: &mut AnyConnection,
    id: &AgentId,
) -> Result<Vec<AgentKey>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT agent, jkt, jwk, state, not_before_s, not_after_s FROM agent_keys
         WHERE agent = $1 ORDER BY not_before_s, jkt",
    )
    .bind(id.as_str())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| row.read().map(|(_, key)| key)).collect()
}

pub(crate) async fn all_keys(
    connection: &mut AnyConnection,
) -> Result<Vec<(AgentId, AgentKey)>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT agent, jkt, jwk, state, not_before_s, not_after_s FROM agent_keys
         ORDER BY agent, not_before_s, jkt",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    agent: String,
    jkt: String,
    jwk: String,
    state: String,
    not_before_s: i64,
    not_after_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<(AgentId, AgentKey), Failure> {
        let key = AgentKey {
            jkt: COLUMNS.parse(&self.jkt)?,
            jwk: self.jwk,
            state: COLUMNS.key_state(&self.state)?,
            not_before_s: COLUMNS.count(self.not_before_s)?,
            not_after_s: COLUMNS.maybe_count(self.not_after_s)?,
        };
        Ok((COLUMNS.parse(&self.agent)?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewAgent;
    use crate::fixtures::{World, act, id, key, name};

    #[tokio::test]
    async fn keys_overlap_on_rotation() {
        let world = World::new().await;
        let (store, agent) = (&world.store, &world.agent);
        store.rotate_agent_key(&act(10), agent, (key(1), "{}"), 60).await.unwrap();
        store.rotate_agent_key(&act(20), agent, (key(2), "{}"), 60).await.unwrap();
        let agent = store.agent(agent).await.unwrap();
        assert_eq!(agent.accepted_keys(79).count(), 2);
        assert!(agent.accepted_key(&key(1), 80).is_none());
        assert!(agent.accepted_key(&key(2), 80).is_some());
    }

    #[tokio::test]
    async fn a_removed_key_is_gone_for_good() {
        let world = World::new().await;
        let (store, agent) = (&world.store, &world.agent);
        store.rotate_agent_key(&act(10), agent, (key(1), "{}"), 60).await.unwrap();
        let unknown = store.remove_agent_key(&act(11), agent, &key(2)).await;
        assert!(matches!(unknown, Err(StoreError::Refused(Refusal::KeyUnknown))));
        let removed = store.remove_agent_key(&act(11), agent, &key(1)).await.unwrap().record;
        assert_eq!(removed.accepted_keys(12).count(), 0);
        let back = store.rotate_agent_key(&act(12), agent, (key(1), "{}"), 60).await;
        assert!(matches!(back, Err(StoreError::Refused(Refusal::KeyTaken))));
    }

    #[tokio::test]
    async fn a_key_belongs_to_one_agent() {
        let world = World::new().await;
        let store = &world.store;
        let new =
            NewAgent { id: AgentId::from_random(&id(51)), name: name("b"), ..world.new_agent() };
        let other = store.register_agent(&act(1), &new).await.unwrap().record.id;
        store.rotate_agent_key(&act(10), &world.agent, (key(1), "{}"), 60).await.unwrap();
        let taken = store.rotate_agent_key(&act(10), &other, (key(1), "{}"), 60).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::KeyTaken))));
        assert!(store.rotate_agent_key(&act(10), &other, (key(2), "{}"), 60).await.is_ok());
    }
}
