//! Keeps callers from filling the log: a request that cannot be recorded says so in the log, and
//! there may be thousands in a second, just when a disk is full.
//!
//! Each place in the code writes [`LINES_A_SECOND`] warnings or errors in a second. The next one that
//! is written says before it how many were left out, and a metric counts all of them. What is less
//! than a warning is shown to whoever asks for it, and is not limited.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const LINES_A_SECOND: u32 = 10;

/// The target of the line that says how many are missing.
pub(super) const NOTICE: &str = module_path!();

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How many lines were left out since the process started.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Decides about each line before it is made. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Floods {
    started: Instant,
    places: Arc<Mutex<HashMap<Identifier, Window>>>,
}

/// What a place wrote in the latest second that it wrote in. Seconds are counted from one.
#[derive(Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    left_out: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// The first of a new second, after so many that were left out.
    WrittenAfter(u64),
    LeftOut,
}

impl Default for Floods {
    fn default() -> Self {
        Self { started: Instant::now(), places: Arc::default() }
    }
}

impl Window {
    fn admit(&mut self, second: u64) -> Verdict {
        // A thread that was held up comes with an earlier second: that opens no window again.
        if second > self.second {
            let left_out = self.left_out;
            *self = Self { second, lines: 1, left_out: 0 };
            return if left_out == 0 { Verdict::Written } else { Verdict::WrittenAfter(left_out) };
        }
        if self.lines < LINES_A_SECOND {
            self.lines += 1;
            return Verdict::Written;
        }
        self.left_out += 1;
        Verdict::LeftOut
    }
}

impl Floods {
    fn admit(&self, place: Identifier) -> Verdict {
        let second = self.started.elapsed().as_secs() + 1;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place).or_default().admit(second)
    }
}

impl<S: Subscriber> Layer<S> for Floods {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let place = event.metadata();
        // What says that lines are missing is not left out itself: it is one line for a place in a
        // second, and its number is told nowhere else.
        if *place.level() > Level::WARN || place.target() == NOTICE {
            return true;
        }
        match self.admit(place.callsite()) {
            Verdict::Written => true,
            Verdict::WrittenAfter(left_out) => {
                let place = place.name();
                let what = "lines like the next were left out";
                tracing::warn!(target: NOTICE, left_out, place, "{what}");
                true
            }
            Verdict::LeftOut => {
                LEFT_OUT.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::logging::with_notice;

    #[test]
    fn a_place_writes_so_many_lines_in_a_second_and_says_what_is_missing() {
        let mut window = Window::default();
        for _ in 0..LINES_A_SECOND {
            assert_eq!(window.admit(1), Verdict::Written);
        }
        assert_eq!(window.admit(1), Verdict::LeftOut);
        assert_eq!(window.admit(1), Verdict::LeftOut);
        assert_eq!(window.admit(2), Verdict::WrittenAfter(2));
        assert_eq!(window.admit(2), Verdict::Written);
        assert_eq!(window.admit(3), Verdict::Written);
    }

    #[test]
    fn an_earlier_second_opens_no_window_again() {
        let mut window = Window::default();
        assert_eq!(window.admit(2), Verdict::Written);
        for second in (1..=2).cycle().take(9) {
            assert_eq!(window.admit(second), Verdict::Written);
        }
        assert_eq!(window.admit(1), Verdict::LeftOut);
        assert_eq!(window.admit(2), Verdict::LeftOut);
        assert_eq!(window.admit(3), Verdict::WrittenAfter(2));
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn with(&self, text: &str) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
        }
    }

    /// The second after a flood: its next line comes with the number.
    fn a_second_later(floods: &Floods) {
        for window in floods.places.lock().unwrap().values_mut() {
            window.second = 0;
        }
    }

    #[test]
    fn one_place_that_floods_silences_no_other_and_is_told_of() {
        let (lines, floods) = (Lines::default(), Floods::default());
        // The line that says how many are missing is a warning, which nobody asked for.
        let filter = with_notice(EnvFilter::new("error,asked=info"));
        let writer = lines.clone();
        let written = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(filter);
        let subscriber = subscriber.with(floods.clone()).with(written);
        // As in the process: one of a scope would not take a line that is made while it is asked.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let (before, flood) = (left_out(), || tracing::error!("a flood"));
        // Some seconds may pass meanwhile, not more.
        (0..100).for_each(|_| flood());
        (0..100).for_each(|_| tracing::info!(target: "asked", "asked for"));
        tracing::warn!(target: "elsewhere", "not asked for");
        tracing::error!("another place");
        a_second_later(&floods);
        flood();
        let floods = lines.with("a flood");
        assert!((10..=60).contains(&floods), "{floods}");
        assert_eq!((lines.with("asked for"), lines.with("another place")), (100, 1));
        assert!(left_out() - before >= 40);
        assert!(lines.with("lines like the next were left out") >= 1);
        assert_eq!(lines.with("not asked for"), 0);
    }
}
