//! Wall time as an argument.

use std::fmt;
use std::sync::Arc;

/// Wall time, handed to every edge. The binary gives the system clock, tests a scripted one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// `now_ms` returns milliseconds since the Unix epoch.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }

    /// Whole seconds since the Unix epoch, as JWT claims count them (RFC 7519 section 2).
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_seconds() {
        let clock = Clock::new(|| 1_999);
        assert_eq!(clock.now_ms(), 1_999);
        assert_eq!(clock.now_s(), 1);
    }
}
