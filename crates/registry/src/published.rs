//! The snapshot in force, swapped as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::Snapshot;

/// Holds the snapshot that decisions read. Readers never wait for a writer.
#[derive(Debug)]
pub struct Published(ArcSwap<Snapshot>);

impl Published {
    /// Starts with a first snapshot.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    /// The snapshot in force now. A request loads it once and decides on that one.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a snapshot in force, unless a newer one already is.
    ///
    /// Invariant: the version in force never goes back, so a slow loader cannot undo a lock.
    /// Equal versions replace, which renews `made_ms`.
    pub fn publish(&self, next: Snapshot) {
        let next = Arc::new(next);
        self.0.rcu(
            |now| {
                if next.version < now.version { Arc::clone(now) } else { Arc::clone(&next) }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SnapshotParts;

    fn version(version: u64) -> Snapshot {
        Snapshot::new(SnapshotParts { version, ..SnapshotParts::default() })
    }

    #[test]
    fn a_newer_snapshot_replaces() {
        let published = Published::new(version(1));
        published.publish(version(2));
        assert_eq!(published.load().version, 2);
    }

    #[test]
    fn an_older_snapshot_does_not() {
        let published = Published::new(version(5));
        published.publish(version(4));
        assert_eq!(published.load().version, 5);
    }
}
