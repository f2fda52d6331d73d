//! The search index over the log, in its own file: which blocks of the log may hold a term.
//!
//! A block is 256 entries, as many as a tile of the log. For each there is a Bloom filter of
//! everything its entries can be searched by: one small row, where an ordinary index would write a
//! row and eight index entries for every entry, and the call would pay for them. A search reads the
//! filters, newest first, and then the entries of the blocks that may hold all its terms; see
//! [`Filter::holds`] for what decides.
//!
//! It proves nothing: the log is the record, and the index can be thrown away and made again from
//! it. Losing its last blocks in a crash is therefore fine, because indexing goes on at
//! [`AuditIndex::next_index`]. Terms that are each in every block and never in one entry together
//! make a search read the whole log.

use std::borrow::Cow;
use std::path::Path;

use attorn_jose::sha256;
use serde::Deserialize;
use sqlx::AnyPool;

use crate::column::Columns;
use crate::database::{Synchronous, in_memory, open};
use crate::failure::Failure;

const COLUMNS: Columns = Columns("blocks");
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "index", include_str!("../migrations/index/0001_index.sql")),
    (2, "places", include_str!("../migrations/index/0002_places.sql")),
    (3, "blocks", include_str!("../migrations/index/0003_blocks.sql")),
    (4, "downstream", include_str!("../migrations/index/0004_downstream.sql")),
    (120, "subject", include_str!("../migrations/index/0120_subject.sql")),
];

/// Most entries one search returns.
pub const HITS_MAX: u32 = 1000;

/// Entries of one block.
pub const BLOCK: u64 = 256;

/// Filters that one question to the database reads: two mebibytes.
const PAGE: i64 = 1024;

/// Bytes of a filter. A block has about 800 different terms, up to 1100 behind a guard, so
/// that of a thousand blocks one to three are read for nothing.
const FILTER_BYTES: usize = 2048;
const FILTER_BITS: u16 = 16_384;

/// The search index.
#[derive(Clone, Debug)]
pub struct AuditIndex {
    pool: AnyPool,
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
    /// The approval.
    pub approval: Option<String>,
    /// The name that an API gave a request.
    pub downstream_request_id: Option<String>,
    /// The token that was got by exchange.
    pub exchanged_jti: Option<String>,
    /// Whom a token or a change is about.
    pub subject: Option<String>,
}

/// Blocks that may hold what is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// The first entry of each block, newest first.
    pub blocks: Vec<u64>,
    /// Where to go on: blocks before this one; nothing when all were looked at.
    pub before: Option<u64>,
}

impl AuditIndex {
    /// Opens the index at a path, and makes it if it is not there.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { pool: open(path, &MIGRATIONS, Synchronous::Normal).await? })
    }

    /// An index that is gone with the process.
    ///
    /// # Errors
    /// The database fails.
    pub async fn in_memory() -> Result<Self, Failure> {
        Ok(Self { pool: in_memory(&MIGRATIONS).await? })
    }

    /// Adds whole blocks of the log from `first` on, which is the first entry of a block; entries
    /// after the last whole block are left out. Blocks that are there already stay as they are.
    ///
    /// # Errors
    /// The database fails, or bytes are no entry; then no block is added.
    pub async fn insert(&self, first: u64, entries: &[impl AsRef<[u8]>]) -> Result<(), Failure> {
        let mut transaction = self.pool.begin().await?;
        let width = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        for (block, entries) in (first / BLOCK..).zip(entries.chunks_exact(width)) {
            let mut terms = Terms::default();
            for bytes in entries {
                Searchable::parse(bytes.as_ref())?.named().for_each(|term| terms.insert(term));
            }
            let query = "INSERT INTO blocks (first_index, terms) VALUES ($1, $2) \
                         ON CONFLICT (first_index) DO NOTHING";
            sqlx::query(query)
                .bind(COLUMNS.number(block * BLOCK)?)
                .bind(terms.0.as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets the blocks before `first`, which the log does not have any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_before(&self, first: u64) -> Result<(), Failure> {
        let query = "DELETE FROM blocks WHERE first_index < $1";
        sqlx::query(query).bind(COLUMNS.number(first)?).execute(&self.pool).await?;
        Ok(())
    }

    /// The place of the first entry that is not indexed yet.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_index(&self) -> Result<u64, Failure> {
        let last: (Option<i64>,) =
            sqlx::query_as("SELECT MAX(first_index) FROM blocks").fetch_one(&self.pool).await?;
        Ok(COLUMNS.maybe_count(last.0)?.map_or(0, |first| first.saturating_add(BLOCK)))
    }

    /// Looks at some blocks before the given place, newest first. Call it again with what it gives
    /// back to go on.
    ///
    /// # Errors
    /// The database fails, or a filter has another form.
    pub async fn candidates(&self, filter: &Filter, before: u64) -> Result<Candidates, Failure> {
        self.page(filter, before, PAGE).await
    }

    async fn page(&self, filter: &Filter, before: u64, page: i64) -> Result<Candidates, Failure> {
        // What is beyond the range of the column is beyond every block.
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let query = "SELECT first_index, terms FROM blocks WHERE first_index < $1 \
                     ORDER BY first_index DESC LIMIT $2";
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as(query).bind(before).bind(page).fetch_all(&self.pool).await?;
        let wanted: Vec<_> = filter.named().map(bits).collect();
        let mut found = Candidates { blocks: Vec::new(), before: None };
        for (first, terms) in &rows {
            let terms = Terms::parse(terms)?;
            let first = COLUMNS.count(*first)?;
            if wanted.iter().all(|bits| terms.holds(*bits)) {
                found.blocks.push(first);
            }
            found.before = Some(first);
        }
        // A page that is not full was the last.
        found.before = found.before.filter(|_| i64::try_from(rows.len()) == Ok(page));
        Ok(found)
    }

    /// Closes every connection and waits for them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Filter {
    /// Whether an entry of the log has every term.
    ///
    /// # Errors
    /// The bytes are no entry.
    pub fn holds(&self, entry: &[u8]) -> Result<bool, Failure> {
        let entry = Searchable::parse(entry)?;
        let has: Vec<_> = entry.named().collect();
        Ok(self.named().all(|term| has.contains(&term)))
    }

    fn named(&self) -> impl Iterator<Item = (Field, &str)> {
        let text = Option::<String>::as_deref;
        named([
            text(&self.agent),
            text(&self.server),
            text(&self.tool),
            text(&self.kind),
            text(&self.decision),
            text(&self.decision_id),
            text(&self.reason),
            text(&self.trace_id),
            text(&self.token_jti),
            text(&self.approval),
            text(&self.downstream_request_id),
            text(&self.exchanged_jti),
            text(&self.subject),
        ])
    }
}

/// What an entry can be searched by. The bytes come from the log, which verified them.
#[derive(Deserialize)]
struct Searchable<'e> {
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
    #[serde(borrow)]
    approval: Option<Cow<'e, str>>,
    #[serde(borrow)]
    downstream_request_id: Option<Cow<'e, str>>,
    #[serde(borrow)]
    exchanged_jti: Option<Cow<'e, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'e, str>>,
}

