//! Intent before effect, outcome after.
//!
//! Forwarding takes a [`Recorded`] value, and the only way to one is an append to the journal that
//! succeeded. What is true if the process dies:
//! - before the append returns: nothing was forwarded;
//! - between append and outcome: the journal holds a permit without an outcome, which is a finding;
//! - after the outcome was handed over, before it is written: the same finding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use attorn_audit::digest::PayloadKey;
use attorn_audit::{Decision, Entry, Kind, Outcome};
use attorn_journal::{Durability, Journal, JournalUnavailable};
use attorn_net::Clock;
use attorn_payloads::{Part, SealedPayloads};
use attorn_planted::{Bug, is_planted};
use attorn_registry::{Class, ReasonCode};
use tokio::time::Instant;

use crate::sealing::Payload;

/// Writes the journal for an enforcement point. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    clock: Clock,
    key: PayloadKey,
    /// Where there are auditors to seal to.
    payloads: Option<SealedPayloads>,
    noise: Mutex<HashMap<ReasonCode, Window>>,
}

/// A decision whose intent is in the journal. Without one the upstream cannot be called.
///
/// Dropped without [`Recorded::end`] it records that the caller gave up.
#[must_use]
#[derive(Debug)]
pub struct Recorded<P> {
    // Invariant: made by `Recorder::intent` after its append succeeded. Held, not read: it is
    // used up by the request that it permits.
    _permit: P,
    open: Open,
}

/// How a forwarded request ended.
#[derive(Debug)]
pub struct Ending {
    pub outcome: Outcome,
    pub reason: Option<ReasonCode>,
    /// HTTP status of the upstream.
    pub status: Option<u16>,
    /// Digest and size of what was relayed.
    pub result: Option<(String, u64)>,
    /// What was relayed, where it is to be sealed.
    pub payload: Option<Vec<u8>>,
    /// What an API behind a guard told and was told.
    pub access: Option<AccessEnd>,
}

/// What only the end of a request to an API knows.
#[derive(Debug)]
pub struct AccessEnd {
    /// The name that the API gave the request, if it gave one.
    pub request_id: Option<String>,
    /// Bytes of the body that the API was sent.
    pub request_bytes: u64,
    /// Bytes of the body that it answered with.
    pub response_bytes: u64,
}

impl Ending {
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome, reason: None, status: None, result: None, payload: None, access: None }
    }

    /// Whether the upstream answered with a result, be it a tool's own error.
    pub fn is_result(&self) -> bool {
        self.result.is_some()
    }
}

impl Recorder {
    pub fn new(journal: Journal, clock: Clock, key: PayloadKey) -> Self {
        let noise = Mutex::new(HashMap::new());
        Self(Arc::new(Inner { journal, clock, key, payloads: None, noise }))
    }

    /// The same, and what is called with and answered is sealed, where there are auditors.
    pub fn sealing(
        journal: Journal,
        clock: Clock,
        (key, payloads): (PayloadKey, SealedPayloads),
    ) -> Self {
        let payloads = payloads.seals().then_some(payloads);
        Self(Arc::new(Inner { journal, clock, key, payloads, noise: Mutex::new(HashMap::new()) }))
    }

    /// Where arguments and results are sealed, if they are to be.
    pub fn payloads(&self) -> Option<&SealedPayloads> {
        self.0.payloads.as_ref()
    }

    /// Digest of arguments or results; the key stays with the log.
    pub fn digest(&self, payload: &[u8]) -> String {
        self.0.key.digest(payload)
    }

