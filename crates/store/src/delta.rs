//! What changed after one version: the rows of `changes` name the records, which are read whole.

use std::collections::BTreeSet;

use attorn_registry::{RevokedToken, SnapshotDelta};
use sqlx::AnyConnection;

use crate::Store;
use crate::agents::agent_by_id;
use crate::approvals::approval_by_id;
use crate::change::ChangeKind;
use crate::column::Columns;
use crate::consents::consent_by_id;
use crate::erasures::erasure_of;
use crate::failure::StoreError;
use crate::grants::grant_by_id;
use crate::issuer_keys::all_issuer_keys;
use crate::locks::lock_by_id;
use crate::owners::owner_by_id;
use crate::person_grants::person_grant_by_id;
use crate::persons::person_by_id;
use crate::policies::policy_in_force;
use crate::resources::resource_by_id;
use crate::revocations::revoked_token;
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("changes");

/// More changes than this are read as a whole snapshot.
pub const DELTA_CHANGES_MAX: u64 = 1000;

impl Store {
    /// The records that changed after a version, as they are now. `None` when that cannot be told
    /// from the history, or a whole snapshot costs less: then load one.
    ///
    /// # Errors
    /// The database fails, or one record cannot be read: half a change is never published.
    pub async fn load_delta(
        &self,
        after: u64,
        now_ms: u64,
    ) -> Result<Option<SnapshotDelta>, StoreError> {
        let mut transaction = self.begin_read().await?;
        // Read first, as for a whole snapshot.
        let (version, epoch): (i64, i64) =
            sqlx::query_as("SELECT version, epoch FROM registry WHERE id = 1")
                .fetch_one(&mut *transaction)
                .await?;
        let version = COLUMNS.count(version)?;
        if version < after || version - after > DELTA_CHANGES_MAX {
            return Ok(None);
        }
        // The version itself too: a gateway may know a number that this registry skipped, since it
        // comes from a backup. What followed then does not lead on from what followed here.
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT kind, subject FROM changes WHERE version >= $1 AND version <= $2
             ORDER BY version",
        )
        .bind(COLUMNS.number(after)?)
        .bind(COLUMNS.number(version)?)
        .fetch_all(&mut *transaction)
        .await?;
        // A version without its row: somebody wrote past us, or the history was cut.
        if u64::try_from(rows.len()).ok() != Some(version - after + 1) {
            return Ok(None);
        }
        let mut delta = SnapshotDelta {
            after,
            version,
            made_ms: now_ms,
            epoch: COLUMNS.count(epoch)?,
            ..SnapshotDelta::default()
        };
        let changed: BTreeSet<_> = rows.into_iter().skip(1).collect();
        for (kind, subject) in changed {
            let kind = ChangeKind::ALL.into_iter().find(|known| known.as_str() == kind);
            // Of a newer version of this program.
            let Some(kind) = kind else { return Ok(None) };
            add(&mut transaction, &mut delta, kind, &subject).await?;
        }
        transaction.rollback().await?;
        Ok(Some(delta))
    }
}

