//! What was used once and must not be used again: RFC 9449 section 11.1, RFC 7523 section 3.
//!
//! Implemented: a bounded set that forgets a key only after the proof behind it could no longer be
//! accepted. A full set refuses (RFC 9449 section 11.1 allows no eviction of what still counts).
//! Not implemented: quotas per client, persistence. After a restart, proofs
//! from before the start are refused unless a nonce of this process shows that they are newer.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use attorn_registry::ReasonCode;

const PARTS: usize = 16;

/// The set. Shared by reference; each part has its own lock.
#[derive(Debug)]
pub struct ReplaySet {
    parts: [Mutex<Part>; PARTS],
    part_entries_max: usize,
    started_s: u64,
}

#[derive(Debug, Default)]
struct Part {
    // Invariant: a key is in `keys` exactly when it is in one list of `by_end`.
    keys: HashSet<[u8; 32]>,
    by_end: BTreeMap<u64, Vec<[u8; 32]>>,
    /// The latest end among the keys that were forgotten. A key that ends by then may be one of them:
    /// a clock that is set back does not bring keys back.
    forgotten_s: u64,
}

/// Why a key cannot be burned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplayRefusal {
    /// It would already be forgotten: the clock was set back.
    #[error("the proof ended before others that are forgotten")]
    Ended,
    /// No room. A failure of ours: 503, not 401.
    #[error("used proofs cannot be remembered at the moment")]
    Full,
    /// It was burned before.
    #[error("the proof was used before")]
    Replayed,
    /// Other nodes accept its nonce too, and the memory shared with them does not answer.
    #[error("whether another node took the proof cannot be known at the moment")]
    SharedUnavailable,
    /// Older than this process, which cannot know what was used then.
    #[error("the proof is older than the server")]
    StartedAfterIssue,
}

impl ReplayRefusal {
    /// The stable code for the log.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Replayed => ReasonCode::PossessionReplayed,
            Self::Full | Self::SharedUnavailable => ReasonCode::PossessionUnavailable,
            Self::Ended | Self::StartedAfterIssue => ReasonCode::PossessionClock,
        }
    }
}

