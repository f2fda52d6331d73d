//! Sends the entries of a journal to another system, in their order, none left out.
//!
//! Batches are lines of JSON (`application/x-ndjson`) in a POST, one request at a time. What stands on
//! a line is a [`LineForm`].
//!
//! The journal is the source: nothing waits in memory but one batch, however long the other system is
//! away. What it accepted, with any 2xx, is remembered durably before the next batch. A batch whose
//! answer was lost is sent again exactly as it was, with the same `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-06 section 2), so the other system can drop a repeat by
//! the batch or by the `id` of an entry (`metadata.uid` in OCSF).
//!
//! What is refused is sent again, and nothing is skipped. An entry that the other system refuses for
//! what is in it would keep all that follows from it, for ever: [`patience`] finds it, and a line
//! stands in its place that names it and has nothing of what it says. Only if that line is accepted
//! does the entry count as refused, and then the journal says so.
//!
//! A system that asked for some kinds of entries gets those alone. A batch without any of them is not
//! sent, and counts as accepted.

mod cursor;
mod patience;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attorn_audit::tree::{Hash, leaf_hash};
use attorn_audit::{Entry, Kind, LineForm, Outcome};
use attorn_journal::{Durability, Journal, JournalUnavailable, ReadError};
use attorn_net::{Client, Clock, SendError, Shutdown};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use tokio::time::Instant;

use self::cursor::Cursor;
pub use self::cursor::{CursorError, shipped};
use self::patience::{Next, Patience};
use crate::catalogue::families;
use crate::exposition::Exposition;
use crate::metric::Counter;

/// Where entries go.
#[derive(Debug)]
pub struct Destination {
    /// Names it in metrics and in the log of the process.
    pub name: String,
    /// Where batches are posted.
    pub url: Uri,
    /// The value of the `Authorization` header.
    pub authorization: Option<HeaderValue>,
    /// What stands on the line of an entry.
    pub form: LineForm,
    /// The kinds of entries that are sent; all of them where none is named.
    pub kinds: BTreeSet<Kind>,
    /// The file that remembers what was accepted.
    pub cursor: PathBuf,
}

/// Sends entries until it is stopped.
#[derive(Debug)]
pub struct Shipper {
    destination: Destination,
    journal: Journal,
    client: Client,
    clock: Clock,
    cursor: Cursor,
    patience: Patience,
    /// Whether the cursor was found to be one of this journal.
    is_ours: bool,
    shipping: Shipping,
}

/// How far a [`Shipper`] got. Clones tell of the same.
#[derive(Clone, Debug)]
pub struct Shipping(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    journal: Journal,
    next: AtomicU64,
    failures: Counter,
    refused: Counter,
}

impl Shipping {
    /// The first entry that the other system has not accepted; it must not be removed. The first
    /// one of the journal while the cursor is not known to be of this journal.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.next.load(Ordering::Acquire)
    }

    /// Tells its numbers.
    pub fn collect(&self, out: &mut Exposition) {
        let Inner { name, journal, failures, refused, .. } = &*self.0;
        let labels = [("ship", name.as_str())];
        out.sample(&families::SHIP_BEHIND, &labels, journal.size().saturating_sub(self.next()));
        out.sample(&families::SHIP_FAILURES, &labels, failures.count());
        out.sample(&families::SHIP_REFUSED, &labels, refused.count());
    }
}