/// Reads what one kind of change is about. A record that was read before is read again: the rows
/// of one delta are few.
#[expect(clippy::too_many_lines, reason = "a table, with one arm for each kind of record")]
async fn add(
    connection: &mut AnyConnection,
    delta: &mut SnapshotDelta,
    kind: ChangeKind,
    subject: &str,
) -> Result<(), StoreError> {
    match kind {
        ChangeKind::AgentAuthentication
        | ChangeKind::AgentExpiry
        | ChangeKind::AgentKeys
        | ChangeKind::AgentOwner
        | ChangeKind::AgentRegistered
        | ChangeKind::AgentState
        | ChangeKind::ClientSet
        | ChangeKind::EnrolmentRedeemed => {
            delta.agents.push(agent_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::ApprovalDecided
        | ChangeKind::ApprovalExpired
        | ChangeKind::ApprovalRequested
        | ChangeKind::ApprovalUsed => {
            delta.approvals.push(approval_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::ConsentGiven | ChangeKind::ConsentRevoked => {
            delta.consents.push(consent_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::GrantConfirmed | ChangeKind::GrantCreated | ChangeKind::GrantRevoked => {
            delta.grants.push(grant_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::IssuerKeyAdded | ChangeKind::IssuerKeyState => {
            delta.issuer_keys = Some(all_issuer_keys(connection).await?);
        }
        ChangeKind::LockCreated | ChangeKind::LockLifted => {
            delta.locks.push(lock_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::OwnerCreated | ChangeKind::OwnerSet | ChangeKind::OwnerState => {
            delta.owners.push(owner_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::InvitationRedeemed
        | ChangeKind::PersonCreated
        | ChangeKind::PersonSet
        | ChangeKind::PersonState => {
            delta.persons.push(person_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::PersonGrantCreated | ChangeKind::PersonGrantRevoked => {
            let grant = person_grant_by_id(connection, &COLUMNS.parse(subject)?).await?;
            delta.person_grants.push(grant);
        }
        ChangeKind::PayloadErased => {
            delta.erasures.push(erasure_of(connection, subject).await?);
        }
        ChangeKind::PolicyApplied => delta.policy = Some(policy_in_force(connection).await?),
        ChangeKind::ResourceDownstreams
        | ChangeKind::ResourceKey
        | ChangeKind::ResourceOperations
        | ChangeKind::ResourceRegistered
        | ChangeKind::ResourceState => {
            delta.resources.push(resource_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::ServerBearer
        | ChangeKind::ServerKeys
        | ChangeKind::ServerOwner
        | ChangeKind::ServerRegistered
        | ChangeKind::ServerState
        | ChangeKind::ToolApproved
        | ChangeKind::ToolSeen => {
            delta.servers.push(server_by_id(connection, &COLUMNS.parse(subject)?).await?);
        }
        ChangeKind::TokenRevoked => {
            // One that has ended meanwhile is forgotten, and needs no revocation.
            let expires_s = revoked_token(connection, subject).await?;
            let token = |expires_s| RevokedToken { jti: subject.to_owned(), expires_s };
            delta.revoked.extend(expires_s.map(token));
        }
        // The epoch is in every delta; codes, passwords and passkeys are in none.
        ChangeKind::EnrolmentCreated
        | ChangeKind::EpochRaised
        | ChangeKind::InvitationCreated
        | ChangeKind::PasskeyAdded
        | ChangeKind::PasskeyRemoved
        | ChangeKind::PersonPassword => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use attorn_registry::{
        Authentication, Binding, Consent, ConsentId, Grant, GrantId, LifeCycle, Lock, LockId,
        LockTarget, Snapshot, SnapshotParts,
    };

    use crate::change::ChangeKind;
    use crate::fixtures::{World, act, bob, id, key};
    use crate::{InForce, SeenTool};

    fn parts(snapshot: &Snapshot) -> SnapshotParts {
        let mut parts = SnapshotParts::from(snapshot);
        parts.agents.sort_by(|one, other| one.id.cmp(&other.id));
        parts.approvals.sort_by(|one, other| one.id.cmp(&other.id));
        parts.grants.sort_by(|one, other| one.id.cmp(&other.id));
        parts.owners.sort_by(|one, other| one.id.cmp(&other.id));
        parts.revoked.sort_by(|one, other| one.jti.cmp(&other.jti));
        parts.erasures.sort_by(|one, other| one.subject.cmp(&other.subject));
        parts
    }

    /// Every kind of change, one after the other: a delta leads to what is read whole.
    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "one change after the other, of every kind")]
    async fn deltas_lead_where_a_whole_snapshot_does() {
        let world = World::new().await;
        let store = &world.store;
        let mut snapshot = store.load_snapshot(1000).await.unwrap();
        let mut step = async || {
            let delta = store.load_delta(snapshot.version, 1000).await.unwrap().unwrap();
            snapshot = snapshot.apply(delta).unwrap();
            let whole = store.load_snapshot(1000).await.unwrap();
            assert_eq!(parts(&snapshot), parts(&whole));
        };
        store.create_enrolment(&act(1), &world.agent, [1; 32]).await.unwrap();
        step().await;
        store.redeem_enrolment(&act(1), &[1; 32], (key(1), "{}")).await.unwrap();
        step().await;
        let way = (&Authentication::PrivateKeyJwt, Binding::Dpop);
        store.set_agent_authentication(&act(1), &world.agent, way).await.unwrap();
        step().await;
        let tool = SeenTool {
            name: "get".into(),
            definition: "{}".into(),
            digest: [1; 32],
            proposed_class: attorn_registry::Class::Read,
        };
        store.record_seen_tools(&act(1), &world.server, &[tool]).await.unwrap();
        step().await;
        store.create_grant(&act(1), &world.new_grant()).await.unwrap();
        let lock = Lock {
            id: LockId::from_random(&id(9)),
            target: LockTarget::Agent { agent: world.agent.clone() },
            reason: "test".into(),
            by: String::new(),
            created_s: 0,
            expires_s: 100,
            lifted_s: None,
        };
        store.create_lock(&act(1), &lock).await.unwrap();
        step().await;
        let waiting =
            Grant { id: GrantId::from_random(&id(8)), awaits_second: true, ..world.new_grant() };
        store.create_grant(&act(1), &waiting).await.unwrap();
        step().await;
        store.confirm_grant(&act(2), &waiting.id).await.unwrap();
        step().await;
        store.lift_lock(&act(2), &lock.id).await.unwrap();
        store.revoke_grant(&act(2), &world.new_grant().id).await.unwrap();
        store.revoke_token(&act(2), "t1", 100).await.unwrap();
        step().await;
        let resource = world.new_resource();
        store.register_resource(&act(2), &resource).await.unwrap();
        step().await;
        store.set_resource_state(&act(2), &resource.id, LifeCycle::Suspended).await.unwrap();
        step().await;
        let person = world.active_person().await;
        step().await;
        store.create_person_grant(&act(2), &world.new_person_grant(&person)).await.unwrap();
        store.put_consent(&act(2), &world.new_consent(&person)).await.unwrap();
        step().await;
        let replaced = Consent { id: ConsentId::from_random(&id(7)), ..world.new_consent(&person) };
        store.put_consent(&act(3), &replaced).await.unwrap();
        step().await;
        store.set_password(&act(3), &person, "$argon2id$marked-fixture").await.unwrap();
        store.revoke_person_grant(&act(3), &world.new_person_grant(&person).id).await.unwrap();
        store.revoke_consent(&act(3), &replaced.id).await.unwrap();
        store.set_person_state(&act(3), &person, LifeCycle::Suspended).await.unwrap();
        step().await;
        store.erase_payloads(&act(2), "agt_1").await.unwrap();
        step().await;
        store.erase_payloads(&act(3), "agt_1").await.unwrap();
        store.raise_epoch(&act(2), InForce::default()).await.unwrap();
        store.apply_policy(&act(2), "permit (principal, action, resource);", "x").await.unwrap();
        store.set_owner_state(&act(2), &world.owner.id, LifeCycle::Suspended).await.unwrap();
        store.set_server_state(&act(2), &world.server, LifeCycle::Suspended).await.unwrap();
        step().await;
        // Nothing new is a delta too.
        step().await;
    }

    #[tokio::test]
    async fn approvals_come_and_go_with_deltas() {
        let world = World::new().await;
        let store = &world.store;
        let mut snapshot = store.load_snapshot(10_000).await.unwrap();
        let mut step = async |waiting: usize| {
            let delta = store.load_delta(snapshot.version, 10_000).await.unwrap().unwrap();
            snapshot = snapshot.apply(delta).unwrap();
            let whole = store.load_snapshot(10_000).await.unwrap();
            assert_eq!(parts(&snapshot), parts(&whole));
            assert_eq!(snapshot.approvals().count(), waiting);
        };
        for seed in [1, 2] {
            store.request_approval(&act(10), &world.new_approval(seed)).await.unwrap();
        }
        step(2).await;
        let asked = world.new_approval(1).approval;
        let given = asked.approve(&bob(), "fine", 11).unwrap();
        let change = (&asked, &given);
        store.replace_approval(&act(11), ChangeKind::ApprovalDecided, change).await.unwrap();
        step(2).await;
        let used = given.use_once(&given.call, "dec_1", 12).unwrap();
        let change = (&given, &used);
        store.replace_approval(&act(12), ChangeKind::ApprovalUsed, change).await.unwrap();
        step(1).await;
        let late = world.new_approval(2).approval;
        let change = (&late, &late.expire(70).unwrap());
        store.replace_approval(&act(70), ChangeKind::ApprovalExpired, change).await.unwrap();
        step(0).await;
    }

    #[tokio::test]
    async fn a_history_with_a_hole_gives_no_delta() {
        let world = World::new().await;
        let store = &world.store;
        let after = store.version().await.unwrap();
        store.raise_epoch(&act(1), InForce::default()).await.unwrap();
        store.raise_epoch(&act(2), InForce::default()).await.unwrap();
        assert!(store.load_delta(after, 1).await.unwrap().is_some());
        assert!(store.load_delta(after + 9, 1).await.unwrap().is_none());
        let cut = sqlx::query("DELETE FROM changes WHERE version = $1");
        cut.bind(i64::try_from(after).unwrap() + 1).execute(&store.pool).await.unwrap();
        assert!(store.load_delta(after, 1).await.unwrap().is_none());
    }

    /// Two registries that part: what follows the number in one does not lead on in the other.
    #[tokio::test]
    async fn a_version_of_another_history_gives_no_delta() {
        let world = World::new().await;
        let store = &world.store;
        let lost = store.version().await.unwrap() + 1;
        // As after a backup: beyond what was in force, and the number itself was never here.
        store.raise_epoch(&act(1), InForce { version: lost, epoch: 0 }).await.unwrap();
        assert!(store.load_delta(lost, 1).await.unwrap().is_none());
        assert!(store.load_delta(lost + 1, 1).await.unwrap().is_some());
    }
}
