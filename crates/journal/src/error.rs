//! What can go wrong with a journal. All of it is ours or the world's, none of it the peer's.

use std::io;

use attorn_audit::checkpoint::CheckpointError;
use attorn_audit::tombstone::TombstoneError;

/// Why an entry was not acknowledged. Whatever the entry was to precede must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalUnavailable {
    /// Too much is waiting. Nothing was recorded; a later attempt may succeed.
    #[error("the journal has too much waiting")]
    Busy,
    /// The journal is closing or closed.
    #[error("the journal is closed")]
    Closed,
    /// The entry is longer than an entry bundle can hold. Nothing was recorded.
    #[error("the entry is longer than 65535 bytes")]
    EntryTooLong,
    /// A write or fsync failed earlier. Only a restart, which reads back what is there, helps.
    #[error("the journal failed and must be opened again")]
    Failed,
    /// There is no space left. Nothing was recorded; works again once there is space.
    #[error("there is no space left for the journal")]
    StorageFull,
    /// No acknowledgement in time. The entry may still be recorded.
    #[error("the journal did not answer in time")]
    TimedOut,
}

/// Why a journal cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Fewer entries are there than were acknowledged as durable.
    #[error("{acknowledged} entries were acknowledged, but only {found} are there")]
    AcknowledgedLost {
        /// Entries acknowledged.
        acknowledged: u64,
        /// Entries found.
        found: u64,
    },
    /// The entries do not hash to the root that the checkpoint signed.
    #[error("the entries do not match the checkpoint of {size} entries")]
    CheckpointMismatch {
        /// Size of the checkpoint.
        size: u64,
    },
    /// There are entries, but no checkpoint.
    #[error("the checkpoint is missing")]
    CheckpointMissing,
    /// The checkpoint is not one of this log.
    #[error("checkpoint: {0}")]
    CheckpointRefused(CheckpointError),
    /// Reading or writing failed.
    #[error("the folder of the journal cannot be used")]
    Io(#[from] io::Error),
    /// Another writer holds the folder.
    #[error("another process writes this journal")]
    Locked,
    /// The signing key is named otherwise than the log.
    #[error("the signing key belongs to another log")]
    OriginMismatch,
    /// A record that is not the last one is broken or of another log.
    #[error("the record of entry {index} is broken")]
    RecordBroken {
        /// The first entry that cannot be read.
        index: u64,
    },
    /// A tile that cannot be made again is missing or broken.
    #[error("the tile of entry {index} is missing or broken")]
    TileBroken {
        /// The first entry below the tile.
        index: u64,
    },
    /// The tombstone removes other entries than this log had.
    #[error("the tombstone of {end} entries does not fit the log")]
    TombstoneMismatch {
        /// Entries that it says were removed.
        end: u64,
    },
    /// The tombstone is not one of this log.
    #[error("tombstone: {0}")]
    TombstoneRefused(TombstoneError),
}

/// Why entries or proofs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The checkpoint is missing or malformed.
    #[error("the checkpoint is missing or malformed")]
    Checkpoint,
    /// The entry is not a JSON object, so that a bundle cannot hold it.
    #[error("entry {index} is not a JSON object")]
    EntryNotJson {
        /// Position in the log.
        index: u64,
    },
    /// Reading failed.
    #[error("the folder of the journal cannot be read")]
    Io(#[from] io::Error),
    /// There is no such entry yet.
    #[error("entry {index} is not there")]
    Missing {
        /// Position in the log.
        index: u64,
    },
    /// A record that is not the last one is broken.
    #[error("the record of entry {index} is broken")]
    RecordBroken {
        /// The first entry that cannot be read.
        index: u64,
    },
    /// The entries were removed on purpose; a signed tombstone says so.
    #[error("entries before {first} were removed by retention")]
    Removed {
        /// The first entry that is still there.
        first: u64,
    },
    /// A tile is missing or broken.
    #[error("the tile of entry {index} is missing or broken")]
    TileBroken {
        /// The first entry below the tile.
        index: u64,
    },
    /// The tombstone is malformed, or of another log.
    #[error("the tombstone is malformed, or of another log")]
    Tombstone,
}

/// Why entries are not removed. Nothing is missing then that no tombstone covers.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Not whole tiles, or not between what is removed already and what may be.
    #[error("entries can be removed up to {most} only, in whole tiles of 256")]
    Boundary {
        /// See [`crate::Journal::removable`].
        most: u64,
    },
    /// What removed entries still count for is more than a tombstone can hold.
    #[error("the removed entries still count for more than a tombstone can hold")]
    Carried,
    /// Writing the tombstone or removing a file failed.
    #[error("the files of the journal cannot be changed")]
    Io(#[from] io::Error),
    /// The removal cannot be announced.
    #[error(transparent)]
    Journal(#[from] JournalUnavailable),
    /// The tree over the entries cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
