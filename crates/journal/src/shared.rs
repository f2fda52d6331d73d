//! What the threads of one journal and its handles have in common.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::cosigned::Cosigned;
use crate::disk::Disk;
use crate::journal::SignedCheckpoint;
use crate::queue::Queue;
use crate::retention::SignedTombstone;
use crate::status::Moments;
use crate::syncer::SyncDesk;
use crate::tail::Tail;
use crate::{Config, JournalUnavailable};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) queue: Queue,
    pub(crate) desk: SyncDesk,
    pub(crate) tail: Tail,
    /// Durable entries. Nothing beyond is shown to anybody.
    pub(crate) size: watch::Sender<u64>,
    pub(crate) checkpoint: watch::Sender<SignedCheckpoint>,
    /// What says that the oldest entries are gone.
    pub(crate) tombstone: watch::Sender<Option<SignedTombstone>>,
    pub(crate) cosigned: Cosigned,
    /// First entries of the segments that exist, ascending. The last one is being written.
    pub(crate) segments: Mutex<Vec<u64>>,
    pub(crate) moments: Moments,
    failed: AtomicBool,
}

/// What [`Shared::new`] starts from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) desk: SyncDesk,
    pub(crate) tail: Tail,
    pub(crate) size: u64,
    pub(crate) checkpoint: SignedCheckpoint,
    pub(crate) tombstone: Option<SignedTombstone>,
    pub(crate) segments: Vec<u64>,
}

impl Shared {
    pub(crate) fn new(start: Start) -> Self {
        let Start { config, disk, desk, tail, size, checkpoint, tombstone, segments } = start;
        Self {
            queue: Queue::new(config.queue_entries_max, config.queue_entries_reserved),
            config,
            disk,
            desk,
            tail,
            size: watch::Sender::new(size),
            checkpoint: watch::Sender::new(checkpoint),
            tombstone: watch::Sender::new(tombstone),
            cosigned: Cosigned::default(),
            segments: Mutex::new(segments),
            moments: Moments::new(size),
            failed: AtomicBool::new(false),
        }
    }

    /// After this nothing more is acknowledged. There is no way back but a restart: after a failed
    /// fsync the kernel may have dropped the very pages a second one would call clean.
    pub(crate) fn fail(&self, step: &'static str, error: &std::io::Error) {
        tracing::error!(step, %error, "the journal failed and takes no more entries");
        self.failed.store(true, Ordering::SeqCst);
        self.queue.close(JournalUnavailable::Failed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The first entry that is still there.
    pub(crate) fn first(&self) -> u64 {
        self.tombstone.borrow().as_ref().map_or(0, |signed| signed.tombstone.end)
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, Vec<u64>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.config.dir.join(WAL_DIR)
    }
}

/// The folder of the write-ahead segments.
pub(crate) const WAL_DIR: &str = "wal";
/// The file with the signed checkpoint.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The file that says which entries were removed.
pub(crate) const TOMBSTONE_FILE: &str = "tombstone";
/// The file with the newest checkpoint that witnesses cosigned.
pub(crate) const COSIGNED_FILE: &str = "cosigned-checkpoint";
/// The file with the durable mark, among the segments.
pub(crate) const MARK_FILE: &str = "durable";
/// The file that the writer holds locked.
pub(crate) const LOCK_FILE: &str = "lock";

/// The name of the segment that begins with entry `first`.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}")
}
