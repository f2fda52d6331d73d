//! The search index over the log, in its own file: which places of the log to look at.
//!
//! It answers questions and proves nothing: the log is the record, and the index can be thrown
//! away and made again from it. Losing its last entries in a crash is therefore fine, because
//! indexing goes on at [`AuditIndex::next_index`].

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{QueryBuilder, SqlitePool};

use crate::column::Columns;
use crate::database::{in_memory, open};
use crate::failure::Failure;

const COLUMNS: Columns = Columns("entries");
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "index", include_str!("../migrations/index/0001_index.sql")),
    (2, "places", include_str!("../migrations/index/0002_places.sql")),
];

/// Most entries one search returns.
pub const HITS_MAX: u32 = 1000;

/// The search index.
#[derive(Clone, Debug)]
pub struct AuditIndex {
    pool: SqlitePool,
}

/// What to search for. Every part that is given must hold; the empty filter matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The agent that acted.
    pub agent: Option<String>,
    /// The MCP server.
    pub server: Option<String>,
    /// The tool.
    pub tool: Option<String>,
    /// The kind of entry, such as `call.decided`.
    pub kind: Option<String>,
    /// `permit` or `deny`.
    pub decision: Option<String>,
    /// The reason code.
    pub reason: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// The decision.
    pub decision_id: Option<String>,
    /// The access token.
    pub token_jti: Option<String>,
    /// First moment, in Unix milliseconds.
    pub from_ms: Option<u64>,
    /// First moment after, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Only entries before this place in the log: how a next page is asked for.
    pub before: Option<u64>,
    /// How many at most, never more than [`HITS_MAX`].
    pub limit: Option<u32>,
}

