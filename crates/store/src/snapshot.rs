//! One consistent picture of everything a decision reads.

use attorn_registry::{Snapshot, SnapshotParts};

use crate::Store;
use crate::agents::all_agents;
use crate::approvals::mattering_approvals;
use crate::column::Columns;
use crate::consents::counting_consents;
use crate::erasures::all_erasures;
use crate::failure::Failure;
use crate::grants::counting_grants;
use crate::issuer_keys::all_issuer_keys;
use crate::locks::mattering_locks;
use crate::owners::all_owners;
use crate::person_grants::counting_person_grants;
use crate::persons::all_persons;
use crate::policies::policy_in_force;
use crate::resources::all_resources;
use crate::revocations::revoked_tokens;
use crate::servers::all_servers;

const COLUMNS: Columns = Columns("registry");

impl Store {
    /// Loads a snapshot. What has ended at `now_ms` is left out; what ends later carries its end.
    ///
    /// # Errors
    /// The database fails, or one record cannot be read: half a registry is never published.
    pub async fn load_snapshot(&self, now_ms: u64) -> Result<Snapshot, Failure> {
        let now_s = now_ms / 1000;
        let mut transaction = self.begin_read().await?;
        // Read first: were another database to let later rows in, the version would be too low,
        // and the next poll would load again.
        let (version, epoch): (i64, i64) =
            sqlx::query_as("SELECT version, epoch FROM registry WHERE id = 1")
                .fetch_one(&mut *transaction)
                .await?;
        let parts = SnapshotParts {
            version: COLUMNS.count(version)?,
            made_ms: now_ms,
            epoch: COLUMNS.count(epoch)?,
            owners: all_owners(&mut transaction).await?,
            agents: all_agents(&mut transaction).await?,
            servers: all_servers(&mut transaction).await?,
            resources: all_resources(&mut transaction).await?,
            grants: counting_grants(&mut transaction, now_s).await?,
            approvals: mattering_approvals(&mut transaction, now_s).await?,
            persons: all_persons(&mut transaction).await?,
            person_grants: counting_person_grants(&mut transaction, now_s).await?,
            consents: counting_consents(&mut transaction, now_s).await?,
            locks: mattering_locks(&mut transaction, now_s).await?,
            revoked: revoked_tokens(&mut transaction, now_s).await?,
            erasures: all_erasures(&mut transaction).await?,
            policy: policy_in_force(&mut transaction).await?,
            issuer_keys: all_issuer_keys(&mut transaction).await?,
        };
        transaction.rollback().await?;
        Ok(Snapshot::new(parts))
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::{Class, Grant, LifeCycle};

    use crate::fixtures::{World, act, key};
    use crate::{Confirmed, SeenTool, Store};

    async fn enrolled() -> World {
        let world = World::new().await;
        let store = &world.store;
        store.create_enrolment(&act(1), &world.agent, [1; 32]).await.unwrap();
        store.redeem_enrolment(&act(2), &[1; 32], (key(1), "{}")).await.unwrap();
        let tool = SeenTool {
            name: "get".into(),
            definition: "{}".into(),
            digest: [1; 32],
            proposed_class: Class::Read,
        };
        store.record_seen_tools(&act(3), &world.server, &[tool]).await.unwrap();
        store
            .approve_tool(&act(4), &world.server, "get", &Confirmed::plain([1; 32], Class::Read))
            .await
            .unwrap();
        let grant = Grant { expires_s: Some(100), ..world.new_grant() };
        store.create_grant(&act(5), &grant).await.unwrap();
        store
            .apply_policy(&act(6), "permit (principal, action, resource);", "start")
            .await
            .unwrap();
        world
    }

    #[tokio::test]
    async fn a_snapshot_holds_everything_in_force() {
        let world = enrolled().await;
        let snapshot = world.store.load_snapshot(50_000).await.unwrap();
        assert_eq!(snapshot.version, world.store.version().await.unwrap());
        assert_eq!((snapshot.made_ms, snapshot.policy.version), (50_000, 1));
        assert!(snapshot.acting_agent(&world.agent, 50).is_ok());
        let holder = attorn_registry::Holder::alone(&world.agent);
        let scopes = snapshot.held_scopes(holder, &world.server, 50).unwrap();
        assert_eq!(scopes.to_string(), "read:@prompts read:@resources read:get");
    }

    #[tokio::test]
    async fn what_has_ended_is_left_out() {
        let world = enrolled().await;
        let snapshot = world.store.load_snapshot(100_000).await.unwrap();
        assert!(snapshot.grants(&world.agent, &world.server).is_empty());
        let retired = LifeCycle::Retired;
        world.store.set_agent_state(&act(101), &world.agent, retired).await.unwrap();
        let snapshot = world.store.load_snapshot(101_000).await.unwrap();
        assert!(snapshot.acting_agent(&world.agent, 101).is_err());
        assert!(snapshot.agent(&world.agent).is_some());
    }

    #[tokio::test]
    async fn one_unreadable_record_spoils_it() {
        let world = enrolled().await;
        sqlx::query("UPDATE agents SET state = 'root'").execute(&world.store.pool).await.unwrap();
        assert!(world.store.load_snapshot(1).await.is_err());
    }

    #[tokio::test]
    async fn the_registry_outlives_its_process() {
        let folder = std::env::temp_dir().join(format!("attorn-reopen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("registry.db");
        let path = path.to_str().unwrap();
        let world = World::at(path).await;
        let version = world.store.version().await.unwrap();
        world.store.close().await;
        let again = Store::open(&format!("sqlite://{path}")).await.unwrap();
        assert_eq!(again.version().await.unwrap(), version);
        assert!(again.agent(&world.agent).await.is_ok());
        again.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
