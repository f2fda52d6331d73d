//! Token buckets: how many requests somebody may make, on average and at once.
//!
//! A bucket is one number, the time at which it would be full again (the generic cell rate
//! algorithm), so taking from it is one compare-and-swap. A bucket nobody has is a full one.
//!
//! Not implemented: fairness between those who wait; nobody waits, who comes too early is refused.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Requests on average and at once, as the configuration says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second, over a longer time.
    per_s: NonZeroU32,
    /// Requests at once, after a rest.
    burst: NonZeroU32,
}

/// Somebody came too early: after this time it would have worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {0:?}")]
pub struct TooSoon(pub Duration);

impl Rate {
    /// `per_s` a second and `burst` at once; nothing below one.
    #[must_use]
    pub const fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: at_least_one(per_s), burst: at_least_one(burst) }
    }

    /// Requests a second.
    #[must_use]
    pub const fn per_s(self) -> u32 {
        self.per_s.get()
    }

    /// Requests at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    fn interval_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_s.get())
    }

    /// The moment up to which a bucket may be in debt and still give.
    fn debt_ns_max(self) -> u64 {
        self.interval_ns().saturating_mul(u64::from(self.burst.get()) - 1)
    }

    /// What becomes of a bucket that is full again at `full_ns` when one more is taken.
    fn taken(self, full_ns: u64, now_ns: u64) -> Result<u64, TooSoon> {
        self.taken_by_one_of(full_ns, now_ns, 1)
    }

    /// The same for one of `parts` that share this rate and do not see each other: each takes for
    /// all, so that together they take no more than one alone. One at a time is always left.
    fn taken_by_one_of(self, full_ns: u64, now_ns: u64, parts: u32) -> Result<u64, TooSoon> {
        let from_ns = full_ns.max(now_ns);
        let debt_ns = from_ns - now_ns;
        let others_ns = self.interval_ns().saturating_mul(u64::from(parts.saturating_sub(1)));
        let wait_ns = debt_ns.saturating_sub(self.debt_ns_max().saturating_sub(others_ns));
        if wait_ns > 0 {
            return Err(TooSoon(Duration::from_nanos(wait_ns)));
        }
        Ok(from_ns.saturating_add(self.interval_ns()).saturating_add(others_ns))
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// One bucket.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    base: Instant,
    full_ns: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, base: Instant::now(), full_ns: AtomicU64::new(0) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// [`TooSoon`] when the bucket is empty.
    pub fn take(&self) -> Result<(), TooSoon> {
        self.take_at(since(self.base))
    }

    fn take_at(&self, now_ns: u64) -> Result<(), TooSoon> {
        let mut refused = None;
        let taken = self.full_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_ns| {
            self.rate.taken(full_ns, now_ns).map_err(|soon| refused = Some(soon)).ok()
        });
        match (taken, refused) {
            (Ok(_), _) | (Err(_), None) => Ok(()),
            (Err(_), Some(soon)) => Err(soon),
        }
    }

    /// Whether one could be taken.
    ///
    /// # Errors
    /// [`TooSoon`] when the bucket is empty.
    pub fn look(&self) -> Result<(), TooSoon> {
        self.look_at(since(self.base))
    }

    fn look_at(&self, now_ns: u64) -> Result<(), TooSoon> {
        self.rate.taken(self.full_ns.load(Ordering::Relaxed), now_ns).map(drop)
    }
}

