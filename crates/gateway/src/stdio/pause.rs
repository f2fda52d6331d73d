//! How long to wait before a child is started again.

use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::UpstreamFailure;

/// Grows with every start that failed soon.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// Refuses a start that comes too early. The caller is told at once instead of being kept.
    pub(super) fn verify_over(&self, now: Instant) -> Result<(), UpstreamFailure> {
        match self.until {
            Some(until) if now < until => Err(UpstreamFailure::Unreachable),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes the end of a child that nobody asked for. One that lived long starts a new count.
    pub(super) fn failed(&mut self, lived: Duration, now: Instant) {
        self.failures = if lived >= LONG_LIFE { 0 } else { self.failures.saturating_add(1) };
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = FIRST_PAUSE * 2_u32.pow(doublings);
        self.until = (self.failures > 0).then(|| now + pause);
    }

    /// Notes that a child works.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// 250 ms doubled eight times: 64 s at most.
const DOUBLINGS_MAX: u32 = 8;
const LONG_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_early_end_doubles_the_pause_up_to_a_limit() {
        let mut pause = Pause::default();
        let now = Instant::now();
        for expected_ms in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000] {
            pause.failed(Duration::from_secs(1), now);
            let end = now + Duration::from_millis(expected_ms);
            assert_eq!(
                pause.verify_over(end - Duration::from_millis(1)),
                Err(UpstreamFailure::Unreachable)
            );
            assert_eq!(pause.verify_over(end), Ok(()));
        }
    }

    #[test]
    fn a_long_life_is_no_failure() {
        let mut pause = Pause::default();
        let now = Instant::now();
        pause.failed(Duration::ZERO, now);
        pause.failed(Duration::from_secs(60), now);
        assert_eq!(pause.verify_over(now), Ok(()));
        pause.failed(Duration::ZERO, now);
        pause.reset();
        assert_eq!(pause.verify_over(now), Ok(()));
    }
}
