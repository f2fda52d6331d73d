//! Where a browser wanted to go before it had to log in.
//!
//! In memory and bounded, as what waits for a person: a restart costs a click. Anybody can fill it, so
//! without room the oldest goes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Paths of our own pages, by browser.
#[derive(Debug, Default)]
pub(crate) struct Returns(Mutex<HashMap<[u8; 32], Kept>>);

#[derive(Debug)]
struct Kept {
    path: String,
    until_s: u64,
}

impl Returns {
    /// Remembers the page that a browser asked for last. `path` is one that was recognized as a page
    /// of ours, and is used below the issuer alone.
    pub(crate) fn remember(&self, browser: &[u8; 32], path: &str, now_s: u64) {
        if path.len() > PATH_BYTES_MAX {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX {
            all.retain(|_, kept| now_s < kept.until_s);
        }
        if all.len() >= KEPT_MAX {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.until_s).map(|(key, _)| *key);
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let until_s = now_s.saturating_add(KEPT_S);
        all.insert(*browser, Kept { path: path.to_owned(), until_s });
    }

    /// Takes where a browser wanted to go.
    pub(crate) fn take(&self, browser: &[u8; 32], now_s: u64) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.remove(browser)?;
        (now_s < kept.until_s).then_some(kept.path)
    }
}

/// As long as a person takes to log in.
const KEPT_S: u64 = 600;
const KEPT_MAX: usize = 1024;
const PATH_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_goes_where_it_wanted_once_and_in_time() {
        let returns = Returns::default();
        returns.remember(&[1; 32], "/approvals", 10);
        returns.remember(&[1; 32], "/traces", 11);
        assert_eq!(returns.take(&[2; 32], 12), None);
        assert_eq!(returns.take(&[1; 32], 12).as_deref(), Some("/traces"));
        assert_eq!(returns.take(&[1; 32], 12), None);
        returns.remember(&[1; 32], "/traces", 10);
        assert_eq!(returns.take(&[1; 32], 10 + KEPT_S), None);
        returns.remember(&[1; 32], &"x".repeat(PATH_BYTES_MAX + 1), 10);
        assert_eq!(returns.take(&[1; 32], 11), None);
    }

    #[test]
    fn without_room_the_oldest_goes() {
        let returns = Returns::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..=KEPT_MAX {
            returns.remember(&key(number), "/approvals", 10 + u64::try_from(number).unwrap() / 8);
        }
        let left = (0..=KEPT_MAX).filter(|number| returns.take(&key(*number), 11).is_some());
        assert_eq!(left.count(), KEPT_MAX);
    }
}
