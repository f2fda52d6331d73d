//! The only place that reads the system clock and draws random bytes.

use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::rand;

/// Milliseconds since 1970-01-01T00:00:00Z; 0 if the system clock stands before it.
pub(crate) fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970-01-01T00:00:00Z.
pub(crate) fn now_s() -> u64 {
    now_ms() / 1000
}

/// Fills `bytes` from the operating system's generator.
///
/// Aborts the process when the generator fails: no key, nonce or id may be guessable.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    if rand::fill(bytes).is_err() {
        std::process::abort();
    }
}

/// `N` fresh random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}
