//! Approvals; the rules are in [`attorn_registry::Approval`].
//!
//! A record is replaced only while it is what was judged. So of two gateways that use one approval
//! at once, one goes through, and what was used stays used: on the disk when the method returns.

use attorn_registry::{AgentId, Approval, ApprovalId, ApprovalRequest};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("approvals");

/// The most records that a list has.
const LISTED_MAX: i64 = 500;

impl Store {
    /// Records a call that waits for a person.
    ///
    /// # Errors
    /// The identifier is in use, or there is no such agent.
    pub async fn request_approval(
        &self,
        act: &Act<'_>,
        request: &ApprovalRequest,
    ) -> Result<Changed<Approval>, StoreError> {
        let approval = &request.approval;
        let mut change = Change::begin(self, *act).await?;
        crate::agents::agent_by_id(change.connection(), &approval.call.agent).await?;
        sqlx::query(
            "INSERT INTO approvals
             (id, agent, called, excluded, status, state, arguments, actors, decision, trace_id,
             asked_by, asked_s, expires_s)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(approval.id.as_str())
        .bind(approval.call.agent.as_str())
        .bind(COLUMNS.to_json(&approval.call)?)
        .bind(COLUMNS.to_json(&approval.excluded)?)
        .bind(approval.state.as_str())
        .bind(COLUMNS.to_json(&approval.state)?)
        .bind(&request.arguments)
        .bind(&request.actors)
        .bind(&request.decision)
        .bind(&request.trace_id)
        .bind(&request.asked_by)
        .bind(COLUMNS.number(approval.asked_s)?)
        .bind(COLUMNS.number(approval.expires_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        let id = approval.id.to_string();
        change.finish(ChangeKind::ApprovalRequested, &id, approval.clone()).await
    }

    /// Puts an approval into its next state, if it still is what was judged.
    ///
    /// # Errors
    /// It is not.
    pub async fn replace_approval(
        &self,
        act: &Act<'_>,
        kind: ChangeKind,
        (before, after): (&Approval, &Approval),
    ) -> Result<Changed<Approval>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let replaced = sqlx::query(
            "UPDATE approvals SET status = $1, state = $2 WHERE id = $3 AND state = $4",
        )
        .bind(after.state.as_str())
        .bind(COLUMNS.to_json(&after.state)?)
        .bind(before.id.as_str())
        .bind(COLUMNS.to_json(&before.state)?)
        .execute(change.connection())
        .await?;
        if replaced.rows_affected() != 1 {
            return Err(Refusal::ApprovalChanged.into());
        }
        change.finish(kind, before.id.as_str(), after.clone()).await
    }

    /// One approval with what its approver sees; `None` where there is none.
    ///
    /// # Errors
    /// The database fails.
    pub async fn approval(&self, id: &ApprovalId) -> Result<Option<ApprovalRequest>, Failure> {
        let mut connection = self.pool.acquire().await?;
        request_by_id(&mut connection, id).await
    }

    /// The newest approvals, of one state if one is named.
    ///
    /// # Errors
    /// The database fails.
    pub async fn approvals(&self, status: Option<&str>) -> Result<Vec<ApprovalRequest>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, called, excluded, state, arguments, actors, decision, trace_id, asked_by,
             asked_s, expires_s FROM approvals WHERE $1 IS NULL OR status = $1
             ORDER BY asked_s DESC, id LIMIT $2",
        )
        .bind(status)
        .bind(LISTED_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The approvals of an agent that are not past their end.
    ///
    /// # Errors
    /// The database fails.
    pub async fn approvals_of(
        &self,
        agent: &AgentId,
        now_s: u64,
    ) -> Result<Vec<ApprovalRequest>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, called, excluded, state, arguments, actors, decision, trace_id, asked_by,
             asked_s, expires_s FROM approvals WHERE agent = $1 AND expires_s > $2
             ORDER BY asked_s, id",
        )
        .bind(agent.as_str())
        .bind(COLUMNS.number(now_s)?)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// What is past its end and not noted to be.
    ///
    /// # Errors
    /// The database fails.
    pub async fn ended_approvals(&self, now_s: u64) -> Result<Vec<ApprovalRequest>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, called, excluded, state, arguments, actors, decision, trace_id, asked_by,
             asked_s, expires_s FROM approvals
             WHERE status IN ('pending', 'approved') AND expires_s <= $1 ORDER BY asked_s, id",
        )
        .bind(COLUMNS.number(now_s)?)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Forgets the arguments of approvals that ended before `before_s`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_approval_arguments(&self, before_s: u64) -> Result<(), Failure> {
        sqlx::query("UPDATE approvals SET arguments = '' WHERE expires_s < $1 AND arguments <> ''")
            .bind(COLUMNS.number(before_s)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Ends everything that waits or could be used; part of ending every token. A registry from a
/// backup may not know what was used since.
pub(crate) async fn end_approvals(connection: &mut AnyConnection) -> Result<(), Failure> {
    let expired = attorn_registry::ApprovalState::Expired;
    sqlx::query(
        "UPDATE approvals SET status = $1, state = $2 WHERE status IN ('pending', 'approved')",
    )
    .bind(expired.as_str())
    .bind(COLUMNS.to_json(&expired)?)
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn approval_by_id(
    connection: &mut AnyConnection,
    id: &ApprovalId,
) -> Result<Approval, StoreError> {
    let request = request_by_id(connection, id).await?;
    Ok(request.ok_or(Refusal::ApprovalChanged)?.approval)
}

async fn request_by_id(
    connection: &mut AnyConnection,
    id: &ApprovalId,
) -> Result<Option<ApprovalRequest>, Failure> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, called, excluded, state, arguments, actors, decision, trace_id, asked_by,
         asked_s, expires_s FROM approvals WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(Row::read).transpose()
}

/// What decisions depend on.
pub(crate) async fn mattering_approvals(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<Approval>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, called, excluded, state, arguments, actors, decision, trace_id, asked_by,
         asked_s, expires_s FROM approvals
         WHERE status IN ('pending', 'approved') AND expires_s > $1 ORDER BY asked_s, id",
    )
    .bind(COLUMNS.number(now_s)?)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok(row.read()?.approval)).collect()
}

row! {
    id: String,
    called: String,
    excluded: String,
    state: String,
    arguments: String,
    actors: Option<String>,
    decision: String,
    trace_id: Option<String>,
    asked_by: String,
    asked_s: i64,
    expires_s: i64,
}

impl Row {
    fn read(self) -> Result<ApprovalRequest, Failure> {
        Ok(ApprovalRequest {
            approval: Approval {
                id: COLUMNS.parse(&self.id)?,
                call: COLUMNS.json(&self.called)?,
                excluded: COLUMNS.json(&self.excluded)?,
                asked_s: COLUMNS.count(self.asked_s)?,
                expires_s: COLUMNS.count(self.expires_s)?,
                state: COLUMNS.json(&self.state)?,
            },
            arguments: self.arguments,
            actors: self.actors,
            decision: self.decision,
            trace_id: self.trace_id,
            asked_by: self.asked_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::ApprovalState;

    use super::*;
    use crate::InForce;
    use crate::fixtures::{World, act, bob};

    async fn asked(world: &World) -> Approval {
        let request = world.new_approval(1);
        world.store.request_approval(&act(10), &request).await.unwrap().record
    }

    fn approved(approval: &Approval) -> Approval {
        approval.approve(&bob(), "fine", 11).unwrap()
    }

    async fn waiting(world: &World, now_s: u64) -> usize {
        world.store.load_snapshot(now_s * 1000).await.unwrap().approvals().count()
    }

    #[tokio::test]
    async fn what_waits_or_may_be_used_is_in_the_snapshot() {
        let world = World::new().await;
        let first = asked(&world).await;
        assert_eq!((waiting(&world, 69).await, waiting(&world, 70).await), (1, 0));
        let second = approved(&first);
        let change = (&first, &second);
        let kind = ChangeKind::ApprovalDecided;
        world.store.replace_approval(&act(11), kind, change).await.unwrap();
        let snapshot = world.store.load_snapshot(12_000).await.unwrap();
        assert!(snapshot.approval_for(&first.call, 12).unwrap().is_usable(12));
        let third = second.use_once(&second.call, "dec_1", 12).unwrap();
        let change = (&second, &third);
        world.store.replace_approval(&act(12), ChangeKind::ApprovalUsed, change).await.unwrap();
        assert_eq!(waiting(&world, 12).await, 0);
        let kept = world.store.approval(&first.id).await.unwrap().unwrap();
        assert_eq!(kept, ApprovalRequest { approval: third, ..world.new_approval(1) });
        assert_eq!(world.store.approvals(Some("used")).await.unwrap(), [kept]);
        assert!(world.store.approvals(Some("pending")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_two_uses_at_once_one_goes_through() {
        let folder = std::env::temp_dir().join(format!("attorn-approval-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::for_several(&folder.join("race.db")).await;
        let first = asked(&world).await;
        let given = approved(&first);
        let kind = ChangeKind::ApprovalDecided;
        world.store.replace_approval(&act(11), kind, (&first, &given)).await.unwrap();
        let used = |decision: &str| given.use_once(&given.call, decision, 12).unwrap();
        let (one, two) = (used("dec_1"), used("dec_2"));
        let kind = ChangeKind::ApprovalUsed;
        let (act_one, act_two) = (act(12), act(12));
        let (one, two) = tokio::join!(
            world.store.replace_approval(&act_one, kind, (&given, &one)),
            world.store.replace_approval(&act_two, kind, (&given, &two)),
        );
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        for lost in [one, two].into_iter().filter_map(Result::err) {
            assert!(matches!(lost, StoreError::Refused(Refusal::ApprovalChanged)), "{lost:?}");
        }
        world.store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_ended_is_found_and_its_arguments_are_forgotten() {
        let world = World::new().await;
        let first = asked(&world).await;
        assert!(world.store.ended_approvals(69).await.unwrap().is_empty());
        assert_eq!(world.store.ended_approvals(70).await.unwrap()[0].approval, first);
        assert_eq!(world.store.approvals_of(&world.agent, 69).await.unwrap().len(), 1);
        assert!(world.store.approvals_of(&world.agent, 70).await.unwrap().is_empty());
        world.store.forget_approval_arguments(70).await.unwrap();
        let arguments = async || world.store.approval(&first.id).await.unwrap().unwrap().arguments;
        assert_eq!(arguments().await, world.new_approval(1).arguments);
        world.store.forget_approval_arguments(71).await.unwrap();
        assert_eq!(arguments().await, "");
    }

    #[tokio::test]
    async fn ending_every_token_ends_every_approval() {
        let world = World::new().await;
        let first = asked(&world).await;
        let before = world.store.load_snapshot(11_000).await.unwrap();
        world.store.raise_epoch(&act(11), InForce::default()).await.unwrap();
        let kept = world.store.approval(&first.id).await.unwrap().unwrap();
        assert_eq!(kept.approval.state, ApprovalState::Expired);
        let delta = world.store.load_delta(before.version, 11_000).await.unwrap().unwrap();
        assert_eq!(before.approvals().count(), 1);
        assert_eq!(before.apply(delta).unwrap().approvals().count(), 0);
    }
}