    /// Records that `entry` is about to happen.
    ///
    /// # Errors
    /// [`JournalUnavailable`]: nothing may be forwarded.
    pub async fn intent<P>(
        &self,
        permit: P,
        entry: &mut Entry,
        durability: Durability,
    ) -> Result<Recorded<P>, JournalUnavailable> {
        entry.decision = Some(Decision::Permit);
        entry.time_ms = self.0.clock.now_ms();
        // Armed before the append: a caller that leaves while it runs may leave an intent behind,
        // and that intent then gets its outcome.
        let mut open = Open::new(self.clone(), entry);
        if is_planted(Bug::IntentNotRecorded) {
            return Ok(Recorded { _permit: permit, open });
        }
        match self.0.journal.append(entry.to_canonical(), durability).await {
            Ok(_index) => Ok(Recorded { _permit: permit, open }),
            // It may still be recorded, and then nothing was forwarded under it: it gets an outcome.
            Err(late @ JournalUnavailable::TimedOut) => Err(late),
            Err(_) if is_planted(Bug::JournalFailureIgnored) => {
                Ok(Recorded { _permit: permit, open })
            }
            Err(unavailable) => {
                open.disarm();
                Err(unavailable)
            }
        }
    }

    /// Records a refusal. The refusal stands whether or not this succeeds.
    pub async fn refusal(&self, mut entry: Entry, reason: ReasonCode) {
        entry.decision = Some(Decision::Deny);
        entry.reason = Some(reason.as_str().to_owned());
        entry.time_ms = self.0.clock.now_ms();
        // Before a key is proven anybody can cause entries: beyond a rate they are counted only.
        // The same goes for a caller that is told to slow down and does not.
        if entry.proof_key.is_none() || reason == ReasonCode::RateLimited {
            match self.admit(reason, entry.time_ms / 1000) {
                Some(0) => {}
                Some(suppressed) => {
                    entry.detail.insert("suppressed".to_owned(), suppressed.to_string());
                }
                None => return,
            }
        }
        self.write(entry, Durability::Written).await;
    }

    /// Records something that was noticed and changes nothing. Does not wait.
    pub fn event(&self, entry: &Entry) {
        if let Err(error) = self.0.journal.append_unawaited(entry.to_canonical()) {
            tracing::error!(kind = %entry.kind, %error, "an event could not be recorded");
        }
    }

    async fn write(&self, entry: Entry, durability: Durability) {
        let (kind, id) = (entry.kind, entry.decision_id.clone());
        if let Err(error) = self.0.journal.append(entry.to_canonical(), durability).await {
            tracing::error!(%kind, decision_id = id, %error, "an entry could not be recorded");
        }
    }

    /// Writes an outcome. Does not wait.
    fn outcome(&self, entry: &Entry) {
        if let Err(error) = self.0.journal.append_unawaited(entry.to_canonical()) {
            let id = entry.decision_id.as_deref();
            tracing::error!(decision_id = id, %error, "an outcome could not be recorded");
        }
    }

    /// Seals a result and writes the outcome that names it. Blocks. The call was made: an outcome is
    /// written also when its result cannot be sealed, and says so.
    fn outcome_of(&self, mut entry: Entry, payload: Payload) {
        let sealed = self.payloads().map(|payloads| payload.seal(payloads));
        let seal = match sealed {
            Some(Ok(seal)) => seal.to_string(),
            Some(Err(error)) => {
                tracing::error!(%error, "a result could not be sealed");
                "failed".to_owned()
            }
            None => return self.outcome(&entry),
        };
        entry.detail.insert("result_sealed".to_owned(), seal);
        self.outcome(&entry);
    }