/// Why a batch was not accepted; it is tried again.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Cursor(#[from] CursorError),
    #[error("the journal cannot be read")]
    Journal(#[from] ReadError),
    #[error("it cannot be recorded that an entry is refused")]
    NotRecorded(#[from] JournalUnavailable),
    #[error("what was accepted before is not what this journal holds: is it from a backup?")]
    OtherJournal,
    #[error("answered with {0}")]
    Refused(StatusCode),
    #[error("no answer")]
    Send(#[from] SendError),
}

impl Shipper {
    /// Goes on where the cursor says; without one from the first entry that the journal has. A
    /// cursor of another journal is no error here: nothing is sent, and each attempt is a failure.
    ///
    /// # Errors
    /// The cursor's file cannot be used.
    pub async fn new(
        destination: Destination,
        journal: Journal,
        client: Client,
        clock: Clock,
    ) -> Result<Self, CursorError> {
        let origin = journal.checkpoint().checkpoint.origin;
        let first = journal.first();
        let cursor = Cursor::open(&destination.cursor, &origin, first)?;
        let inner = Inner {
            name: destination.name.clone(),
            journal: journal.clone(),
            next: AtomicU64::new(first),
            failures: Counter::default(),
            refused: Counter::default(),
        };
        let shipping = Shipping(Arc::new(inner));
        let (patience, is_ours) = (Patience::default(), false);
        let mut shipper =
            Self { destination, journal, client, clock, cursor, patience, is_ours, shipping };
        // What is wrong is found again by the first step, which is counted and told.
        drop(shipper.compare().await);
        Ok(shipper)
    }

    /// How far it got, now and later.
    #[must_use]
    pub fn shipping(&self) -> Shipping {
        self.shipping.clone()
    }

    /// Sends until the shutdown. What is not accepted by then is sent after the next start.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut size = self.journal.subscribe();
        let mut pause = PAUSE_MIN;
        loop {
            let step = tokio::select! {
                // Cut off anywhere, as by a crash.
                () = shutdown.started() => return,
                step = self.step() => step,
            };
            let wait = match step {
                Ok(true) => {
                    pause = PAUSE_MIN;
                    Duration::ZERO
                }
                Ok(false) => {
                    pause = PAUSE_MIN;
                    tokio::select! {
                        () = shutdown.started() => return,
                        grown = size.changed() => if grown.is_err() { return },
                    }
                    // A moment later there is more to send together.
                    GATHER
                }
                Err(error) => {
                    self.shipping.0.failures.add_one();
                    let (ship, next) = (&self.destination.name, self.cursor.next());
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(ship, next, error, "entries of the journal are not accepted");
                    let longer = PAUSE_MAX.min(pause * 2);
                    std::mem::replace(&mut pause, longer)
                }
            };
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One batch; `false` if there is nothing to send.
    async fn step(&mut self) -> Result<bool, ShipError> {
        self.compare().await?;
        let next = self.cursor.next();
        let end = match self.cursor.sending() {
            Some(end) => end,
            None => self.size_of_batch(next).await?,
        };
        if end <= next {
            return Ok(false);
        }
        let entries = self.journal.read(next..end).await?;
        let Some(last) = entries.last().map(|entry| leaf_hash(entry)) else { return Ok(false) };
        let lines = self.lines(next, &entries);
        if !lines.is_empty() {
            // Crash from here on: the same batch is sent again.
            self.cursor.begin(end, last).await?;
            match self.post(&format!("{next}-{end}"), lines).await {
                Err(ShipError::Refused(status)) if Patience::is_about_content(status) => {
                    return self.refused(&entries, status).await;
                }
                posted => posted?,
            }
        }
        self.patience.note_acceptance();
        self.accepted(end, last).await
    }

    async fn accepted(&mut self, end: u64, last: Hash) -> Result<bool, ShipError> {
        self.cursor.accepted(end, Some(last)).await?;
        self.shipping.0.next.store(end, Ordering::Release);
        Ok(true)
    }

    /// What becomes of a batch that is refused, maybe for what is in it.
    async fn refused(&mut self, entries: &[Bytes], status: StatusCode) -> Result<bool, ShipError> {
        let next = self.cursor.next();
        let batch = next..next + u64::try_from(entries.len()).unwrap_or(0);
        let half = match self.patience.note_refusal(batch, Instant::now()) {
            Next::Again => return Err(ShipError::Refused(status)),
            Next::Alone => return self.leave_out(next, entries, status).await,
            Next::Half(end) => end,
        };
        self.shipping.0.failures.add_one();
        let kept = usize::try_from(half - next).unwrap_or(0).checked_sub(1);
        let last = kept.and_then(|at| entries.get(at)).map(|entry| leaf_hash(entry));
        // Also the next process sends no more than this half.
        match last {
            Some(last) => self.cursor.begin(half, last).await?,
            None => return Err(ShipError::Refused(status)),
        }
        Ok(true)
    }

    /// Sends a line in place of the one entry that is refused. Where that is refused as well it is not
    /// the entry: both are sent again, the entry first.
    async fn leave_out(
        &mut self,
        index: u64,
        entries: &[Bytes],
        status: StatusCode,
    ) -> Result<bool, ShipError> {
        let Some(entry) = entries.first() else { return Err(ShipError::Refused(status)) };
        let (mut line, code) = (Vec::new(), status.as_u16());
        self.destination.form.push_refused((self.cursor.log(), index), entry, code, &mut line);
        // Other bytes than those of the entry, so another key.
        let key = format!("{index}-{}-refused-{code}", index + 1);
        self.post(&key, line.into()).await?;
        // Dies from here on, or fails: both are sent again, under the keys that they had.
        self.record_refused(index, entry, status).await?;
        let Inner { failures, refused, .. } = &*self.shipping.0;
        failures.add_one();
        refused.add_one();
        self.patience.note_parted(Instant::now());
        self.accepted(index + 1, leaf_hash(entry)).await
    }

    async fn record_refused(
        &self,
        index: u64,
        refused: &[u8],
        status: StatusCode,
    ) -> Result<(), ShipError> {
        let ship = self.destination.name.as_str();
        tracing::warn!(ship, index, %status, "an entry of the journal is refused, and left out");
        // Of an entry that tells of this there is none: a system that refuses those would get one for
        // each of them, for ever.
        if Entry::parse(refused).is_ok_and(|entry| entry.kind == Kind::JournalShipping) {
            return Ok(());
        }
        let mut entry = Entry::new(Kind::JournalShipping, self.clock.now_ms());
        entry.by = Some("attorn".to_owned());
        entry.outcome = Some(Outcome::UpstreamError);
        entry.downstream_status = Some(status.as_u16().to_string());
        let facts = [
            ("ship", ship.to_owned()),
            ("refused", index.to_string()),
            ("leaf_hash", leaf_hash(refused).to_base64()),
        ];
        entry.detail.extend(facts.map(|(name, value)| (name.to_owned(), value)));
        self.journal.append(entry.to_canonical(), Durability::Fsync).await?;
        Ok(())
    }

    /// Once: whether the cursor is of this journal. One from a backup would otherwise be sent with
    /// a gap, with another past, or with other entries under the key of a batch that was sent
    /// before; and what was never sent would count as accepted.
    async fn compare(&mut self) -> Result<(), ShipError> {
        if self.is_ours {
            return Ok(());
        }
        if !self.cursor.is_of(&self.journal).await? {
            return Err(ShipError::OtherJournal);
        }
        let (next, first) = (self.cursor.next(), self.journal.first());
        if next < first {
            tracing::error!(next, first, "entries were removed before they were shipped");
            self.cursor.accepted(first, None).await?;
        }
        self.is_ours = true;
        self.shipping.0.next.store(self.cursor.next(), Ordering::Release);
        Ok(())
    }

    /// Where the batch that begins with `next` ends.
    async fn size_of_batch(&self, next: u64) -> Result<u64, ReadError> {
        let most = next.saturating_add(self.patience.entries_max());
        let entries = self.journal.read(next..most).await?;
        let (mut bytes, form) = (0, self.destination.form);
        let fit = entries.iter().take_while(|entry| {
            // An entry has at most 64 KiB: the first one always fits.
            bytes += form.weight(entry.len());
            bytes <= BATCH_BYTES
        });
        Ok(next + u64::try_from(fit.count()).unwrap_or(0))
    }

    fn lines(&self, first: u64, entries: &[Bytes]) -> Bytes {
        let log = self.cursor.log();
        let mut body = Vec::new();
        for (index, entry) in (first..).zip(entries) {
            if self.wants(entry) {
                self.destination.form.push((log, index), entry, &mut body);
            }
        }
        body.into()
    }

    /// An entry whose kind is not known here is sent to everybody.
    fn wants(&self, entry: &[u8]) -> bool {
        let kinds = &self.destination.kinds;
        kinds.is_empty()
            || serde_json::from_slice::<OnlyKind>(entry).map_or(true, |it| kinds.contains(&it.kind))
    }

    /// `part` names the lines among all of this log: other lines have another one.
    async fn post(&self, part: &str, body: Bytes) -> Result<(), ShipError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.destination.url.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        // RFC 8941 section 3.3.3: the origin of a log is printable and has no quotation mark.
        let key = format!("\"{}#{part}\"", self.cursor.log());
        if let Ok(key) = HeaderValue::from_str(&key) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        headers.extend(self.destination.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let answer = self.client.send_within(request, ANSWER_WITHIN).await?;
        let status = answer.status();
        // Read, so that the connection can be used again; what it says does not matter.
        drop(answer.into_body().bytes(ANSWER_BYTES_MAX).await);
        // RFC 9110 section 15.3: any 2xx is an acceptance; a redirect is not followed.
        if status.is_success() { Ok(()) } else { Err(ShipError::Refused(status)) }
    }
}

/// Of an entry, what decides whether it is sent.
#[derive(Deserialize)]
struct OnlyKind {
    kind: Kind,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const BATCH_ENTRIES_MAX: u64 = 512;
const BATCH_BYTES: usize = 512 << 10;
const GATHER: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
