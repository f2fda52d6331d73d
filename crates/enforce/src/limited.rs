//! What is told of a limit that was reached.

use std::time::Duration;

use attorn_net::TooSoon;
use attorn_telemetry::Limit;

/// A limit was reached. It says how long to stay away, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which.
    pub limit: Limit,
    /// How long to stay away.
    pub wait: Duration,
}

impl Limited {
    /// The limit that a bucket or a circuit stands for.
    pub fn by(limit: Limit) -> impl FnOnce(TooSoon) -> Self {
        move |TooSoon(wait)| Self { limit, wait }
    }

    /// RFC 9110 section 10.2.3: whole seconds, never zero, and up to a quarter more.
    pub fn retry_after_s(&self, spread: u8) -> u64 {
        let rest = u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero());
        let wait_s = self.wait.as_secs() + rest;
        wait_s + u64::from(spread) % (wait_s / 4 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        let after = |ms| {
            let wait = Duration::from_millis(ms);
            Limited { limit: Limit::Agent, wait }.retry_after_s(0)
        };
        assert_eq!([0, 1, 1_000, 1_001, 29_999].map(after), [1, 1, 1, 2, 30]);
        let limited = Limited { limit: Limit::Circuit, wait: Duration::from_secs(8) };
        assert_eq!([1, 2, 3].map(|spread| limited.retry_after_s(spread)), [9, 10, 8]);
    }
}
