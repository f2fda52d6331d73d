//! The bounded queue in front of the writer.
//!
//! Back-pressure is an error value: a full queue refuses, it never drops and never waits. Some
//! places are kept free for entries that take rights away.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{Durability, JournalUnavailable};

/// An entry that waits for the writer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) entry: Vec<u8>,
    pub(crate) durability: Durability,
    pub(crate) urgency: Urgency,
    pub(crate) done: Done,
}

/// Who is told what became of an entry.
#[derive(Debug)]
pub(crate) enum Done {
    /// Nobody: it tells what has happened already. A failure goes to the log of the process.
    Untold,
    Told(oneshot::Sender<Result<u64, JournalUnavailable>>),
}

impl Done {
    pub(crate) fn tell(self, result: Result<u64, JournalUnavailable>) {
        match (self, result) {
            // Nobody waits any more if the caller gave up: then there is nobody to tell.
            (Self::Told(sender), result) => drop(sender.send(result)),
            (Self::Untold, Ok(_)) => {}
            (Self::Untold, Err(reason)) => {
                tracing::error!(%reason, "an entry that nobody waits for could not be recorded");
            }
        }
    }
}

impl Request {
    pub(crate) fn refuse(self, reason: JournalUnavailable) {
        self.done.tell(Err(reason));
    }
}

/// Whether the reserve may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Emergency,
    Ordinary,
}

/// Requests in the order of their indices to come.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    entries_max: usize,
    entries_reserved: usize,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    closed: Option<JournalUnavailable>,
}

impl Queue {
    /// `entries_max` places for everybody and `entries_reserved` more for emergencies.
    pub(crate) fn new(entries_max: usize, entries_reserved: usize) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), entries_max, entries_reserved }
    }

    /// Adds a request at the end. `backlog_bytes` is what is written but not yet in tiles: memory
    /// that the queue's owner holds, too.
    pub(crate) fn push(
        &self,
        request: Request,
        backlog_bytes: usize,
    ) -> Result<(), JournalUnavailable> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason);
        }
        let full = match request.urgency {
            Urgency::Emergency => state.requests.len() >= self.entries_max + self.entries_reserved,
            Urgency::Ordinary => {
                state.requests.len() >= self.entries_max
                    || state.bytes + request.entry.len() > QUEUE_BYTES_MAX
                    || backlog_bytes > BACKLOG_BYTES_MAX
            }
        };
        if full {
            return Err(JournalUnavailable::Busy);
        }
        state.bytes += request.entry.len();
        state.requests.push_back(request);
        // The writer sleeps only on an empty queue.
        if state.requests.len() == 1 {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and moves a batch of them out. `false`: closed, and nothing is left.
    pub(crate) fn take(&self, batch: &mut Vec<Request>) -> bool {
        let mut state = self.lock();
        while state.requests.is_empty() {
            if state.closed.is_some() {
                return false;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(request) = state.requests.pop_front() else { break };
            bytes += request.entry.len();
            batch.push(request);
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        true
    }

    /// Takes no more requests; says why. What is there is still written.
    pub(crate) fn close(&self, reason: JournalUnavailable) {
        let mut state = self.lock();
        // A failure says more than a close.
        if state.closed != Some(JournalUnavailable::Failed) {
            state.closed = Some(reason);
        }
        self.ready.notify_all();
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().requests.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that waiting entries may take.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Memory that entries not yet in tiles may take.
const BACKLOG_BYTES_MAX: usize = 256 << 20;
/// A batch is closed once it has this much; one more entry of 64 KiB may be in it.
const BATCH_BYTES: usize = 1 << 20;