/// A bucket for each key, all of one rate.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    base: Instant,
    hasher: RandomState,
    parts: [Mutex<HashMap<K, u64>>; PARTS],
    part_entries_max: usize,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// Full buckets; at most about `entries_max` that are not.
    #[must_use]
    pub fn new(rate: Rate, entries_max: usize) -> Self {
        Self {
            rate,
            base: Instant::now(),
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| Mutex::default()),
            part_entries_max: entries_max.div_ceil(PARTS),
        }
    }

    /// Takes one from the bucket of `key`.
    ///
    /// # Errors
    /// [`TooSoon`] when it is empty, or when there is no room to remember what was taken.
    pub fn take(&self, key: &K) -> Result<(), TooSoon> {
        self.take_as_one_of(key, 1)
    }

    /// Takes one as one of `parts` processes that share the rate and do not see each other.
    ///
    /// # Errors
    /// As [`Buckets::take`], for this process's part.
    pub fn take_as_one_of(&self, key: &K, parts: u32) -> Result<(), TooSoon> {
        self.take_at(key, since(self.base), parts)
    }

    fn take_at(&self, key: &K, now_ns: u64, parts: u32) -> Result<(), TooSoon> {
        let Some(part) = self.part(key) else { return Ok(()) };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_ns) = part.get_mut(key) {
            *full_ns = self.rate.taken_by_one_of(*full_ns, now_ns, parts)?;
            return Ok(());
        }
        if part.len() >= self.part_entries_max {
            // A bucket that is full again is the same as none.
            part.retain(|_, full_ns| *full_ns > now_ns);
        }
        if part.len() >= self.part_entries_max {
            return Err(TooSoon(Duration::from_secs(1)));
        }
        part.insert(key.clone(), self.rate.taken_by_one_of(0, now_ns, parts)?);
        Ok(())
    }

    /// Whether one could be taken from the bucket of `key`.
    ///
    /// # Errors
    /// [`TooSoon`] when it is empty.
    pub fn look(&self, key: &K) -> Result<(), TooSoon> {
        let Some(part) = self.part(key) else { return Ok(()) };
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(full_ns) = part.get(key) else { return Ok(()) };
        self.rate.taken(*full_ns, since(self.base)).map(drop)
    }

    /// Whether nothing is missing from the bucket of `key`.
    #[must_use]
    pub fn is_full(&self, key: &K) -> bool {
        let Some(part) = self.part(key) else { return true };
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.get(key).is_none_or(|full_ns| *full_ns <= since(self.base))
    }

    fn part(&self, key: &K) -> Option<&Mutex<HashMap<K, u64>>> {
        let place = usize::try_from(self.hasher.hash_one(key) % 16).unwrap_or_default();
        self.parts.get(place)
    }
}

fn since(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

const PARTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Rate::new(10, 3));
        for _ in 0..3 {
            assert_eq!(bucket.take_at(0), Ok(()));
        }
        assert_eq!(bucket.take_at(0), Err(TooSoon(Duration::from_millis(100))));
        assert_eq!(bucket.look_at(0), Err(TooSoon(Duration::from_millis(100))));
        assert_eq!(bucket.take_at(99 * MS), Err(TooSoon(Duration::from_millis(1))));
        assert_eq!(bucket.look_at(100 * MS), Ok(()));
        assert_eq!(bucket.take_at(100 * MS), Ok(()));
        assert!(bucket.take_at(100 * MS).is_err());
        // After a rest there is the burst again, and no more.
        for _ in 0..3 {
            assert_eq!(bucket.take_at(60 * S), Ok(()));
        }
        assert!(bucket.take_at(60 * S).is_err());
    }

    #[test]
    fn parts_that_do_not_see_each_other_take_no_more_than_one_alone() {
        for (parts, burst, each) in [(3, 30, 10), (3, 10, 3), (4, 2, 1), (1, 5, 5)] {
            let buckets = Buckets::new(Rate::new(12, burst), 64);
            let taken = (0..50).filter(|_| buckets.take_at(&1, 0, parts).is_ok()).count();
            assert_eq!(taken, each, "{parts} parts of {burst}");
        }
        // Over a second a third of the rate.
        let buckets = Buckets::new(Rate::new(12, 3), 64);
        let taken = (0..1000).filter(|ms| buckets.take_at(&1, ms * MS, 3).is_ok()).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let buckets = Buckets::new(Rate::new(1, 1), 64);
        assert_eq!(buckets.look(&1), Ok(()));
        assert_eq!(buckets.take_at(&1, 0, 1), Ok(()));
        assert!(buckets.take_at(&1, 0, 1).is_err());
        assert_eq!(buckets.take_at(&2, 0, 1), Ok(()));
        assert_eq!(buckets.take_at(&1, S, 1), Ok(()));
    }

    #[test]
    fn what_cannot_be_remembered_is_refused_until_buckets_are_full_again() {
        let buckets = Buckets::new(Rate::new(1, 1), 1);
        // One place in each part: some of these find none.
        let refused = (0..64).filter(|key| buckets.take_at(key, 0, 1).is_err()).count();
        assert!(refused >= 48, "{refused}");
        assert_eq!(buckets.take_at(&1_000, S, 1), Ok(()));
    }

    #[test]
    fn a_rate_is_at_least_one() {
        assert!(toml_like(r#"{"per_s":10,"burst":20}"#).is_ok());
        for bad in [r#"{"per_s":0,"burst":20}"#, r#"{"per_s":1}"#, r#"{"per_s":1,"burst":1,"x":1}"#]
        {
            assert!(toml_like(bad).is_err(), "{bad}");
        }
        assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
    }

    fn toml_like(text: &str) -> Result<Rate, serde_json::Error> {
        serde_json::from_str(text)
    }
}
