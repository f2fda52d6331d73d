//! Sends the entries of a journal to another system, in their order, none left out.
//!
//! Batches are lines of JSON (`application/x-ndjson`) in a POST, one request at a time. What stands on
//! a line is a [`LineForm`].
//!
//! The journal is the source: nothing waits in memory but one batch, however long the other system is
//! away. What it accepted, with any 2xx, is remembered durably before the next batch. A batch whose
//! answer was lost is sent again exactly as it was, with the same `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-06 section 2), so the other system can drop a repeat by
//! the batch or by the `id` of an entry (`metadata.uid` in OCSF). Nothing is ever skipped: what is refused is sent again.
//!
//! A system that asked for some kinds of entries gets those alone. A batch without any of them is not
//! sent, and counts as accepted.

mod cursor;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attorn_audit::tree::leaf_hash;
use attorn_audit::{Kind, LineForm};
use attorn_journal::{Journal, ReadError};
use attorn_net::{Client, SendError, Shutdown};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use serde::Deserialize;

use self::cursor::Cursor;
pub use self::cursor::{CursorError, shipped};
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
    cursor: Cursor,
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
        let Inner { name, journal, failures, .. } = &*self.0;
        let labels = [("ship", name.as_str())];
        out.sample(&families::SHIP_BEHIND, &labels, journal.size().saturating_sub(self.next()));
        out.sample(&families::SHIP_FAILURES, &labels, failures.count());
    }
}

/// Why a batch was not accepted; it is tried again.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Cursor(#[from] CursorError),
    #[error("the journal cannot be read")]
    Journal(#[from] ReadError),
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
    ) -> Result<Self, CursorError> {
        let origin = journal.checkpoint().checkpoint.origin;
        let first = journal.first();
        let cursor = Cursor::open(&destination.cursor, &origin, first)?;
        let inner = Inner {
            name: destination.name.clone(),
            journal: journal.clone(),
            next: AtomicU64::new(first),
            failures: Counter::default(),
        };
        let shipping = Shipping(Arc::new(inner));
        let mut shipper = Self { destination, journal, client, cursor, is_ours: false, shipping };
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
            self.post(next, end, lines).await?;
        }
        self.cursor.accepted(end, Some(last)).await?;
        self.shipping.0.next.store(end, Ordering::Release);
        Ok(true)
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
        let entries = self.journal.read(next..next.saturating_add(BATCH_ENTRIES_MAX)).await?;
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

    async fn post(&self, first: u64, end: u64, body: Bytes) -> Result<(), ShipError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.destination.url.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        // RFC 8941 section 3.3.3: the origin of a log is printable and has no quotation mark.
        let key = format!("\"{}#{first}-{end}\"", self.cursor.log());
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
