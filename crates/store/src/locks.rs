//! Locks.

use attorn_registry::{Lock, LockId, STOP_REMEMBERED_S};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::family_ends::end_with_lock;

const COLUMNS: Columns = Columns("locks");

impl Store {
    /// Sets a lock. Who set it and when are those of the act. The target need not exist: a lock
    /// on something unknown is harmless, and one that comes too early still holds.
    ///
    /// # Errors
    /// The lock breaks a rule of its own.
    pub async fn create_lock(
        &self,
        act: &Act<'_>,
        lock: &Lock,
    ) -> Result<Changed<Lock>, StoreError> {
        let lock =
            Lock { by: act.by.to_owned(), created_s: act.now_s, lifted_s: None, ..lock.clone() };
        lock.verify().map_err(Refusal::Lock)?;
        let mut change = Change::begin(self, *act).await?;
        sqlx::query(
            "INSERT INTO locks (id, target, reason, set_by, created_s, expires_s)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(lock.id.as_str())
        .bind(COLUMNS.to_json(&lock.target)?)
        .bind(&lock.reason)
        .bind(&lock.by)
        .bind(COLUMNS.number(lock.created_s)?)
        .bind(COLUMNS.number(lock.expires_s)?)
        .execute(change.connection())
        .await
        .map_err(|error| StoreError::unique(error, Refusal::IdTaken))?;
        end_with_lock(change.connection(), &lock.target, act.now_s).await?;
        let subject = lock.id.to_string();
        change.finish(ChangeKind::LockCreated, &subject, lock).await
    }

    /// Lifts a lock.
    ///
    /// # Errors
    /// No such lock, or it was lifted already.
    pub async fn lift_lock(&self, act: &Act<'_>, id: &LockId) -> Result<Changed<Lock>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let lock = lock_by_id(change.connection(), id).await?;
        if lock.lifted_s.is_some() {
            return Err(Refusal::LockLifted.into());
        }
        sqlx::query("UPDATE locks SET lifted_s = $1 WHERE id = $2")
            .bind(COLUMNS.number(act.now_s)?)
            .bind(id.as_str())
            .execute(change.connection())
            .await?;
        let record = Lock { lifted_s: Some(act.now_s), ..lock };
        change.finish(ChangeKind::LockLifted, id.as_str(), record).await
    }

    /// Every lock, past ones included, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn locks(&self) -> Result<Vec<Lock>, Failure> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, target, reason, set_by, created_s, expires_s, lifted_s
             FROM locks ORDER BY created_s, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }
}

pub(crate) async fn lock_by_id(
    connection: &mut AnyConnection,
    id: &LockId,
) -> Result<Lock, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, target, reason, set_by, created_s, expires_s, lifted_s
         FROM locks WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(Refusal::LockUnknown)?.read()?)
}

/// The locks in force at `now_s`, and those that ended so lately that tokens from before live.
pub(crate) async fn mattering_locks(
    connection: &mut AnyConnection,
    now_s: u64,
) -> Result<Vec<Lock>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, target, reason, set_by, created_s, expires_s, lifted_s
         FROM locks WHERE expires_s >= $1 AND (lifted_s IS NULL OR lifted_s >= $1)
         ORDER BY created_s, id",
    )
    .bind(COLUMNS.number(now_s.saturating_sub(STOP_REMEMBERED_S))?)
    .fetch_all(connection)
    .await?;
    let locks = rows.into_iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
    Ok(locks.into_iter().filter(|lock| lock.matters(now_s)).collect())
}

row! {
    id: String,
    target: String,
    reason: String,
    set_by: String,
    created_s: i64,
    expires_s: i64,
    lifted_s: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Lock, Failure> {
        Ok(Lock {
            id: COLUMNS.parse(&self.id)?,
            target: COLUMNS.json(&self.target)?,
            reason: self.reason,
            by: self.set_by,
            created_s: COLUMNS.count(self.created_s)?,
            expires_s: COLUMNS.count(self.expires_s)?,
            lifted_s: COLUMNS.maybe_count(self.lifted_s)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::LockTarget;

    use super::*;
    use crate::fixtures::{World, act, id};

    fn new_lock(target: LockTarget) -> Lock {
        Lock {
            id: LockId::from_random(&id(70)),
            target,
            reason: "leaked".into(),
            by: String::new(),
            created_s: 0,
            expires_s: 100,
            lifted_s: None,
        }
    }

    #[tokio::test]
    async fn a_lock_is_set_and_lifted() {
        let world = World::new().await;
        let store = &world.store;
        let target = LockTarget::Tool { server: world.server.clone(), tool: "a/b".into() };
        let lock = store.create_lock(&act(10), &new_lock(target.clone())).await.unwrap().record;
        assert_eq!((&lock.target, lock.by.as_str(), lock.created_s), (&target, "own_test", 10));
        assert_eq!(store.locks().await.unwrap(), std::slice::from_ref(&lock));
        let lifted = store.lift_lock(&act(11), &lock.id).await.unwrap().record;
        assert_eq!(lifted.lifted_s, Some(11));
        let again = store.lift_lock(&act(12), &lock.id).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::LockLifted))));
    }

    #[tokio::test]
    async fn a_lock_is_bounded() {
        let world = World::new().await;
        let lock = new_lock(LockTarget::Token { jti: "t".into() });
        let late = world.store.create_lock(&act(100), &lock).await;
        assert!(matches!(late, Err(StoreError::Refused(Refusal::Lock(_)))));
        let endless = Lock { expires_s: u64::MAX, ..lock };
        assert!(world.store.create_lock(&act(1), &endless).await.is_err());
        let unknown = world.store.lift_lock(&act(1), &endless.id).await;
        assert!(matches!(unknown, Err(StoreError::Refused(Refusal::LockUnknown))));
    }
}