impl AuditIndex {
    /// Opens the index at a path, and makes it if it is not there.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { pool: open(path, &MIGRATIONS, SqliteSynchronous::Normal).await? })
    }

    /// An index that is gone with the process.
    ///
    /// # Errors
    /// The database fails.
    pub async fn in_memory() -> Result<Self, Failure> {
        Ok(Self { pool: in_memory(&MIGRATIONS).await? })
    }

    /// Adds entries of the log, each with its place. Entries that are there already are left as
    /// they are, so a batch may be repeated.
    ///
    /// # Errors
    /// The database fails, or bytes are no entry; then none of the batch is added.
    pub async fn insert<'e>(&self, entries: &[(u64, &'e [u8])]) -> Result<(), Failure> {
        let mut transaction = self.pool.begin().await?;
        for rows in entries.chunks(ROWS_PER_STATEMENT) {
            let row = |(index, bytes): &(u64, &'e [u8])| -> Result<(i64, Row<'e>), Failure> {
                Ok((COLUMNS.number(*index)?, Row::parse(bytes)?))
            };
            let rows = rows.iter().map(row);
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let mut query = QueryBuilder::new(
                "INSERT INTO entries (log_index, time_ms, kind, agent, server, tool, decision, \
                 decision_id, reason, trace_id, token_jti) ",
            );
            query.push_values(rows, |mut values, (log_index, row)| {
                values.push_bind(log_index).push_bind(row.time_ms).push_bind(row.kind);
                values.push_bind(row.agent).push_bind(row.server).push_bind(row.tool);
                values.push_bind(row.decision).push_bind(row.decision_id).push_bind(row.reason);
                values.push_bind(row.trace_id).push_bind(row.token_jti);
            });
            query.push(" ON CONFLICT (log_index) DO NOTHING");
            query.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The place of the first entry that is not indexed yet.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_index(&self) -> Result<u64, Failure> {
        let (next,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(log_index) + 1, 0) FROM entries")
            .fetch_one(&self.pool)
            .await?;
        COLUMNS.count(next)
    }

    /// Finds the places of entries, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn search(&self, filter: &Filter) -> Result<Vec<u64>, Failure> {
        let mut query = QueryBuilder::new("SELECT log_index FROM entries WHERE 1 = 1");
        let texts = [
            (" AND agent = ", &filter.agent),
            (" AND server = ", &filter.server),
            (" AND tool = ", &filter.tool),
            (" AND kind = ", &filter.kind),
            (" AND decision = ", &filter.decision),
            (" AND reason = ", &filter.reason),
            (" AND trace_id = ", &filter.trace_id),
            (" AND decision_id = ", &filter.decision_id),
            (" AND token_jti = ", &filter.token_jti),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                query.push(condition).push_bind(value);
            }
        }
        let numbers = [
            (" AND time_ms >= ", filter.from_ms),
            (" AND time_ms < ", filter.until_ms),
            (" AND log_index < ", filter.before),
        ];
        for (condition, value) in numbers {
            if let Some(value) = value {
                // What is beyond the range of the column is beyond every entry.
                query.push(condition).push_bind(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        let limit = filter.limit.unwrap_or(HITS_MAX).min(HITS_MAX);
        query.push(" ORDER BY log_index DESC LIMIT ").push_bind(i64::from(limit));
        let rows: Vec<(i64,)> = query.build_query_as().fetch_all(&self.pool).await?;
        rows.into_iter().map(|(place,)| COLUMNS.count(place)).collect()
    }

    /// Forgets everything, before it is made again from the log.
    ///
    /// # Errors
    /// The database fails.
    pub async fn clear(&self) -> Result<(), Failure> {
        sqlx::query("DELETE FROM entries").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes every connection and waits for them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What the table has of an entry. The bytes come from the log, which verified them.
#[derive(Deserialize)]
struct Row<'e> {
    time_ms: i64,
    #[serde(borrow)]
    kind: Cow<'e, str>,
    #[serde(borrow)]
    agent: Option<Cow<'e, str>>,
    #[serde(borrow)]
    server: Option<Cow<'e, str>>,
    #[serde(borrow)]
    tool: Option<Cow<'e, str>>,
    #[serde(borrow)]
    decision: Option<Cow<'e, str>>,
    #[serde(borrow)]
    decision_id: Option<Cow<'e, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'e, str>>,
    #[serde(borrow)]
    trace_id: Option<Cow<'e, str>>,
    #[serde(borrow)]
    token_jti: Option<Cow<'e, str>>,
}

impl<'e> Row<'e> {
    fn parse(bytes: &'e [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes).map_err(|_not_an_entry| Failure::Record { table: COLUMNS.0 })
    }
}

/// A statement is a round trip to the database's thread; 11 parameters a row, of 32,766 at most.
const ROWS_PER_STATEMENT: usize = 256;

#[cfg(test)]
mod tests {
    use attorn_audit::{Decision, Entry, Kind};

    use super::*;

    fn entry(place: u64) -> Entry {
        let odd = place % 2 == 1;
        Entry {
            agent: Some(format!("agt_{}", place % 3)),
            server: Some("srv_a".into()),
            tool: Some("get".into()),
            decision: Some(if odd { Decision::Deny } else { Decision::Permit }),
            decision_id: Some(format!("dec_{place}")),
            reason: odd.then(|| "policy.forbid".to_owned()),
            trace_id: Some(format!("t{}", place / 2)),
            ..Entry::new(Kind::CallDecided, 1000 + place)
        }
    }

    async fn index(size: u64) -> AuditIndex {
        let index = AuditIndex::in_memory().await.unwrap();
        insert(&index, 0..size).await;
        index
    }

    async fn insert(index: &AuditIndex, places: std::ops::Range<u64>) {
        let entries: Vec<_> = places.map(|at| (at, entry(at).to_canonical())).collect();
        let batch: Vec<_> = entries.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        index.insert(&batch).await.unwrap();
    }

    async fn found(index: &AuditIndex, filter: Filter) -> Vec<u64> {
        index.search(&filter).await.unwrap()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[tokio::test]
    async fn filters_narrow() {
        let index = index(6).await;
        let check = async |filter: Filter, expected: &[u64]| {
            assert_eq!(found(&index, filter.clone()).await, expected, "{filter:?}");
        };
        let all = Filter::default();
        check(all.clone(), &[5, 4, 3, 2, 1, 0]).await;
        check(Filter { agent: some("agt_1"), ..all.clone() }, &[4, 1]).await;
        check(Filter { decision: some("deny"), ..all.clone() }, &[5, 3, 1]).await;
        check(Filter { reason: some("policy.forbid"), ..all.clone() }, &[5, 3, 1]).await;
        check(Filter { trace_id: some("t1"), ..all.clone() }, &[3, 2]).await;
        check(Filter { decision_id: some("dec_4"), ..all.clone() }, &[4]).await;
        check(Filter { from_ms: Some(1002), until_ms: Some(1004), ..all.clone() }, &[3, 2]).await;
        check(Filter { kind: some("call.completed"), ..all.clone() }, &[]).await;
        check(Filter { server: some("srv_a"), tool: some("put"), ..all.clone() }, &[]).await;
        check(Filter { agent: some("' OR 1=1 --"), ..all.clone() }, &[]).await;
        check(Filter { from_ms: Some(u64::MAX), ..all }, &[]).await;
    }

    #[tokio::test]
    async fn pages_go_back_in_the_log() {
        let index = index(6).await;
        let page = Filter { limit: Some(2), ..Filter::default() };
        assert_eq!(found(&index, page.clone()).await, [5, 4]);
        assert_eq!(found(&index, Filter { before: Some(4), ..page.clone() }).await, [3, 2]);
        assert!(found(&index, Filter { limit: Some(0), ..page }).await.is_empty());
    }

    #[tokio::test]
    async fn a_batch_may_be_repeated() {
        let index = index(3).await;
        insert(&index, 1..5).await;
        assert_eq!(index.next_index().await.unwrap(), 5);
        assert_eq!(found(&index, Filter::default()).await.len(), 5);
    }

    #[tokio::test]
    async fn the_index_can_be_made_again() {
        let index = index(3).await;
        index.clear().await.unwrap();
        assert_eq!(index.next_index().await.unwrap(), 0);
        insert(&index, 0..1).await;
        assert_eq!(found(&index, Filter::default()).await, [0]);
    }

    #[tokio::test]
    async fn what_is_no_entry_spoils_its_batch() {
        let index = index(0).await;
        let good = entry(0).to_canonical();
        assert!(index.insert(&[(0, &good), (1, b"{}")]).await.is_err());
        assert_eq!(index.next_index().await.unwrap(), 0);
    }
}
