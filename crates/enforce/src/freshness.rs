//! How long ago the authority was heard.
//!
//! A gateway in a process of its own decides on what it was told last. Cut off from its authority
//! it would not hear of a lock, so after a while it refuses everything. In one process there is
//! nothing to be cut off from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When the authority was heard last, on a clock that nobody sets.
#[derive(Debug)]
pub struct Freshness {
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 for never.
    heard: AtomicU64,
    silent_max: Option<Duration>,
}

impl Freshness {
    /// The authority is in this process: always fresh.
    #[must_use]
    pub fn own() -> Self {
        Self { silent_max: None, ..Self::followed(Duration::ZERO) }
    }

    /// The authority is elsewhere, and a silence of at most `silent_max` is borne. Stale until it
    /// is heard for the first time.
    #[must_use]
    pub fn followed(silent_max: Duration) -> Self {
        let started = Instant::now();
        Self { started, heard: AtomicU64::new(0), silent_max: Some(silent_max) }
    }

    /// The authority answered a question that was asked at `asked`: what it said was so then.
    pub fn note_heard(&self, asked: Instant) {
        let since = asked.saturating_duration_since(self.started);
        let heard = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.heard.fetch_max(heard, Ordering::Relaxed);
    }

    /// The authority says that another process goes on as this gateway: what was heard before does
    /// not count any more.
    pub fn end(&self) {
        self.heard.store(0, Ordering::Relaxed);
    }

    /// For how long the authority was not heard; zero in its own process, `None` before the first
    /// time.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Option<Duration> {
        if self.silent_max.is_none() {
            return Some(Duration::ZERO);
        }
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1)?;
        let since = now.saturating_duration_since(self.started);
        Some(since.saturating_sub(Duration::from_millis(heard)))
    }

    /// Whether decisions may rest on what the authority said last.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.silent_max.is_none() || self.is_fresh_at(Instant::now())
    }

    /// As [`Freshness::is_fresh`], at a time of the caller's.
    #[must_use]
    pub fn is_fresh_at(&self, now: Instant) -> bool {
        match (self.silent_max, self.silent(now)) {
            (None, _) => true,
            (Some(max), Some(silent)) => silent <= max,
            (Some(_), None) => false,
        }
    }
}

/// A gateway that hears nothing for this long refuses everything.
pub const SILENT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_freshness() {
        let freshness = Freshness::followed(SILENT_MAX);
        let start = freshness.started;
        let check = |after_ms, expected| {
            let now = start + Duration::from_millis(after_ms);
            assert_eq!(freshness.is_fresh_at(now), expected, "{after_ms} ms");
        };
        check(0, false);
        freshness.note_heard(start);
        check(0, true);
        check(10_000, true);
        check(10_001, false);
        // An answer counts from its question on, and a late one changes nothing.
        freshness.note_heard(start + Duration::from_secs(5));
        freshness.note_heard(start + Duration::from_secs(1));
        check(15_000, true);
        check(15_001, false);
        freshness.end();
        check(15_000, false);
    }

    #[test]
    fn one_process_is_always_fresh() {
        let freshness = Freshness::own();
        assert!(freshness.is_fresh_at(freshness.started + Duration::from_secs(1000)));
    }
}