impl<'e> Searchable<'e> {
    fn parse(bytes: &'e [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes).map_err(|_not_an_entry| Failure::Record { table: COLUMNS.0 })
    }

    fn named(&self) -> impl Iterator<Item = (Field, &str)> {
        let text = Option::<Cow<'e, str>>::as_deref;
        named([
            text(&self.agent),
            text(&self.server),
            text(&self.tool),
            Some(&self.kind),
            text(&self.decision),
            text(&self.decision_id),
            text(&self.reason),
            text(&self.trace_id),
            text(&self.token_jti),
            text(&self.approval),
            text(&self.downstream_request_id),
            text(&self.exchanged_jti),
            text(&self.subject),
        ])
    }
}

/// Which member of an entry a term is. The number is part of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field(u8);

fn named(values: [Option<&str>; 13]) -> impl Iterator<Item = (Field, &str)> {
    (0_u8..).map(Field).zip(values).filter_map(|(field, value)| Some((field, value?)))
}

/// A Bloom filter of the terms of one block.
struct Terms([u8; FILTER_BYTES]);

impl Default for Terms {
    fn default() -> Self {
        Self([0; FILTER_BYTES])
    }
}

impl Terms {
    fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let bytes = bytes.try_into().map_err(|_| Failure::Record { table: COLUMNS.0 })?;
        Ok(Self(bytes))
    }

    fn insert(&mut self, term: (Field, &str)) {
        for bit in bits(term) {
            if let Some(byte) = self.0.get_mut(usize::from(bit / 8)) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    fn holds(&self, bits: [u16; 4]) -> bool {
        bits.iter().all(|bit| {
            self.0.get(usize::from(bit / 8)).is_some_and(|byte| byte & 1 << (bit % 8) != 0)
        })
    }
}

/// Four bits of a term. A hash that nobody can steer: terms are partly chosen by callers.
fn bits((field, value): (Field, &str)) -> [u16; 4] {
    let hash = sha256(&[&[field.0], value.as_bytes()].concat());
    let mut pairs = hash.chunks_exact(2);
    std::array::from_fn(|_| match pairs.next() {
        Some(&[high, low]) => u16::from_be_bytes([high, low]) % FILTER_BITS,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use attorn_audit::{Decision, Entry, Kind};

    use super::*;

    fn entry(place: u64) -> Entry {
        let odd = place % 2 == 1;
        Entry {
            agent: Some(format!("agt_{}", place / 700)),
            server: Some("srv_a".into()),
            tool: Some("get".into()),
            decision: Some(if odd { Decision::Deny } else { Decision::Permit }),
            decision_id: Some(format!("dec_{place}")),
            reason: odd.then(|| "policy.forbid".to_owned()),
            trace_id: Some(format!("t{}", place / 2)),
            exchanged_jti: Some(format!("x{place}")),
            downstream_request_id: Some(format!("api-{place}")),
            subject: Some(format!("usr_{}", place / 100)),
            ..Entry::new(Kind::CallDecided, 1000 + place)
        }
    }

    fn log(places: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        places.map(|place| entry(place).to_canonical()).collect()
    }

    async fn index(size: u64) -> AuditIndex {
        let index = AuditIndex::in_memory().await.unwrap();
        index.insert(0, &log(0..size)).await.unwrap();
        index
    }

    async fn blocks(index: &AuditIndex, filter: &Filter) -> Vec<u64> {
        index.candidates(filter, u64::MAX).await.unwrap().blocks
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[tokio::test]
    async fn every_term_leads_to_its_block() {
        let index = index(1024).await;
        for place in 0..1024 {
            let block = place / BLOCK * BLOCK;
            let of = entry(place);
            for filter in [
                Filter { decision_id: of.decision_id, ..Filter::default() },
                Filter { trace_id: of.trace_id, agent: of.agent, ..Filter::default() },
                Filter { exchanged_jti: of.exchanged_jti, ..Filter::default() },
                Filter { subject: of.subject, ..Filter::default() },
                Filter { downstream_request_id: of.downstream_request_id, ..Filter::default() },
            ] {
                assert!(blocks(&index, &filter).await.contains(&block), "{filter:?}");
            }
        }
    }

    #[tokio::test]
    async fn terms_that_are_nowhere_lead_almost_nowhere() {
        let index = index(1024).await;
        let mut read_for_nothing = 0;
        for absent in 5000..5200 {
            let filter =
                Filter { decision_id: some(&format!("dec_{absent}")), ..Filter::default() };
            read_for_nothing += blocks(&index, &filter).await.len();
        }
        assert!(read_for_nothing <= 8, "{read_for_nothing} of 800");
        assert!(
            blocks(&index, &Filter { agent: some("' OR 1=1 --"), ..Filter::default() })
                .await
                .is_empty()
        );
        // A value counts as what it is: the tool is no server.
        assert!(
            blocks(&index, &Filter { server: some("get"), ..Filter::default() }).await.is_empty()
        );
    }

    #[tokio::test]
    async fn blocks_come_newest_first_and_only_whole_ones_are_there() {
        let index = index(700).await;
        assert_eq!(index.next_index().await.unwrap(), 512);
        assert_eq!(blocks(&index, &Filter::default()).await, [256, 0]);
        let page = index.candidates(&Filter::default(), 256).await.unwrap();
        assert_eq!(page, Candidates { blocks: vec![0], before: None });
    }

    #[tokio::test]
    async fn pages_go_on_where_they_ended() {
        let index = index(3 * BLOCK).await;
        let page = index.page(&Filter::default(), u64::MAX, 2).await.unwrap();
        assert_eq!(page, Candidates { blocks: vec![512, 256], before: Some(256) });
        let rest = index.page(&Filter::default(), 256, 2).await.unwrap();
        assert_eq!(rest, Candidates { blocks: vec![0], before: None });
    }

    #[tokio::test]
    async fn what_the_log_removed_is_forgotten() {
        let index = index(3 * BLOCK).await;
        index.forget_before(2 * BLOCK).await.unwrap();
        assert_eq!(blocks(&index, &Filter::default()).await, [2 * BLOCK]);
        assert_eq!(index.next_index().await.unwrap(), 3 * BLOCK);
    }

    #[tokio::test]
    async fn blocks_may_be_repeated() {
        let index = index(256).await;
        index.insert(0, &log(0..512)).await.unwrap();
        assert_eq!(index.next_index().await.unwrap(), 512);
        assert_eq!(blocks(&index, &Filter::default()).await, [256, 0]);
    }

    #[tokio::test]
    async fn what_is_no_entry_spoils_its_blocks() {
        let index = index(0).await;
        let mut entries = log(0..512);
        entries[300] = b"{}".to_vec();
        assert!(index.insert(0, &entries).await.is_err());
        assert_eq!(index.next_index().await.unwrap(), 0);
    }

    #[test]
    fn filters_narrow() {
        let bytes = entry(3).to_canonical();
        let holds = |filter: Filter| filter.holds(&bytes).unwrap();
        assert!(holds(Filter::default()));
        assert!(holds(Filter {
            decision: some("deny"),
            trace_id: some("t1"),
            subject: some("usr_0"),
            ..Filter::default()
        }));
        assert!(!holds(Filter { subject: some("usr_1"), ..Filter::default() }));
        assert!(!holds(Filter { decision: some("permit"), ..Filter::default() }));
        assert!(!holds(Filter { kind: some("call.completed"), ..Filter::default() }));
        assert!(!holds(Filter { token_jti: some("t1"), ..Filter::default() }));
        assert!(Filter::default().holds(b"{}").is_err());
    }
}
