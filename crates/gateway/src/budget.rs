//! Calls that a grant or a token allows a number of (RFC 9396 details with `max_calls`).
//!
//! Counted before the intent is recorded, so that a call that was not counted is never forwarded.
//! The counts live in memory; what earlier processes forwarded is read back from the journal, by
//! the entries that say they were counted. Until that is done, and whenever it fails, such calls
//! are refused. Calls that nobody counts pay nothing. Entries that retention removes are added up
//! before, see [`Carried`], and the sums stand in the journal's tombstone.
//!
//! Not here: counts shared by several gateways. Each node counts what it forwards itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attorn_audit::{Decision, Entry, Kind};
use attorn_journal::{Durability, Journal, ReadError, SignedTombstone};
use attorn_oauth::access_token::LIFETIME_MAX_S;
use attorn_policy::Permit;
use attorn_registry::ReasonCode;
use tokio::sync::OnceCell;

use crate::exchange::Exchange;
use crate::record::durability;
use crate::refusal::{DecisionRefusal, Refusal};

/// The counts of this node.
#[derive(Clone, Debug)]
pub(crate) struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    counts: OnceCell<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Calls by grant and tool: they count for as long as the grant lives.
    by_grant: HashMap<String, u64>,
    /// Calls by token and tool, with the second until which the token can be used.
    by_token: HashMap<String, (u64, u64)>,
}

/// One call and what it counts for.
struct Counted<'a> {
    tool: &'a str,
    grant: Option<(&'a str, u64)>,
    token: Option<(&'a str, u64)>,
    now_s: u64,
}

/// What entries that retention removes still count for: calls of grants that allow a number of them.
#[derive(Debug, Default)]
pub struct Carried(Counts);

impl Carried {
    /// Goes on from what an earlier tombstone carries; `None` if it is of another form.
    #[must_use]
    pub fn read(lines: &[String]) -> Option<Self> {
        let pairs = lines.iter().map(|line| serde_json::from_str::<(String, u64)>(line).ok());
        let by_grant = pairs.collect::<Option<_>>()?;
        Some(Self(Counts { by_grant, ..Counts::default() }))
    }

    /// Adds an entry that is about to be removed.
    pub fn add(&mut self, entry: &[u8]) {
        // Whatever token it was, it has ended long ago.
        self.0.add(entry, u64::MAX);
    }

    /// The sums, one a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let pairs: BTreeMap<_, _> = self.0.by_grant.iter().collect();
        pairs.iter().map(|pair| serde_json::json!(pair).to_string()).collect()
    }
}

/// Why a call is not counted, and so not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotCounted {
    /// All calls were made.
    UsedUp,
    /// What was forwarded before is not known.
    Unknown,
}

impl Budgets {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Arc::new(Inner { journal, counts: OnceCell::new() }))
    }

    async fn count(&self, call: &Counted<'_>) -> Result<(), NotCounted> {
        if self.0.counts.get().is_none() {
            self.read_back(call.now_s).await?;
        }
        let counts = self.0.counts.get().ok_or(NotCounted::Unknown)?;
        counts.lock().unwrap_or_else(PoisonError::into_inner).take(call)
    }

    /// Reads the journal in a task of its own: a caller that gives up does not start it anew.
    async fn read_back(&self, now_s: u64) -> Result<(), NotCounted> {
        let inner = Arc::clone(&self.0);
        let reading = tokio::spawn(async move {
            let read = inner.counts.get_or_try_init(|| read_back(&inner.journal, now_s)).await;
            read.map(|_counts| ()).inspect_err(|error| {
                tracing::error!(%error, "the calls made before cannot be counted");
            })
        });
        match tokio::time::timeout(READ_WITHIN, reading).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(NotCounted::Unknown),
        }
    }
}

async fn read_back(journal: &Journal, now_s: u64) -> Result<Mutex<Counts>, ReadError> {
    let size = journal.size();
    let (mut counts, mut at) = (Counts::default(), 0);
    if let Some(SignedTombstone { tombstone, .. }) = journal.tombstone() {
        counts = Carried::read(&tombstone.carried).ok_or(ReadError::Tombstone)?.0;
        at = tombstone.end;
    }
    while at < size {
        let until = size.min(at + ENTRIES_AT_ONCE);
        for bytes in journal.read(at..until).await? {
            counts.add(&bytes, now_s);
        }
        at = until;
    }
    Ok(Mutex::new(counts))
}

