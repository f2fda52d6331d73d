//! Whose turn it is to change the registry: one at a time, and what takes rights away comes first.
//!
//! Anybody who may ask for a token can cause changes, and many at once. They wait at a gate: at most one
//! of them stands before an operator's lock, beside the one whose turn it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// The turns of one authority. A turn lasts until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    changing: Mutex<()>,
    /// Held while waiting for `changing`, and not longer.
    gate: Mutex<()>,
    urgent: AtomicUsize,
}

impl Turns {
    /// The turn of any change, in the order of asking.
    pub(crate) async fn next(&self) -> MutexGuard<'_, ()> {
        let _first = self.gate.lock().await;
        self.changing.lock().await
    }

    /// The turn of an operator's change that takes rights away. Who walks through a file gives way to it.
    pub(crate) async fn urgent(&self) -> MutexGuard<'_, ()> {
        self.urgent.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.urgent);
        self.changing.lock().await
    }

    /// Whether such a change waits.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) > 0
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Which turns were had before the urgent one, when `others` waited before it.
    async fn turns_before(others: usize) -> usize {
        let (turns, had) = (Arc::new(Turns::default()), Arc::new(AtomicUsize::default()));
        let first = turns.next().await;
        let waiting: Vec<_> = (0..others)
            .map(|_| {
                let (turns, had) = (Arc::clone(&turns), Arc::clone(&had));
                tokio::spawn(async move {
                    let _turn = turns.next().await;
                    had.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let urgent = async {
            let _turn = turns.urgent().await;
            assert!(!turns.is_urgent());
            had.load(Ordering::SeqCst)
        };
        let released = async {
            tokio::task::yield_now().await;
            assert!(turns.is_urgent());
            drop(first);
        };
        let (before, ()) = tokio::join!(urgent, released);
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(had.load(Ordering::SeqCst), others);
        before
    }

    #[tokio::test]
    async fn one_change_at_most_comes_before_what_is_urgent() {
        assert_eq!(turns_before(0).await, 0);
        assert!(turns_before(1).await <= 1);
        assert!(turns_before(100).await <= 1);
    }
}
