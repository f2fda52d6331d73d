//! Connections kept for reuse: unused ones of HTTP/1.1, newest first, and one of HTTP/2 for all.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Target;
use super::sender::Sender;

pub(super) struct Pool {
    idle_timeout: Duration,
    idle_max: usize,
    idle: Mutex<HashMap<Target, Vec<Idle>>>,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub(super) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        Self { idle_timeout, idle_max, idle: Mutex::default() }
    }

    /// The newest unused connection to `target`, or one that many requests share; too old ones are
    /// closed on the way.
    pub(super) fn take(&self, target: &Target) -> Option<Sender> {
        let mut idle = self.locked();
        let connections = idle.get_mut(target)?;
        let now = Instant::now();
        connections.retain(|kept| {
            // Streams of a shared one that was not asked for lately go on without us.
            !kept.sender.is_closed() && now.duration_since(kept.since) < self.idle_timeout
        });
        let newest = connections.last_mut()?;
        if let Some(shared) = newest.sender.another() {
            newest.since = now;
            return Some(shared);
        }
        connections.pop().map(|kept| kept.sender)
    }

    /// Keeps a connection whose response was read to its end, or one for all from its beginning.
    pub(super) fn put(&self, target: Target, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.locked();
        let connections = idle.entry(target).or_default();
        if sender.is_shared() && connections.iter().any(|kept| kept.sender.is_shared()) {
            return;
        }
        if connections.len() < self.idle_max {
            connections.push(Idle { sender, since: Instant::now() });
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Target, Vec<Idle>>> {
        // Nothing above can stop half-way through a change, so a poisoned map is whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle_max", &self.idle_max).finish_non_exhaustive()
    }
}
