//! How many connections a listener has and had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The connections of one listener. Clones count the same ones.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    handshakes_failed: AtomicU64,
    crowded_out: AtomicU64,
}

/// One open connection; closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Connections);

impl Connections {
    /// Open ones.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// All that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// TLS handshakes that failed or took too long.
    #[must_use]
    pub fn handshakes_failed(&self) -> u64 {
        self.0.handshakes_failed.load(Ordering::Relaxed)
    }

    /// Those that were closed at once, because their address had its share.
    #[must_use]
    pub fn crowded_out(&self) -> u64 {
        self.0.crowded_out.load(Ordering::Relaxed)
    }

    pub(crate) fn accept(&self) -> OpenConnection {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }

    pub(crate) fn crowd_out(&self) {
        self.0.crowded_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_failed(&self) {
        self.0.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
