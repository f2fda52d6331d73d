//! The bounded queue in front of the writer.
//!
//! Back-pressure is an error value: a full queue refuses, it never drops and never waits. Some
//! places are kept free for entries that take rights away.
//!
//! An entry that somebody waits for wakes the writer. One that nobody waits for goes along with the
//! next of those, or alone after a moment: most outcomes share a write with the intent of another call.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

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

/// How much of what is kept free may be used: all of it, a quarter, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Emergency,
    Own,
    Ordinary,
}

/// The part of what is kept free that is for [`Urgency::Own`]: whoever may cause such entries must
/// not be able to use up what operators need.
pub(crate) const OWN_PART: u8 = 4;

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
    /// How many of the requests somebody waits for.
    awaited: usize,
    /// The writer sleeps without an end: whatever comes must wake it.
    asleep: bool,
    /// Several waited for the last batch at once: the next ones are worth waiting for.
    crowded: bool,
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
            Urgency::Own => {
                let part = self.entries_reserved / usize::from(OWN_PART);
                state.requests.len() >= self.entries_max + part
            }
            Urgency::Ordinary => {
                state.requests.len() >= self.entries_max
                    || state.bytes + request.entry.len() > QUEUE_BYTES_MAX
                    || backlog_bytes > BACKLOG_BYTES_MAX
            }
        };
        if full {
            return Err(JournalUnavailable::Busy);
        }
        let awaited = matches!(request.done, Done::Told(_));
        state.bytes += request.entry.len();
        state.awaited += usize::from(awaited);
        state.requests.push_back(request);
        // The writer does not sleep on a request that somebody waits for: the first one wakes it.
        if state.asleep || (awaited && state.awaited == 1) {
            state.asleep = false;
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and moves a batch of them out. `false`: closed, and nothing is left.
    pub(crate) fn take(&self, batch: &mut Vec<Request>) -> bool {
        let mut state = self.lock();
        let began = Instant::now();
        while state.awaited == 0 {
            if state.closed.is_some() {
                if state.requests.is_empty() {
                    return false;
                }
                break;
            }
            let waited = began.elapsed();
            // Nobody waits for these, but they have gathered long enough.
            if !state.requests.is_empty() && waited >= GATHER {
                break;
            }
            state = if waited < BUSY || !state.requests.is_empty() {
                let woken = self.ready.wait_timeout(state, GATHER);
                woken.unwrap_or_else(PoisonError::into_inner).0
            } else {
                state.asleep = true;
                self.ready.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
            state.asleep = false;
        }
        if state.crowded && state.closed.is_none() {
            // Nothing but a close rings now: the first request that somebody waits for has rung.
            let woken = self.ready.wait_timeout(state, CROWD);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let waiting = state.awaited;
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(request) = state.requests.pop_front() else { break };
            bytes += request.entry.len();
            state.awaited -= usize::from(matches!(request.done, Done::Told(_)));
            batch.push(request);
        }
        state.crowded = waiting > 1;
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
/// How long an entry that nobody waits for may gather company.
const GATHER: Duration = Duration::from_millis(2);
/// How long a batch waits for company while several callers wait at once.
const CROWD: Duration = Duration::from_micros(300);
/// How long the writer looks every [`GATHER`] for entries that did not wake it, before it sleeps
/// until one does.
const BUSY: Duration = Duration::from_millis(200);
/// A batch is closed once it has this much; one more entry of 64 KiB may be in it.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn request(entry: &[u8], done: Done) -> Request {
        let (durability, urgency) = (Durability::Written, Urgency::Ordinary);
        Request { entry: entry.to_vec(), durability, urgency, done }
    }

    fn taken(queue: &Queue) -> Vec<Vec<u8>> {
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch), "the queue is open");
        batch.into_iter().map(|request| request.entry).collect()
    }

    #[test]
    fn what_nobody_waits_for_goes_along_in_its_order() {
        let queue = Queue::new(10, 0);
        let (told, _keep) = oneshot::channel();
        queue.push(request(b"outcome", Done::Untold), 0).unwrap();
        queue.push(request(b"intent", Done::Told(told)), 0).unwrap();
        assert_eq!(taken(&queue), [b"outcome".to_vec(), b"intent".to_vec()]);
        assert_eq!(queue.lock().awaited, 0);
    }

    #[test]
    fn what_nobody_waits_for_is_taken_though_nothing_else_comes() {
        let queue = Arc::new(Queue::new(10, 0));
        queue.push(request(b"before", Done::Untold), 0).unwrap();
        assert_eq!(taken(&queue), [b"before".to_vec()]);
        let taker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || taken(&queue)
        });
        // The writer has given up looking: then it has to be woken.
        while !queue.lock().asleep {
            thread::yield_now();
        }
        queue.push(request(b"after", Done::Untold), 0).unwrap();
        assert_eq!(taker.join().unwrap(), [b"after".to_vec()]);
    }

    #[test]
    fn a_closed_queue_gives_what_is_left() {
        let queue = Queue::new(10, 0);
        queue.push(request(b"last", Done::Untold), 0).unwrap();
        queue.close(JournalUnavailable::Closed);
        assert_eq!(taken(&queue), [b"last".to_vec()]);
        assert!(!queue.take(&mut Vec::new()));
    }
}