    /// Whether one more anonymous refusal of this kind is written out, and how many were not.
    fn admit(&self, reason: ReasonCode, now_s: u64) -> Option<u64> {
        let mut noise = self.0.noise.lock().unwrap_or_else(PoisonError::into_inner);
        let window = noise.entry(reason).or_default();
        if window.second != now_s {
            *window = Window { second: now_s, written: 0, suppressed: window.suppressed };
        }
        if window.written >= ANONYMOUS_PER_SECOND_MAX {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

impl<P> Recorded<P> {
    /// Records how it ended. Does not wait: the answer is not held up by its own record.
    pub fn end(mut self, ending: Ending) {
        self.open.end(ending);
    }
}

/// How safe an intent must be before its effect (design: durability by class).
pub fn durability(class: Class) -> Durability {
    match class {
        Class::Read => Durability::Written,
        Class::Write | Class::Irreversible if is_planted(Bug::FsyncSkipped) => Durability::Written,
        Class::Write | Class::Irreversible => Durability::Fsync,
    }
}

/// An intent that has no outcome yet.
#[derive(Debug)]
struct Open {
    recorder: Recorder,
    // Invariant: `Some` until the outcome was handed over.
    entry: Option<Box<Entry>>,
    /// Whose result it is, where results are sealed.
    subject: Option<String>,
    started: Instant,
}

impl Open {
    fn new(recorder: Recorder, intent: &Entry) -> Self {
        let mut entry = Entry::new(Kind::CallCompleted, intent.time_ms);
        entry.agent.clone_from(&intent.agent);
        entry.approval.clone_from(&intent.approval);
        entry.decision_id.clone_from(&intent.decision_id);
        entry.downstream_resource.clone_from(&intent.downstream_resource);
        entry.method.clone_from(&intent.method);
        entry.role.clone_from(&intent.role);
        entry.server.clone_from(&intent.server);
        entry.tool.clone_from(&intent.tool);
        entry.trace_id.clone_from(&intent.trace_id);
        let subject = recorder.payloads().and_then(|_| intent.subject.clone());
        Self { recorder, entry: Some(Box::new(entry)), subject, started: Instant::now() }
    }

    fn disarm(&mut self) {
        self.entry = None;
    }

    fn end(&mut self, ending: Ending) {
        let Some(mut entry) = self.entry.take() else { return };
        entry.outcome = Some(ending.outcome);
        entry.reason = ending.reason.map(|reason| reason.as_str().to_owned());
        entry.downstream_status = ending.status.map(|status| status.to_string());
        if let Some((digest, bytes)) = ending.result {
            entry.result_digest = Some(digest);
            entry.result_bytes = Some(bytes);
        }
        if let Some(end) = ending.access {
            entry.arguments_bytes = Some(end.request_bytes);
            entry.downstream_request_id = end.request_id;
            entry.result_bytes = Some(end.response_bytes);
        }
        entry.duration_us = u64::try_from(self.started.elapsed().as_micros()).ok();
        entry.time_ms = self.recorder.0.clock.now_ms();
        let recorder = self.recorder.clone();
        match (ending.payload, self.subject.take()) {
            (Some(bytes), Some(subject)) => {
                let payload = Payload {
                    decision_id: entry.decision_id.clone().unwrap_or_default(),
                    subject,
                    part: Part::Result,
                    bytes,
                    now_s: entry.time_ms / 1000,
                    durable: false,
                };
                drop(tokio::task::spawn_blocking(move || recorder.outcome_of(*entry, payload)));
            }
            (None, _) | (_, None) => recorder.outcome(&entry),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(Ending::new(Outcome::Cancelled));
    }
}

/// Anonymous refusals of one reason within one second.
#[derive(Debug, Default)]
struct Window {
    second: u64,
    written: u32,
    suppressed: u64,
}

const ANONYMOUS_PER_SECOND_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use attorn_audit::note::NoteSigner;

    use super::*;

    /// An intent whose append came too late may be in the journal all the same.
    #[tokio::test]
    async fn an_intent_that_was_given_up_has_an_outcome() {
        let folder = std::env::temp_dir().join(format!("attorn-record-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let signer = NoteSigner::from_seed("test/gateway/1", &[3; 32]).unwrap();
        let mut config = attorn_journal::Config::new(&folder, "test/gateway/1");
        config.append_timeout_ms = 0;
        let (journal, _) = Journal::open(config, signer).unwrap();
        let mut size = journal.subscribe();
        let clock = Clock::new(|| 1_800_000_000_000);
        let recorder = Recorder::new(journal.clone(), clock, PayloadKey::new(&[4; 32]));
        let mut entry = Entry::new(Kind::CallDecided, 0);
        drop(recorder.intent((), &mut entry, Durability::Fsync).await);
        size.wait_for(|size| *size >= 2).await.unwrap();
        let entries = journal.read(0..2).await.unwrap();
        let outcome = Entry::parse(&entries[1]).unwrap();
        assert_eq!(
            (outcome.kind, outcome.outcome),
            (Kind::CallCompleted, Some(Outcome::Cancelled))
        );
        drop(std::fs::remove_dir_all(&folder));
    }
}
