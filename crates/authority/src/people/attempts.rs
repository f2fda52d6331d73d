//! How often something was tried lately, by name or address.
//!
//! A fixed number of keys is remembered; when there is no room, what is not known yet is refused:
//! forgetting would be a way to try again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Counts in windows of one length.
#[derive(Debug)]
pub(crate) struct Counted {
    window_s: u64,
    keys: Mutex<HashMap<String, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began_s: u64,
    count: u32,
}

impl Counted {
    pub(crate) fn new(window_s: u64) -> Self {
        Self { window_s, keys: Mutex::default() }
    }

    /// Whether fewer than `max` were counted under a key; says otherwise how long to wait.
    pub(crate) fn look(&self, key: &str, max: u32, now_s: u64) -> Result<(), u64> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(key) {
            Some(window) if self.lasts(*window, now_s) && window.count >= max => {
                Err(window.began_s.saturating_add(self.window_s).saturating_sub(now_s))
            }
            Some(_) => Ok(()),
            None if keys.len() >= KEYS_MAX
                && keys.values().all(|window| self.lasts(*window, now_s)) =>
            {
                Err(self.window_s)
            }
            None => Ok(()),
        }
    }

    /// Counts one.
    pub(crate) fn count(&self, key: &str, now_s: u64) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX && !keys.contains_key(key) {
            keys.retain(|_, window| self.lasts(*window, now_s));
            if keys.len() >= KEYS_MAX {
                return;
            }
        }
        let window = keys.entry(key.to_owned()).or_insert(Window { began_s: now_s, count: 0 });
        if !self.lasts(*window, now_s) {
            *window = Window { began_s: now_s, count: 0 };
        }
        window.count = window.count.saturating_add(1);
    }

    /// Takes one back that was counted and did not fail.
    pub(crate) fn give_back(&self, key: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = keys.get_mut(key) {
            window.count = window.count.saturating_sub(1);
        }
    }

    /// Forgets a key: what was tried succeeded.
    pub(crate) fn forget(&self, key: &str) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    const fn lasts(&self, window: Window, now_s: u64) -> bool {
        now_s < window.began_s.saturating_add(self.window_s)
    }
}

/// Some 100 bytes each.
const KEYS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_used_up_and_ends() {
        let counted = Counted::new(60);
        for _ in 0..3 {
            assert_eq!(counted.look("ann", 3, 10), Ok(()));
            counted.count("ann", 10);
        }
        assert_eq!(counted.look("ann", 3, 10), Err(60));
        assert_eq!(counted.look("ann", 3, 69), Err(1));
        assert_eq!(counted.look("bob", 3, 69), Ok(()));
        assert_eq!(counted.look("ann", 3, 70), Ok(()));
        counted.count("ann", 70);
        counted.forget("ann");
        assert_eq!(counted.look("ann", 1, 70), Ok(()));
        counted.count("ann", 70);
        counted.give_back("ann");
        assert_eq!(counted.look("ann", 1, 70), Ok(()));
        counted.give_back("nobody");
        assert_eq!(counted.look("nobody", 1, 70), Ok(()));
    }

    #[test]
    fn without_room_nobody_new_may_try() {
        let counted = Counted::new(60);
        for number in 0..KEYS_MAX + 10 {
            counted.count(&number.to_string(), 10);
        }
        assert_eq!(counted.keys.lock().unwrap().len(), KEYS_MAX);
        assert_eq!(counted.look("new", 3, 10), Err(60));
        assert_eq!(counted.look("1", 3, 10), Ok(()));
        assert_eq!(counted.look("new", 3, 70), Ok(()));
    }
}
