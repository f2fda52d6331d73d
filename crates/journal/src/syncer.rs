//! The syncer thread: makes written batches durable and acknowledges them.
//!
//! It has a thread of its own so that entries which only have to leave the process are not held up
//! by an fsync. While one fsync runs, batches gather for the next: that is the group commit.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::JournalUnavailable;
use crate::disk::Segment;
use crate::integrator::Bell;
use crate::mark::Mark;
use crate::queue::Done;
use crate::shared::Shared;

/// An entry whose caller waits for the fsync.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) index: u64,
    pub(crate) done: Done,
}

/// Where the writer leaves work for the syncer.
#[derive(Debug)]
pub(crate) struct SyncDesk {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug)]
struct State {
    segment: Arc<dyn Segment>,
    /// Entries written.
    written: u64,
    waiting: Vec<Waiting>,
    /// When the oldest entry that nobody waits for must be on the disk.
    deadline: Option<Instant>,
    finished: bool,
}

struct Work {
    segment: Arc<dyn Segment>,
    written: u64,
    waiting: Vec<Waiting>,
}

impl SyncDesk {
    pub(crate) fn new(segment: Arc<dyn Segment>, written: u64) -> Self {
        let state =
            State { segment, written, waiting: Vec::new(), deadline: None, finished: false };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// The writer has written up to `written` entries; `waiting` wants to hear of the fsync, the
    /// rest has `delay`.
    pub(crate) fn wrote(&self, written: u64, waiting: &mut Vec<Waiting>, delay: Duration) {
        let mut state = self.lock();
        state.written = written;
        state.waiting.append(waiting);
        let news = state.deadline.is_none() || !state.waiting.is_empty();
        state.deadline.get_or_insert_with(|| Instant::now() + delay);
        if news {
            self.ready.notify_one();
        }
    }

    /// The writer goes on in another segment. It has synced the old one.
    pub(crate) fn rolled(&self, segment: Arc<dyn Segment>) {
        self.lock().segment = segment;
    }

    /// The writer has ended.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.ready.notify_one();
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            let due = state.deadline.is_some_and(|deadline| deadline <= Instant::now());
            if !state.waiting.is_empty() || due || (state.finished && state.deadline.is_some()) {
                state.deadline = None;
                return Some(Work {
                    segment: Arc::clone(&state.segment),
                    written: state.written,
                    waiting: std::mem::take(&mut state.waiting),
                });
            }
            if state.finished {
                return None;
            }
            let time = state.deadline.map_or(IDLE, |at| at.duration_since(Instant::now()));
            let woken = self.ready.wait_timeout(state, time);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's work until the writer has ended.
pub(crate) fn run(shared: &Shared, mark: &Mark, bell: &Bell) {
    while let Some(Work { segment, written, waiting }) = shared.desk.next() {
        // Crash before this line has done its work: a loss of power may take these entries, and
        // nobody was told that it cannot.
        shared.moments.fsync_begins();
        let synced = if shared.has_failed() { Err(None) } else { segment.sync().map_err(Some) };
        shared.moments.fsync_ended(synced.is_ok().then_some(written));
        match synced {
            Ok(()) => {
                // Crash here: the entries are durable, but nobody knows. They stay.
                if let Err(error) = mark.set(written) {
                    // Weakens the discovery of a cut tail, not the durability of an entry.
                    tracing::warn!(%error, "the durable mark cannot be set");
                }
                shared.size.send_replace(written);
                for Waiting { index, done } in waiting {
                    // The entry stays even if nobody waits for it any more.
                    done.tell(Ok(index));
                }
            }
            Err(error) => {
                if let Some(error) = error {
                    shared.fail("fsync of a segment", &error);
                }
                for Waiting { done, .. } in waiting {
                    done.tell(Err(JournalUnavailable::Failed));
                }
            }
        }
    }
    bell.ring_last();
}

/// How long to sleep when there is nothing to do; any time would do.
const IDLE: Duration = Duration::from_secs(60);
