//! Enrolment codes: how an agent's key gets in. Kept as SHA-256, used once, for ten minutes.

use attorn_registry::{Agent, AgentId, AgentKind, Jkt, LifeCycle, TransitionRefused};

use crate::Store;
use crate::agent_keys::{rotated, write_keys};
use crate::agents::{agent_by_id, write_state};
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Refusal, StoreError};
use crate::leases::expect_key;
use crate::owners::active_owner;

const COLUMNS: Columns = Columns("enrolments");

/// How long a code can be used, in seconds.
pub const ENROLMENT_LIFETIME_S: u64 = 600;
/// How long the old keys still count when an agent enrols again, in seconds: the longest life of a
/// token, so that no call in flight fails.
const OVERLAP_S: u64 = 300;

impl Store {
    /// Records a new code for an agent. Earlier codes of that agent stop to count.
    ///
    /// # Errors
    /// No such agent, it is suspended or retired, or its owner is not active.
    pub async fn create_enrolment(
        &self,
        act: &Act<'_>,
        id: &AgentId,
        code_hash: [u8; 32],
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let agent = enrollable(&mut change, id).await?;
        let now_s = COLUMNS.number(act.now_s)?;
        sqlx::query("DELETE FROM enrolments WHERE agent = $1 AND redeemed_s IS NULL")
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        sqlx::query(
            "INSERT INTO enrolments (code_hash, agent, created_s, expires_s)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(attorn_jose::base64url(&code_hash))
        .bind(id.as_str())
        .bind(now_s)
        .bind(COLUMNS.number(act.now_s.saturating_add(ENROLMENT_LIFETIME_S))?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        change.finish(ChangeKind::EnrolmentCreated, id.as_str(), agent).await
    }

    /// The agent a code is for, without using it. A proof is verified between this and
    /// [`Store::redeem_enrolment`], so that a wrong proof does not use up the code.
    ///
    /// # Errors
    /// The code is unknown, used or expired.
    pub async fn enrolment(&self, code_hash: &[u8; 32], now_s: u64) -> Result<AgentId, StoreError> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT agent FROM enrolments
             WHERE code_hash = $1 AND redeemed_s IS NULL AND expires_s > $2",
        )
        .bind(attorn_jose::base64url(code_hash))
        .bind(COLUMNS.number(now_s)?)
        .fetch_optional(&self.pool)
        .await?;
        let (agent,) = row.ok_or(Refusal::CodeInvalid)?;
        Ok(COLUMNS.parse(&agent)?)
    }

    /// Uses a code: the key becomes the agent's, and a pending agent becomes active. `act.by` is
    /// whoever presents the code.
    ///
    /// # Errors
    /// The code is unknown, used or expired, the key is taken, or the agent may not enrol.
    pub async fn redeem_enrolment(
        &self,
        act: &Act<'_>,
        code_hash: &[u8; 32],
        (jkt, jwk): (Jkt, &str),
    ) -> Result<Changed<Agent>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let now_s = COLUMNS.number(act.now_s)?;
        // One statement judges and uses the code, so two cannot both win.
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE enrolments SET redeemed_s = $1
             WHERE code_hash = $2 AND redeemed_s IS NULL AND expires_s > $3 RETURNING agent",
        )
        .bind(now_s)
        .bind(attorn_jose::base64url(code_hash))
        .bind(now_s)
        .fetch_optional(change.connection())
        .await?;
        let (id,) = row.ok_or(Refusal::CodeInvalid)?;
        let id: AgentId = COLUMNS.parse(&id)?;
        let agent = enrollable(&mut change, &id).await?;
        let keys = rotated(&agent, jkt, jwk, (act.now_s, OVERLAP_S))?;
        write_keys(change.connection(), &id, &keys).await?;
        // One that is known by a certificate asks by no key.
        if agent.kind == AgentKind::Gateway && agent.authentication.needs_enrolment() {
            expect_key(change.connection(), &id, jkt).await?;
        }
        let state = LifeCycle::Active;
        write_state(change.connection(), &id, state).await?;
        let record = Agent { keys, state, ..agent };
        change.finish(ChangeKind::EnrolmentRedeemed, id.as_str(), record).await
    }
}