impl Counts {
    /// Counts a call for grant and token, or for neither.
    fn take(&mut self, call: &Counted<'_>) -> Result<(), NotCounted> {
        if self.by_token.len() >= TOKENS_MAX {
            self.by_token.retain(|_, (_, until_s)| *until_s > call.now_s);
        }
        let of_token = |(jti, _): (&str, u64)| key(jti, call.tool);
        let grant = call.grant.map(|(id, max)| (key(id, call.tool), max));
        let token = call.token.map(|token| (of_token(token), token.1));
        let grant_used = grant.as_ref().and_then(|(key, _)| self.by_grant.get(key).copied());
        let token_used = token.as_ref().and_then(|(key, _)| self.by_token.get(key));
        let token_used = token_used.map(|(used, _)| *used);
        let is_left = |limit: &Option<(String, u64)>, used: Option<u64>| {
            limit.as_ref().is_none_or(|(_, max)| used.unwrap_or_default() < *max)
        };
        // Full of tokens that all can still be used: forgetting one would give its calls back.
        let has_room = token_used.is_some() || self.by_token.len() < TOKENS_MAX;
        if !is_left(&grant, grant_used) || !is_left(&token, token_used) || !has_room {
            return Err(NotCounted::UsedUp);
        }
        if let Some((key, _)) = grant {
            *self.by_grant.entry(key).or_default() += 1;
        }
        if let Some((key, _)) = token {
            let until_s = call.now_s.saturating_add(LIFETIME_MAX_S);
            self.by_token.entry(key).or_insert((0, until_s)).0 += 1;
        }
        Ok(())
    }

    /// Adds an entry of the journal, if it is a counted call.
    fn add(&mut self, bytes: &[u8], now_s: u64) {
        // Most entries are none; looking for the word is cheaper than reading them.
        if !std::str::from_utf8(bytes).is_ok_and(|text| text.contains(MARK)) {
            return;
        }
        let Ok(entry) = Entry::parse(bytes) else { return };
        let is_permit = entry.decision == Some(Decision::Permit);
        let Some(counted) = entry.detail.get(MARK) else { return };
        if entry.kind != Kind::CallDecided || !is_permit {
            return;
        }
        let tool = entry.tool.as_deref().unwrap_or_default();
        let of = |what: &str| counted.split(' ').any(|word| word == what);
        if let Some(grant) = entry.grant.as_deref().filter(|_| of(GRANT)) {
            *self.by_grant.entry(key(grant, tool)).or_default() += 1;
        }
        let until_s = (entry.time_ms / 1000).saturating_add(LIFETIME_MAX_S);
        if let Some(jti) = entry.token_jti.as_deref().filter(|_| of(TOKEN) && until_s > now_s) {
            self.by_token.entry(key(jti, tool)).or_insert((0, until_s)).0 += 1;
        }
    }
}

impl Exchange {
    /// Counts a permitted call where grant or token allow a number of them, and says how safe its
    /// record has to be: a counted call must not be forgotten.
    pub(crate) async fn count_call(&mut self, permit: &Permit) -> Result<Durability, Refusal> {
        let counted = permit.counted();
        if counted.is_empty() {
            // What was approved is made once: its record must not be forgotten either.
            let is_approved = permit.approval().is_some();
            let class = durability(permit.class());
            return Ok(if is_approved { Durability::Fsync } else { class });
        }
        let budgets = self.gateway.budgets.clone();
        let token_jti = self.entry.token_jti.as_deref().unwrap_or_default();
        let call = Counted {
            tool: self.entry.tool.as_deref().unwrap_or_default(),
            grant: permit.grant().zip(counted.grant_max).map(|(id, max)| (id.as_str(), max)),
            token: counted.token_max.map(|max| (token_jti, max)),
            now_s: self.now_s,
        };
        let what = [call.grant.map(|_| GRANT), call.token.map(|_| TOKEN)];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join(" ");
        match budgets.count(&call).await {
            Ok(()) => {
                self.entry.detail.insert(MARK.to_owned(), what);
                Ok(Durability::Fsync)
            }
            Err(NotCounted::UsedUp) => {
                Err(DecisionRefusal::ToldOfCall(ReasonCode::ConstraintViolated).into())
            }
            Err(NotCounted::Unknown) => Err(Refusal::JournalUnavailable),
        }
    }
}

