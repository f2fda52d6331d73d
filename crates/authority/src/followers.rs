//! The gateways that follow the registry: which version each is at, and how long it took.
//!
//! Kept in memory: it says what is so now. A gateway that asks from a version acknowledges it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use attorn_registry::AgentId;

/// Who follows, and when the latest versions were put in force here.
#[derive(Debug)]
pub struct Followers {
    inner: Mutex<Inner>,
    /// What was heard before is not known.
    started_ms: u64,
}

#[derive(Debug, Default)]
struct Inner {
    gateways: HashMap<AgentId, Follower>,
    published: VecDeque<(u64, u64)>,
}

/// What one gateway said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follower {
    /// The version it has in force.
    pub version: u64,
    /// When it asked last, in Unix milliseconds.
    pub heard_ms: u64,
    /// Milliseconds from the moment that version was in force here until the gateway said so.
    /// `None` for a version it was given at its start.
    pub took_ms: Option<u64>,
}

impl Followers {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(started_ms: u64) -> Self {
        Self { inner: Mutex::default(), started_ms }
    }

    /// Notes that a version is in force here.
    pub fn note_published(&self, version: u64, now_ms: u64) {
        let mut inner = self.lock();
        if inner.published.back().is_some_and(|(last, _)| *last >= version) {
            return;
        }
        if inner.published.len() >= PUBLISHED_MAX {
            inner.published.pop_front();
        }
        inner.published.push_back((version, now_ms));
    }

    /// Notes that a gateway asked from `version`, so it has that in force. Says whether it is new
    /// here.
    pub fn note_asked(&self, gateway: &AgentId, version: u64, now_ms: u64) -> bool {
        let mut inner = self.lock();
        let published = inner.published.iter().find(|(one, _)| *one == version);
        let took_ms = published.map(|(_, at_ms)| now_ms.saturating_sub(*at_ms));
        let known = inner.gateways.entry(gateway.clone());
        let is_new = matches!(known, std::collections::hash_map::Entry::Vacant(_));
        let follower = known.or_default();
        // Asking again from the same version is no later acknowledgement of it.
        if follower.version != version {
            follower.took_ms = if is_new { None } else { took_ms };
        }
        follower.version = version;
        follower.heard_ms = now_ms;
        is_new
    }

    /// What is known of a gateway.
    pub fn of(&self, gateway: &AgentId) -> Option<Follower> {
        self.lock().gateways.get(gateway).copied()
    }

    /// Whether a gateway may serve: it was heard within `within_ms`, or may have been before this
    /// process started.
    pub fn may_serve(&self, gateway: &AgentId, now_ms: u64, within_ms: u64) -> bool {
        let heard_ms = self.of(gateway).map_or(self.started_ms, |follower| follower.heard_ms);
        now_ms.saturating_sub(heard_ms) <= within_ms
    }

    /// Whether each of these gateways that may serve is at `version` or later.
    pub fn all_at(
        &self,
        version: u64,
        gateways: &[AgentId],
        (now_ms, within_ms): (u64, u64),
    ) -> bool {
        gateways.iter().all(|gateway| {
            let is_there = self.of(gateway).is_some_and(|follower| follower.version >= version);
            is_there || !self.may_serve(gateway, now_ms, within_ms)
        })
    }

    /// The latest version any gateway has in force.
    pub fn latest(&self) -> u64 {
        self.lock().gateways.values().map(|follower| follower.version).max().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions whose time is remembered.
const PUBLISHED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(seed: u8) -> AgentId {
        AgentId::from_random(&[seed; 16])
    }

    #[test]
    fn the_time_is_that_of_the_first_acknowledgement() {
        let followers = Followers::new(0);
        assert!(followers.note_asked(&gateway(1), 4, 900));
        followers.note_published(5, 1000);
        assert!(!followers.note_asked(&gateway(1), 5, 1007));
        followers.note_asked(&gateway(1), 5, 3007);
        let expected = Follower { version: 5, heard_ms: 3007, took_ms: Some(7) };
        assert_eq!(followers.of(&gateway(1)), Some(expected));
    }

    #[test]
    fn a_gateway_that_starts_acknowledges_nothing() {
        let followers = Followers::new(0);
        followers.note_published(5, 1000);
        followers.note_asked(&gateway(1), 5, 9000);
        assert_eq!(followers.of(&gateway(1)).unwrap().took_ms, None);
    }

    #[test]
    fn a_silent_gateway_is_not_waited_for() {
        let followers = Followers::new(0);
        let both = [gateway(1), gateway(2)];
        followers.note_asked(&gateway(1), 4, 1000);
        followers.note_asked(&gateway(2), 5, 5000);
        assert!(!followers.all_at(5, &both, (5000, 4000)));
        assert!(followers.all_at(5, &both, (5001, 4000)));
        assert_eq!(followers.latest(), 5);
    }

    #[test]
    fn after_a_start_nobody_is_taken_for_silent_too_early() {
        let followers = Followers::new(1000);
        assert!(!followers.all_at(5, &[gateway(1)], (5000, 4000)));
        assert!(followers.may_serve(&gateway(1), 5000, 4000));
        assert!(followers.all_at(5, &[gateway(1)], (5001, 4000)));
    }
}
