//! Refusals that anybody can cause, counted beyond a rate instead of written.
//!
//! Without this, a stranger could fill the disk of the journal by being refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use attorn_registry::ReasonCode;

/// How many refusals of each reason were written in the current second.
#[derive(Debug, Default)]
pub(crate) struct Noise(Mutex<HashMap<ReasonCode, Window>>);

#[derive(Debug, Default)]
struct Window {
    second: u64,
    written: u32,
    suppressed: u64,
}

impl Noise {
    /// Whether one more refusal is written out; if so, how many were not since the last one.
    pub(crate) fn admit(&self, reason: ReasonCode, now_s: u64) -> Option<u64> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(reason).or_default();
        if window.second != now_s {
            window.second = now_s;
            window.written = 0;
        }
        if window.written >= PER_SECOND_MAX {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// More than honest clients ever cause, less than an SSD notices.
const PER_SECOND_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_rate_refusals_are_counted() {
        let noise = Noise::default();
        for _ in 0..PER_SECOND_MAX {
            assert_eq!(noise.admit(ReasonCode::TokenMissing, 1), Some(0));
        }
        assert_eq!(noise.admit(ReasonCode::TokenMissing, 1), None);
        assert_eq!(noise.admit(ReasonCode::TokenMissing, 1), None);
        // Another reason has its own count, and the next second starts anew.
        assert_eq!(noise.admit(ReasonCode::TokenMalformed, 1), Some(0));
        assert_eq!(noise.admit(ReasonCode::TokenMissing, 2), Some(2));
        assert_eq!(noise.admit(ReasonCode::TokenMissing, 2), Some(0));
    }
}