/// The agent, if it may get a key: pending for the first time, active for another one.
async fn enrollable(change: &mut Change<'_>, id: &AgentId) -> Result<Agent, StoreError> {
    let agent = agent_by_id(change.connection(), id).await?;
    if agent.kind == AgentKind::Client {
        return Err(Refusal::ClientUnsuited.into());
    }
    let owner = agent.owner.as_ref().ok_or(Refusal::OwnerUnknown)?;
    active_owner(change.connection(), owner).await?;
    match agent.state {
        LifeCycle::Pending | LifeCycle::Active => Ok(agent),
        LifeCycle::Discovered | LifeCycle::Suspended | LifeCycle::Retired => {
            let refused = TransitionRefused { from: agent.state, to: LifeCycle::Active };
            Err(Refusal::Transition(refused).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act, key};

    const CODE: [u8; 32] = [7; 32];

    async fn with_code() -> World {
        let world = World::new().await;
        world.store.create_enrolment(&act(100), &world.agent, CODE).await.unwrap();
        world
    }

    fn invalid(result: &Result<Changed<Agent>, StoreError>) -> bool {
        matches!(result, Err(StoreError::Refused(Refusal::CodeInvalid)))
    }

    #[tokio::test]
    async fn a_code_enrols_once() {
        let world = with_code().await;
        let store = &world.store;
        assert_eq!(store.enrolment(&CODE, 101).await.unwrap(), world.agent);
        let agent = store.redeem_enrolment(&act(101), &CODE, (key(1), "{}")).await.unwrap().record;
        assert_eq!(agent.state, LifeCycle::Active);
        assert!(agent.accepted_key(&key(1), 101).is_some());
        assert!(invalid(&store.redeem_enrolment(&act(102), &CODE, (key(2), "{}")).await));
        assert!(store.enrolment(&CODE, 102).await.is_err());
        assert_eq!(store.agent(&world.agent).await.unwrap().keys.len(), 1);
    }

    #[tokio::test]
    async fn a_code_ends_after_ten_minutes() {
        let world = with_code().await;
        let store = &world.store;
        assert!(store.enrolment(&CODE, 699).await.is_ok());
        assert!(store.enrolment(&CODE, 700).await.is_err());
        assert!(invalid(&store.redeem_enrolment(&act(700), &CODE, (key(1), "{}")).await));
        assert!(store.redeem_enrolment(&act(699), &CODE, (key(1), "{}")).await.is_ok());
    }

    #[tokio::test]
    async fn a_new_code_replaces_the_old_one() {
        let world = with_code().await;
        let store = &world.store;
        store.create_enrolment(&act(101), &world.agent, [8; 32]).await.unwrap();
        assert!(invalid(&store.redeem_enrolment(&act(102), &CODE, (key(1), "{}")).await));
        assert!(store.redeem_enrolment(&act(102), &[8; 32], (key(1), "{}")).await.is_ok());
    }

    #[tokio::test]
    async fn a_taken_key_does_not_use_up_the_code() {
        let world = with_code().await;
        let store = &world.store;
        store.rotate_agent_key(&act(100), &world.agent, (key(1), "{}"), 0).await.unwrap();
        let taken = store.redeem_enrolment(&act(101), &CODE, (key(1), "{}")).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::KeyTaken))));
        assert!(store.redeem_enrolment(&act(102), &CODE, (key(2), "{}")).await.is_ok());
    }

    #[tokio::test]
    async fn only_pending_and_active_agents_enrol() {
        let world = with_code().await;
        let store = &world.store;
        store.set_agent_state(&act(101), &world.agent, LifeCycle::Retired).await.unwrap();
        let refused = store.redeem_enrolment(&act(102), &CODE, (key(1), "{}")).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::Transition(_)))));
        let refused = store.create_enrolment(&act(102), &world.agent, [9; 32]).await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::Transition(_)))));
    }

    #[tokio::test]
    async fn of_two_at_once_one_enrols() {
        let folder = std::env::temp_dir().join(format!("attorn-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::for_several(&folder.join("race.db")).await;
        world.store.create_enrolment(&act(100), &world.agent, CODE).await.unwrap();
        let (one, two) = (act(101), act(101));
        let (one, two) = tokio::join!(
            world.store.redeem_enrolment(&one, &CODE, (key(1), "{}")),
            world.store.redeem_enrolment(&two, &CODE, (key(2), "{}")),
        );
        assert_eq!([&one, &two].into_iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!([&one, &two].into_iter().filter(|result| invalid(result)).count(), 1);
        world.store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
