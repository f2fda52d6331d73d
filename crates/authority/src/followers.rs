//! The gateways that follow the registry: which version each is at, and how long it took.
//!
//! Kept in memory: it says what is so now. A gateway that asks from a version acknowledges it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use attorn_registry::{AgentId, LeaseRefusal};

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
    /// The process that runs as each gateway, and when it was given its lease.
    runs: HashMap<AgentId, (String, u64)>,
    refused: HashMap<AgentId, Refused>,
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

/// Processes that asked as a gateway and were refused, since the start or the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why the last one was.
    pub(crate) why: LeaseRefusal,
    /// When, in Unix milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) times: u64,
}

impl Followers {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(started_ms: u64) -> Self {
        Self { inner: Mutex::default(), started_ms }
    }

    /// Whether a gateway should get a new lease: another process of it asks, or the one it has is
    /// old. A copy made before that is then found to be one.
    pub(crate) fn is_lease_due(&self, gateway: &AgentId, run: &str, now_ms: u64) -> bool {
        let inner = self.lock();
        inner.runs.get(gateway).is_none_or(|(known, leased_ms)| {
            known != run || now_ms.saturating_sub(*leased_ms) >= LEASE_MS
        })
    }

    /// Notes that a process got a lease.
    pub(crate) fn note_leased(&self, gateway: &AgentId, run: &str, now_ms: u64) {
        self.lock().runs.insert(gateway.clone(), (run.to_owned(), now_ms));
    }

    /// Notes that a process was refused.
    pub(crate) fn note_refused(&self, gateway: &AgentId, why: LeaseRefusal, at_ms: u64) {
        let mut inner = self.lock();
        let times = inner.refused.get(gateway).map_or(0, |refused| refused.times);
        let refused = Refused { why, at_ms, times: times.saturating_add(1) };
        inner.refused.insert(gateway.clone(), refused);
    }

    /// The refused processes of a gateway.
    pub(crate) fn refused(&self, gateway: &AgentId) -> Option<Refused> {
        self.lock().refused.get(gateway).copied()
    }

    /// Number of gateways with refused processes.
    pub(crate) fn refused_count(&self) -> usize {
        self.lock().refused.len()
    }

    /// A person looked at it.
    pub(crate) fn reset(&self, gateway: &AgentId) {
        let mut inner = self.lock();
        inner.refused.remove(gateway);
        inner.runs.remove(gateway);
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

/// The longest life of a lease whose gateway asks.
const LEASE_MS: u64 = 30_000;
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
    fn a_lease_is_due_for_another_process_and_after_half_a_minute() {
        let followers = Followers::new(0);
        assert!(followers.is_lease_due(&gateway(1), "run-1", 0));
        followers.note_leased(&gateway(1), "run-1", 1000);
        assert!(!followers.is_lease_due(&gateway(1), "run-1", 30_999));
        assert!(followers.is_lease_due(&gateway(1), "run-1", 31_000));
        assert!(followers.is_lease_due(&gateway(1), "run-2", 1000));
        assert!(followers.is_lease_due(&gateway(2), "run-1", 1000));
    }

    #[test]
    fn what_was_refused_is_told_until_a_reset() {
        let followers = Followers::new(0);
        followers.note_refused(&gateway(1), LeaseRefusal::LogForked, 1000);
        followers.note_refused(&gateway(1), LeaseRefusal::Copied, 2000);
        let expected = Refused { why: LeaseRefusal::Copied, at_ms: 2000, times: 2 };
        assert_eq!(followers.refused(&gateway(1)), Some(expected));
        assert_eq!(followers.refused_count(), 1);
        followers.reset(&gateway(1));
        assert_eq!(followers.refused_count(), 0);
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
