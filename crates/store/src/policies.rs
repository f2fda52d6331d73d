//! Policies: every version that was ever in force. The last one is.

use attorn_registry::PolicySource;
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, Refusal, StoreError};

const COLUMNS: Columns = Columns("policies");

/// One version of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRecord {
    /// The policies themselves.
    pub source: PolicySource,
    /// Why they were applied.
    pub reason: String,
    /// Who applied them.
    pub by: String,
    /// When, in Unix seconds.
    pub at_s: u64,
}

impl Store {
    /// Puts policies in force as a new version. That they compile is for the caller to see to.
    ///
    /// # Errors
    /// The database fails.
    pub async fn apply_policy(
        &self,
        act: &Act<'_>,
        text: &str,
        reason: &str,
    ) -> Result<Changed<PolicySource>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = insert_policy(&mut change, text, reason).await?;
        change.finish(ChangeKind::PolicyApplied, &record.version.to_string(), record).await
    }

    /// Puts the text of an earlier version in force again, as a new version.
    ///
    /// # Errors
    /// No such version.
    pub async fn rollback_policy(
        &self,
        act: &Act<'_>,
        version: u64,
        reason: &str,
    ) -> Result<Changed<PolicySource>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT policy_text FROM policies WHERE version = $1")
                .bind(COLUMNS.number(version)?)
                .fetch_optional(&self.pool)
                .await?;
        // A version never changes, so it may be read before the change begins.
        let (text,) = row.ok_or(Refusal::PolicyUnknown)?;
        self.apply_policy(act, &text, reason).await
    }

    /// The policies in force. Before the first version they are empty, which permits nothing.
    ///
    /// # Errors
    /// The database fails.
    pub async fn policy(&self) -> Result<PolicySource, Failure> {
        let mut connection = self.pool.acquire().await?;
        policy_in_force(&mut connection).await
    }

    /// At most `limit` versions, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn policy_history(&self, limit: u32) -> Result<Vec<PolicyRecord>, Failure> {
        let rows: Vec<(i64, String, String, String, i64)> = sqlx::query_as(
            "SELECT version, policy_text, reason, applied_by, applied_s
             FROM policies ORDER BY version DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let record = |(version, text, reason, by, at_s)| {
            let source = PolicySource { version: COLUMNS.count(version)?, text };
            Ok(PolicyRecord { source, reason, by, at_s: COLUMNS.count(at_s)? })
        };
        rows.into_iter().map(record).collect()
    }
}

/// As [`Store::apply_policy`], as a part of a change.
pub(crate) async fn insert_policy(
    change: &mut Change<'_>,
    text: &str,
    reason: &str,
) -> Result<PolicySource, StoreError> {
    let act = change.act;
    let (version,): (i64,) = sqlx::query_as(
        "INSERT INTO policies (version, policy_text, reason, applied_by, applied_s)
         SELECT COALESCE(MAX(version), 0) + 1, $1, $2, $3, $4 FROM policies
         RETURNING version",
    )
    .bind(text)
    .bind(reason)
    .bind(act.by)
    .bind(COLUMNS.number(act.now_s)?)
    .fetch_one(change.connection())
    .await?;
    Ok(PolicySource { version: COLUMNS.count(version)?, text: text.to_owned() })
}

pub(crate) async fn policy_in_force(
    connection: &mut AnyConnection,
) -> Result<PolicySource, Failure> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT version, policy_text FROM policies ORDER BY version DESC LIMIT 1")
            .fetch_optional(connection)
            .await?;
    match row {
        None => Ok(PolicySource::default()),
        Some((version, text)) => Ok(PolicySource { version: COLUMNS.count(version)?, text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{World, act};

    #[tokio::test]
    async fn versions_count_up_and_a_rollback_is_one_more() {
        let world = World::new().await;
        let store = &world.store;
        assert_eq!(store.policy().await.unwrap(), PolicySource::default());
        store.apply_policy(&act(1), "one", "start").await.unwrap();
        store.apply_policy(&act(2), "two", "better").await.unwrap();
        let back = store.rollback_policy(&act(3), 1, "worse").await.unwrap().record;
        assert_eq!(back, PolicySource { version: 3, text: "one".into() });
        assert_eq!(store.policy().await.unwrap(), back);
        let history = store.policy_history(2).await.unwrap();
        let versions: Vec<_> = history.iter().map(|record| record.source.version).collect();
        assert_eq!(versions, [3, 2]);
        assert_eq!(history[0].reason, "worse");
    }

    #[tokio::test]
    async fn an_unknown_version_is_refused() {
        let world = World::new().await;
        let refused = world.store.rollback_policy(&act(1), 1, "why").await;
        assert!(matches!(refused, Err(StoreError::Refused(Refusal::PolicyUnknown))));
    }
}
