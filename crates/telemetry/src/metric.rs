//! Numbers that are added to from many threads at once. Nothing here waits or allocates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are at the moment. Clones count the same things.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// One of those that are counted; no more when dropped.
#[derive(Debug)]
#[must_use]
pub struct Occupied(Arc<AtomicU64>);

impl Gauge {
    /// One more until what is returned is dropped.
    pub fn occupy(&self) -> Occupied {
        self.0.fetch_add(1, Ordering::Relaxed);
        Occupied(Arc::clone(&self.0))
    }

    /// Puts a number there, for what is not counted but is so.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// How many now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds of the buckets in microseconds; what is longer goes into one more.
pub(crate) const BOUNDS_US: [u64; 18] = [
    25,
    50,
    75,
    100,
    150,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    300_000_000,
];

/// Times in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len()],
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one time.
    pub fn observe(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < time_us);
        self.buckets.get(place).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(time_us, Ordering::Relaxed);
    }

    /// Counts per bucket, not added up, the last one for everything longer; and the sum.
    pub(crate) fn read(&self) -> (Vec<u64>, u64) {
        let buckets = self.buckets.iter().chain([&self.beyond]);
        let counts = buckets.map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        (counts, self.sum_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_counts_what_lives() {
        let gauge = Gauge::default();
        let (first, second) = (gauge.occupy(), gauge.occupy());
        assert_eq!(gauge.count(), 2);
        drop(first);
        assert_eq!(gauge.count(), 1);
        drop(second);
        assert_eq!(gauge.count(), 0);
    }

    #[test]
    fn a_time_is_in_the_first_bucket_it_fits() {
        let histogram = Histogram::default();
        for time_us in [0, 25, 26, 300_000_000, 300_000_001] {
            histogram.observe(Duration::from_micros(time_us));
        }
        let (counts, sum_us) = histogram.read();
        assert_eq!(counts[0], 2);
        assert_eq!(counts[1], 1);
        assert_eq!(counts[17], 1);
        assert_eq!(counts[18], 1);
        assert_eq!(sum_us, 600_000_052);
    }
}