impl ReplaySet {
    /// A set of about `entries_max` keys, each some 100 bytes, empty since `started_s`.
    #[must_use]
    pub fn new(entries_max: usize, started_s: u64) -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            part_entries_max: entries_max.div_ceil(PARTS),
            started_s,
        }
    }

    /// Burns a key until `expires_s`, the last second at which its proof could be accepted.
    ///
    /// Call it last, when nothing else can refuse: a key burned by a request that then fails would
    /// be taken from its honest owner.
    ///
    /// # Errors
    /// [`ReplayRefusal`]; the key is then not burned by this call.
    pub fn insert(&self, key: [u8; 32], expires_s: u64, now_s: u64) -> Result<(), ReplayRefusal> {
        // The keys are hashes, so their first byte spreads evenly.
        let [first, ..] = key;
        let part = self.parts.get(usize::from(first) % PARTS).ok_or(ReplayRefusal::Full)?;
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.forget_ended(now_s);
        if expires_s < now_s || expires_s <= part.forgotten_s {
            return Err(ReplayRefusal::Ended);
        }
        if part.keys.contains(&key) {
            return Err(ReplayRefusal::Replayed);
        }
        if part.keys.len() >= self.part_entries_max {
            return Err(ReplayRefusal::Full);
        }
        part.keys.insert(key);
        part.by_end.entry(expires_s).or_default().push(key);
        Ok(())
    }

    /// Refuses what may have been used before this process started: everything dated before the
    /// start plus `margin_s`, which covers the clocks of others that run ahead of ours.
    ///
    /// # Errors
    /// [`ReplayRefusal::StartedAfterIssue`].
    pub fn refuse_older_than_start(
        &self,
        issued_s: u64,
        margin_s: u64,
    ) -> Result<(), ReplayRefusal> {
        if issued_s < self.started_s.saturating_add(margin_s) {
            return Err(ReplayRefusal::StartedAfterIssue);
        }
        Ok(())
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        let lengths = self
            .parts
            .iter()
            .map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).keys.len());
        lengths.sum()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    fn forget_ended(&mut self, now_s: u64) {
        while let Some(first) = self.by_end.first_entry() {
            if *first.key() >= now_s {
                return;
            }
            self.forgotten_s = self.forgotten_s.max(*first.key());
            for key in first.remove() {
                self.keys.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> [u8; 32] {
        [byte; 32]
    }

    #[test]
    fn a_key_is_burned_once() {
        let set = ReplaySet::new(64, 0);
        assert!(set.is_empty());
        assert_eq!(set.insert(key(1), 165, 100), Ok(()));
        assert_eq!(set.insert(key(1), 165, 100), Err(ReplayRefusal::Replayed));
        assert_eq!(set.insert(key(2), 165, 100), Ok(()));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn a_key_is_held_to_its_last_second_and_not_longer() {
        let set = ReplaySet::new(64, 0);
        set.insert(key(1), 165, 100).unwrap();
        assert_eq!(set.insert(key(1), 230, 165), Err(ReplayRefusal::Replayed));
        assert_eq!(set.insert(key(1), 231, 166), Ok(()));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_full_set_refuses_and_evicts_nothing() {
        let set = ReplaySet::new(PARTS, 0);
        // The same part for all: one entry each.
        let in_part = |byte| {
            let mut key = [0; 32];
            key[31] = byte;
            key
        };
        set.insert(in_part(1), 165, 100).unwrap();
        assert_eq!(set.insert(in_part(2), 165, 100), Err(ReplayRefusal::Full));
        assert_eq!(set.insert(in_part(1), 165, 100), Err(ReplayRefusal::Replayed));
        // Room again when the first has ended.
        assert_eq!(set.insert(in_part(2), 231, 166), Ok(()));
    }

    #[test]
    fn a_clock_set_back_brings_nothing_back() {
        let set = ReplaySet::new(64, 0);
        set.insert(key(1), 165, 100).unwrap();
        // The clock jumps ahead, the key is forgotten, and the clock returns.
        assert_eq!(set.insert(key(17), 400, 300), Ok(()));
        assert_eq!(set.insert(key(1), 165, 100), Err(ReplayRefusal::Ended));
        // What ends later than anything forgotten was not used, wherever the clock was meanwhile.
        assert_eq!(set.insert(key(33), 166, 101), Ok(()));
        assert_eq!(set.insert(key(33), 166, 101), Err(ReplayRefusal::Replayed));
        assert_eq!(set.insert(key(17), 400, 335), Err(ReplayRefusal::Replayed));
    }

    #[test]
    fn what_may_be_older_than_the_start_is_refused() {
        let set = ReplaySet::new(64, 1000);
        let refusal = Err(ReplayRefusal::StartedAfterIssue);
        assert_eq!(set.refuse_older_than_start(999, 0), refusal);
        assert_eq!(set.refuse_older_than_start(1000, 0), Ok(()));
        assert_eq!(set.refuse_older_than_start(1005, 6), refusal);
        assert_eq!(set.refuse_older_than_start(1006, 6), Ok(()));
    }

    #[test]
    fn of_fifty_parallel_uses_one_succeeds() {
        let set = ReplaySet::new(64, 0);
        let successes = std::thread::scope(|scope| {
            let uses: Vec<_> =
                (0..50).map(|_| scope.spawn(|| set.insert(key(1), 165, 100).is_ok())).collect();
            uses.into_iter().filter_map(|use_| use_.join().ok()).filter(|burned| *burned).count()
        });
        assert_eq!(successes, 1);
    }

    proptest! {
        #[test]
        fn no_key_is_accepted_twice_wherever_the_clock_goes(
            uses in proptest::collection::vec((0_u8..40, 0_u64..300), 1..200),
        ) {
            let set = ReplaySet::new(10_000, 0);
            let mut burned = HashSet::new();
            for (byte, now_s) in uses {
                // A proof's end is its own, and some share a part of the set.
                if set.insert(key(byte), u64::from(byte) * 7, now_s).is_ok() {
                    prop_assert!(burned.insert(byte));
                }
            }
        }

        #[test]
        fn no_key_is_accepted_twice_before_its_end(
            uses in proptest::collection::vec((0_u8..20, 0_u64..200), 1..200),
        ) {
            // Times only go forward; each use lasts 65 seconds.
            let set = ReplaySet::new(10_000, 0);
            let mut uses = uses;
            uses.sort_by_key(|(_, now_s)| *now_s);
            let mut ends = std::collections::HashMap::new();
            for (byte, now_s) in uses {
                let held = ends.get(&byte).is_some_and(|end_s| *end_s >= now_s);
                let outcome = set.insert(key(byte), now_s + 65, now_s);
                prop_assert_eq!(outcome.is_err(), held);
                if outcome.is_ok() {
                    ends.insert(byte, now_s + 65);
                }
            }
        }
    }
}