/// Neither kind of identifier holds a `/`.
fn key(id: &str, tool: &str) -> String {
    format!("{id}/{tool}")
}

/// The member of an entry that says what its call was counted for.
const MARK: &str = "counted_for";
const GRANT: &str = "grant";
const TOKEN: &str = "token";
const ENTRIES_AT_ONCE: u64 = 1024;
const READ_WITHIN: Duration = Duration::from_secs(5);
const TOKENS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(grant: Option<(&'a str, u64)>, token: Option<(&'a str, u64)>) -> Counted<'a> {
        Counted { tool: "pay", grant, token, now_s: 1000 }
    }

    #[test]
    fn calls_are_counted_for_grant_and_token() {
        let mut counts = Counts::default();
        let both = call(Some(("grt_1", 2)), Some(("t1", 1)));
        assert_eq!(counts.take(&both), Ok(()));
        assert_eq!(counts.take(&both), Err(NotCounted::UsedUp));
        assert_eq!(counts.take(&call(Some(("grt_1", 2)), Some(("t2", 1)))), Ok(()));
        assert_eq!(counts.take(&call(Some(("grt_1", 2)), None)), Err(NotCounted::UsedUp));
        assert_eq!(counts.take(&call(Some(("grt_2", 1)), None)), Ok(()));
        let other = Counted { tool: "get", ..call(Some(("grt_1", 2)), None) };
        assert_eq!(counts.take(&other), Ok(()));
    }

    fn entry(jti: &str, counted: &str, time_ms: u64) -> Entry {
        let mut entry = Entry::new(Kind::CallDecided, time_ms);
        entry.decision = Some(Decision::Permit);
        entry.grant = Some("grt_1".to_owned());
        entry.token_jti = Some(jti.to_owned());
        entry.tool = Some("pay".to_owned());
        entry.detail.insert(MARK.to_owned(), counted.to_owned());
        entry
    }

    #[test]
    fn what_was_forwarded_before_is_read_back() {
        let mut counts = Counts::default();
        let denied =
            Entry { decision: Some(Decision::Deny), ..entry("t1", "grant token", 999_000) };
        let mut plain = entry("t1", "", 999_000);
        plain.detail.clear();
        for entry in [entry("t1", "grant token", 999_000), denied, plain, entry("old", "token", 1)]
        {
            counts.add(&entry.to_canonical(), 1000);
        }
        assert_eq!(counts.by_grant, HashMap::from([("grt_1/pay".to_owned(), 1)]));
        assert_eq!(counts.by_token.keys().collect::<Vec<_>>(), ["t1/pay"]);
        assert_eq!(counts.take(&call(None, Some(("t1", 1)))), Err(NotCounted::UsedUp));
    }

    #[test]
    fn what_is_removed_counts_on() {
        let mut first = Carried::default();
        for entry in [entry("t1", "grant token", 1), entry("t1", "token", 1)] {
            first.add(&entry.to_canonical());
        }
        let mut second = Carried::read(&first.lines()).unwrap();
        second.add(&entry("t2", "grant", 2).to_canonical());
        assert_eq!(second.lines(), [r#"["grt_1/pay",2]"#]);
        let mut counts = Carried::read(&second.lines()).unwrap().0;
        assert_eq!(counts.take(&call(Some(("grt_1", 3)), None)), Ok(()));
        assert_eq!(counts.take(&call(Some(("grt_1", 3)), None)), Err(NotCounted::UsedUp));
        assert!(Carried::read(&["grt_1/pay 2".to_owned()]).is_none());
    }

    #[test]
    fn a_full_memory_gives_no_calls_back() {
        let mut counts = Counts::default();
        let fill = |until_s| (0..TOKENS_MAX).map(move |n| (format!("t{n}/pay"), (1, until_s)));
        counts.by_token.extend(fill(2000));
        assert_eq!(counts.take(&call(None, Some(("new", 1)))), Err(NotCounted::UsedUp));
        counts.by_token.extend(fill(900));
        assert_eq!(counts.take(&call(None, Some(("new", 1)))), Ok(()));
    }
}
