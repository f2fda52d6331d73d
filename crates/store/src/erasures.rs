//! Subjects whose sealed payloads are forgotten, on every node.

use attorn_registry::Erasure;
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::Columns;
use crate::failure::{Failure, StoreError};

const COLUMNS: Columns = Columns("erasures");

impl Store {
    /// Forgets what was sealed for a subject until now. A second time moves the moment on.
    ///
    /// # Errors
    /// The database fails.
    pub async fn erase_payloads(
        &self,
        act: &Act<'_>,
        subject: &str,
    ) -> Result<Changed<Erasure>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        sqlx::query(
            "INSERT INTO erasures (subject, until_s) VALUES ($1, $2)
             ON CONFLICT (subject) DO UPDATE SET until_s =
                 CASE WHEN excluded.until_s > erasures.until_s
                      THEN excluded.until_s ELSE erasures.until_s END",
        )
        .bind(subject)
        .bind(COLUMNS.number(act.now_s)?)
        .execute(change.connection())
        .await?;
        let erasure = erasure_of(change.connection(), subject).await?;
        change.finish(ChangeKind::PayloadErased, subject, erasure).await
    }
}

/// Every erasure.
pub(crate) async fn all_erasures(connection: &mut AnyConnection) -> Result<Vec<Erasure>, Failure> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT subject, until_s FROM erasures ORDER BY subject")
            .fetch_all(connection)
            .await?;
    let erasure = |(subject, until_s)| Ok(Erasure { subject, until_s: COLUMNS.count(until_s)? });
    rows.into_iter().map(erasure).collect()
}

/// The erasure of one subject.
pub(crate) async fn erasure_of(
    connection: &mut AnyConnection,
    subject: &str,
) -> Result<Erasure, Failure> {
    let (until_s,): (i64,) = sqlx::query_as("SELECT until_s FROM erasures WHERE subject = $1")
        .bind(subject)
        .fetch_one(connection)
        .await?;
    Ok(Erasure { subject: subject.to_owned(), until_s: COLUMNS.count(until_s)? })
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{World, act};

    #[tokio::test]
    async fn an_erasure_reaches_further_and_never_back() {
        let world = World::new().await;
        for (at_s, until_s) in [(5, 5), (9, 9), (7, 9)] {
            let changed = world.store.erase_payloads(&act(at_s), "agt_1").await.unwrap();
            assert_eq!(changed.record.until_s, until_s);
        }
        world.store.erase_payloads(&act(3), "agt_2").await.unwrap();
        let snapshot = world.store.load_snapshot(1).await.unwrap();
        let mut all: Vec<_> = snapshot.erasures().collect();
        all.sort_unstable();
        assert_eq!(all, [("agt_1", 9), ("agt_2", 3)]);
    }
}
