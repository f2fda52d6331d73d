//! When agents end, and when they were used last.

use std::collections::HashMap;

use attorn_registry::{Agent, AgentId, LifeCycle};

use crate::Store;
use crate::agents::{agent_by_id, write_stop_end};
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, StoreError};

const COLUMNS: Columns = Columns("agents");

impl Store {
    /// Gives an agent another end, or none.
    ///
    /// # Errors
    /// No such agent.
    pub async fn set_agent_expiry(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        expires_s: Option<u64>,
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let agent = agent_by_id(change.connection(), id).await?;
        sqlx::query("UPDATE agents SET expires_s = $1 WHERE id = $2")
            .bind(COLUMNS.maybe_number(expires_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        // Past its end it was stopped: tokens from before do not count again.
        let ends = agent.has_ended(act.now_s).then_some(act.now_s);
        let stop_ended_s = ends.or(agent.stop_ended_s);
        write_stop_end(change.connection(), id, stop_ended_s).await?;
        let record = Agent { expires_s, stop_ended_s, ..agent };
        change.finish(ChangeKind::AgentExpiry, id.as_str(), record).await
    }

    /// Notes that agents were used. It is no change of the registry: nothing is decided by it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn note_agent_uses(&self, uses: &[(AgentId, u64)]) -> Result<(), Failure> {
        let mut transaction = self.begin_write().await?;
        for (id, used_s) in uses {
            sqlx::query("UPDATE agents SET last_used_s = $1 WHERE id = $2")
                .bind(COLUMNS.number(*used_s)?)
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// When agents were used last, as far as it was noted.
    ///
    /// # Errors
    /// The database fails.
    pub async fn last_agent_uses(&self) -> Result<HashMap<AgentId, u64>, Failure> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT id, last_used_s FROM agents WHERE last_used_s IS NOT NULL")
                .fetch_all(&self.pool)
                .await?;
        let read = |(id, used_s): (String, i64)| Ok((COLUMNS.parse(&id)?, COLUMNS.count(used_s)?));
        rows.into_iter().map(read).collect()
    }

    /// The active agents that were neither registered, resumed nor used after a second. Gateways
    /// and operators are not among them: they have other ways to be missed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn agents_unused_since(&self, since_s: u64) -> Result<Vec<AgentId>, Failure> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM agents WHERE kind = $1 AND state = $2 AND created_s <= $3
             AND (last_used_s IS NULL OR last_used_s <= $3)
             AND (stop_ended_s IS NULL OR stop_ended_s <= $3) ORDER BY name",
        )
        .bind(attorn_registry::AgentKind::Agent.as_str())
        .bind(LifeCycle::Active.as_str())
        .bind(COLUMNS.number(since_s)?)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|(id,)| COLUMNS.parse(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act};

    #[tokio::test]
    async fn an_end_is_set_and_taken_away() {
        let world = World::new().await;
        let (store, agent) = (&world.store, &world.agent);
        let ending = store.set_agent_expiry(&act(1), agent, Some(9)).await.unwrap().record;
        assert_eq!(ending.expires_s, Some(9));
        assert_eq!(store.agent(agent).await.unwrap(), ending);
        store.set_agent_expiry(&act(2), agent, None).await.unwrap();
        assert_eq!(store.agent(agent).await.unwrap().expires_s, None);
    }

    #[tokio::test]
    async fn who_was_not_used_is_found() {
        let world = World::new().await;
        let (store, agent) = (&world.store, &world.agent);
        let version = store.version().await.unwrap();
        let unused = async |since_s| store.agents_unused_since(since_s).await.unwrap();
        // Pending ones wait for a key, and their codes end soon.
        assert!(unused(1000).await.is_empty());
        store.set_agent_state(&act(10), agent, LifeCycle::Active).await.unwrap();
        let created_s = store.agent(agent).await.unwrap().created_s;
        assert_eq!(unused(created_s).await, std::slice::from_ref(agent));
        store.note_agent_uses(&[(agent.clone(), 500)]).await.unwrap();
        assert!(unused(499).await.is_empty());
        assert_eq!(unused(500).await, std::slice::from_ref(agent));
        assert_eq!(store.last_agent_uses().await.unwrap()[agent], 500);
        store.set_agent_state(&act(600), agent, LifeCycle::Suspended).await.unwrap();
        assert!(unused(1000).await.is_empty());
        store.set_agent_state(&act(700), agent, LifeCycle::Active).await.unwrap();
        assert!(unused(699).await.is_empty());
        assert_eq!(unused(700).await, std::slice::from_ref(agent));
        // Three changes of state, and no more.
        assert_eq!(store.version().await.unwrap(), version + 3);
    }
}
