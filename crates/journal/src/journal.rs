//! The handle that everybody holds.

use std::ops::Range;
use std::sync::Arc;

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::NoteSigner;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{Config, Durability, JournalUnavailable, OpenError, ReadError};

/// A journal open for writing. Clones write the same log.
#[derive(Clone, Debug)]
pub struct Journal {
    size: watch::Sender<u64>,
    checkpoint: watch::Sender<SignedCheckpoint>,
}

/// A checkpoint and the signed note it came from.
#[derive(Clone, Debug)]
pub struct SignedCheckpoint {
    /// Size and root.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Arc<str>,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut from the end: a record that was being written and never acknowledged.
    pub cut_bytes: u64,
    /// The entries that were read again, the latest ones: look here for calls without an outcome.
    pub replayed: Range<u64>,
    /// Number of entries.
    pub size: u64,
}

impl Journal {
    /// Opens the log, or begins it. Blocks; call it before serving.
    ///
    /// # Errors
    /// Refuses a log that another process writes, that lost entries, or that was changed.
    pub fn open(config: Config, signer: NoteSigner) -> Result<(Self, Recovered), OpenError> {
        drop((config, signer));
        Err(OpenError::Locked)
    }

    /// Adds an entry (RFC 8785 bytes) and gives its index once it is as durable as asked.
    ///
    /// # Errors
    /// Any error means: do not do what the entry announces.
    pub async fn append(
        &self,
        entry: Vec<u8>,
        durability: Durability,
    ) -> Result<u64, JournalUnavailable> {
        drop((entry, durability));
        Err(JournalUnavailable::Closed)
    }

    /// Adds an entry that takes rights away (a lock or a revocation), always with an fsync. It may
    /// use the places in the queue and the space on the disk that are kept free for it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_emergency(&self, entry: Vec<u8>) -> Result<u64, JournalUnavailable> {
        drop(entry);
        Err(JournalUnavailable::Closed)
    }

    /// Number of durable entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.size.borrow()
    }

    /// Follows [`Journal::size`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// The latest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> SignedCheckpoint {
        self.checkpoint.borrow().clone()
    }

    /// Entries by index; those beyond [`Journal::size`] are left out.
    ///
    /// # Errors
    /// Fails if a tile cannot be read.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
        Err(ReadError::Missing { index: range.start })
    }

    /// An export bundle of these entries; waits for a checkpoint that covers them.
    ///
    /// # Errors
    /// Refuses an index that is not in the log, and fails if a tile cannot be read.
    pub async fn export(&self, indices: &[u64]) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Missing { index: indices.first().copied().unwrap_or(0) })
    }

    /// Records what is waiting, signs a last checkpoint and frees the folder.
    pub async fn close(self) {}
}
