//! What an operator sees of a running journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How a journal is, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Durable entries.
    pub entries: u64,
    /// Entries the last checkpoint covers.
    pub covered: u64,
    /// Time since the last checkpoint was signed.
    pub checkpoint_age: Duration,
    /// Time since the oldest durable entry that no checkpoint covers became durable.
    pub waiting: Option<Duration>,
    /// Time since the fsync that runs now began.
    pub fsync_running: Option<Duration>,
    /// Entries that wait to be written.
    pub queued: usize,
    /// Fsyncs that ended.
    pub fsyncs: u64,
    /// Time spent in them.
    pub fsync_time: Duration,
    /// Nothing more is acknowledged until a restart.
    pub failed: bool,
}

/// The moments a [`Status`] is made from. The threads set them once per batch, never per entry.
#[derive(Debug)]
pub(crate) struct Moments {
    state: Mutex<State>,
    fsyncs: AtomicU64,
    fsync_us: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct State {
    signed: Instant,
    // Invariant: both sizes as the two threads last told them, so that neither can undo the other.
    durable: u64,
    covered: u64,
    waiting_since: Option<Instant>,
    fsync_since: Option<Instant>,
}

impl Moments {
    pub(crate) fn new(size: u64) -> Self {
        let state = State {
            signed: Instant::now(),
            durable: size,
            covered: size,
            waiting_since: None,
            fsync_since: None,
        };
        Self { state: Mutex::new(state), fsyncs: AtomicU64::new(0), fsync_us: AtomicU64::new(0) }
    }

    /// An fsync begins.
    pub(crate) fn fsync_begins(&self) {
        self.lock().fsync_since = Some(Instant::now());
    }

    /// It ended; when it went well, `durable` entries are on the disk.
    pub(crate) fn fsync_ended(&self, durable: Option<u64>) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(began) = state.fsync_since.take() {
            let time_us = u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX);
            self.fsyncs.fetch_add(1, Ordering::Relaxed);
            self.fsync_us.fetch_add(time_us, Ordering::Relaxed);
        }
        state.durable = durable.unwrap_or(state.durable);
        if state.durable > state.covered {
            state.waiting_since.get_or_insert(now);
        }
    }

    /// A checkpoint over `covered` entries was signed.
    pub(crate) fn signed(&self, covered: u64) {
        let mut state = self.lock();
        state.signed = Instant::now();
        state.covered = covered;
        // What it does not cover became durable while it was made.
        state.waiting_since = (state.durable > covered).then_some(state.signed);
    }

    /// Signing age, waiting time and running fsync.
    pub(crate) fn read(&self) -> (Duration, Option<Duration>, Option<Duration>) {
        let state = self.lock();
        let since = |at: Option<Instant>| at.map(|at| at.elapsed());
        (state.signed.elapsed(), since(state.waiting_since), since(state.fsync_since))
    }

    /// Number of fsyncs and the time they took.
    pub(crate) fn fsyncs(&self) -> (u64, Duration) {
        let time = Duration::from_micros(self.fsync_us.load(Ordering::Relaxed));
        (self.fsyncs.load(Ordering::Relaxed), time)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_wait_from_their_fsync_to_the_checkpoint_that_covers_them() {
        let moments = Moments::new(7);
        assert_eq!(moments.read().1, None);
        moments.fsync_begins();
        assert!(moments.read().2.is_some());
        moments.fsync_ended(Some(9));
        let (_, waiting, running) = moments.read();
        assert!(waiting.is_some() && running.is_none());
        moments.signed(8);
        assert!(moments.read().1.is_some(), "one entry came while it was made");
        moments.signed(9);
        assert_eq!(moments.read().1, None);
        // The news of an fsync may come after the checkpoint that covers it.
        moments.fsync_begins();
        moments.fsync_ended(Some(9));
        assert_eq!(moments.read().1, None);
        moments.fsync_begins();
        moments.fsync_ended(None);
        assert_eq!(moments.read().1, None);
        assert_eq!(moments.fsyncs().0, 3);
    }
}
