//! Wall time as an argument, and what becomes of a clock that goes back.
//!
//! A step back of at most [`TOLERANCE_MS`] does not show: the clock stands still until time has
//! caught up. A longer one is followed, told to whoever waits for [`Clock::steps`], and leaves a
//! floor behind: what had ended before the step does not begin to count again.
//!
//! Not noticed: a step forward, which only ends things early. A token that was issued while the
//! clock was ahead looks like one of that later time when the clock gets there again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Wall time, handed to every edge. The binary gives the system clock, tests a scripted one. Clones
/// are the same clock.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The latest time it told since it went back last.
    latest_ms: AtomicU64,
    /// The latest time it ever went back from; 0 if it never did.
    left_ms: AtomicU64,
    /// Where it went back to last.
    back_ms: AtomicU64,
    steps: watch::Sender<Option<StepBack>>,
}

/// A clock that was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBack {
    /// The time before, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// The time after.
    pub to_ms: u64,
}

impl Clock {
    /// `now_ms` returns milliseconds since the Unix epoch.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            now_ms: Box::new(now_ms),
            latest_ms: AtomicU64::new(0),
            left_ms: AtomicU64::new(0),
            back_ms: AtomicU64::new(0),
            steps: watch::Sender::new(None),
        }))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        // First: what another thread sees while this one is held up must not look like a step back.
        let latest_ms = self.0.latest_ms.load(Ordering::Acquire);
        let now_ms = (self.0.now_ms)();
        if now_ms >= latest_ms {
            // Written once a millisecond at most, whoever asks.
            if now_ms > latest_ms {
                self.note_seen(now_ms);
            }
            return now_ms;
        }
        if latest_ms - now_ms <= TOLERANCE_MS {
            return latest_ms;
        }
        self.step_back(StepBack { from_ms: latest_ms, to_ms: now_ms });
        now_ms
    }

    /// Whole seconds since the Unix epoch, as JWT claims count them (RFC 7519 section 2).
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// A time that it told before, in an earlier process for instance.
    pub fn note_seen(&self, time_ms: u64) {
        self.0.latest_ms.fetch_max(time_ms, Ordering::AcqRel);
    }

    /// Whether a token of these times had ended before the clock went back. RFC 7519 section 4.1.4:
    /// it must not be accepted any more, also when the clock says otherwise now.
    pub fn had_ended(&self, issued_s: u64, end_s: u64) -> bool {
        let left_ms = self.0.left_ms.load(Ordering::Acquire);
        left_ms != 0 && end_s.saturating_mul(1000) <= left_ms && issued_s < self.tokens_from_s()
    }

    /// The first second that tells a token issued after the last step back from those before; 0
    /// without one.
    pub fn tokens_from_s(&self) -> u64 {
        if self.0.left_ms.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.0.back_ms.load(Ordering::Acquire) / 1000 + 1
    }

    /// The last step back; changes with each. Of several at once the last one is told.
    pub fn steps(&self) -> watch::Receiver<Option<StepBack>> {
        self.0.steps.subscribe()
    }

    fn step_back(&self, step: StepBack) {
        // The floor first: nobody may see the earlier time without it.
        self.0.back_ms.store(step.to_ms, Ordering::Release);
        self.0.left_ms.fetch_max(step.from_ms, Ordering::AcqRel);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let (from_ms, to_ms) = (step.from_ms, step.to_ms);
        // Of those who see it at the same time one tells.
        if self.0.latest_ms.compare_exchange(from_ms, to_ms, success, failure).is_ok() {
            self.0.steps.send_replace(Some(step));
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A clock that is kept in step with others moves by less.
const TOLERANCE_MS: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn scripted(start_ms: u64) -> (Clock, Arc<AtomicU64>) {
        let time = Arc::new(AtomicU64::new(start_ms));
        let read = Arc::clone(&time);
        (Clock::new(move || read.load(Ordering::SeqCst)), time)
    }

    #[test]
    fn seconds_are_whole_seconds() {
        let (clock, _) = scripted(1_999);
        assert_eq!(clock.now_ms(), 1_999);
        assert_eq!(clock.now_s(), 1);
    }

    #[test]
    fn a_small_step_back_does_not_show() {
        let (clock, time) = scripted(10_000);
        let steps = clock.steps();
        assert_eq!(clock.now_ms(), 10_000);
        time.store(10_000 - TOLERANCE_MS, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 10_000);
        time.store(10_001, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 10_001);
        assert!(!steps.has_changed().unwrap() && !clock.had_ended(0, 1));
    }

    #[test]
    fn what_had_ended_stays_ended_when_the_clock_goes_back() {
        let (clock, time) = scripted(100_000);
        let mut steps = clock.steps();
        assert_eq!(clock.now_s(), 100);
        // Issued at 90, it ends at 390. The clock goes to an hour later and back.
        assert!(!clock.had_ended(90, 390));
        time.store(3_700_000, Ordering::SeqCst);
        assert_eq!(clock.now_s(), 3_700);
        time.store(101_500, Ordering::SeqCst);
        assert_eq!(clock.now_s(), 101);
        let step = StepBack { from_ms: 3_700_000, to_ms: 101_500 };
        assert_eq!(*steps.borrow_and_update(), Some(step));
        assert!(clock.had_ended(90, 390) && clock.had_ended(101, 401));
        // One from before that had not ended, and one from after.
        assert!(!clock.had_ended(3_600, 3_900));
        assert_eq!(clock.tokens_from_s(), 102);
        assert!(!clock.had_ended(102, 402));
        // Looked at again, it is the same step.
        assert_eq!(clock.now_s(), 101);
        assert!(!steps.has_changed().unwrap());
    }

    #[test]
    fn a_later_step_back_forgets_no_end() {
        let (clock, time) = scripted(3_700_000);
        for now_ms in [3_700_000, 200_000, 150_000] {
            time.store(now_ms, Ordering::SeqCst);
            assert_eq!(clock.now_ms(), now_ms);
        }
        assert!(clock.had_ended(100, 400) && clock.had_ended(150, 450));
        // What is issued now counts, though the clock was further once.
        assert!(!clock.had_ended(151, 451));
    }

    #[test]
    fn a_time_of_an_earlier_process_counts() {
        let (clock, _) = scripted(100_000);
        clock.note_seen(3_700_000);
        assert_eq!(clock.now_ms(), 100_000);
        assert!(clock.had_ended(90, 390));
    }
}
