//! Settings of a journal.

use std::path::PathBuf;

use attorn_audit::note::NoteVerifier;

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync` of the batch: survives a loss of power.
    Fsync,
    /// After `write(2)`: survives the end of the process. On the disk within
    /// [`Config::fsync_read_ms`].
    Written,
}

/// Settings of a journal. [`Config::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log's folder; made if missing.
    pub dir: PathBuf,
    /// Names the log: `<deployment>/<role>/<node>`. Must be the name of the signing key.
    pub origin: String,
    /// Keys that signed this log before: their last checkpoint is accepted once more.
    pub retired_keys: Vec<NoteVerifier>,
    /// The longest time, in milliseconds, between a `Written` acknowledgement and the fsync.
    pub fsync_read_ms: u64,
    /// The longest time, in milliseconds, between an fsync and the checkpoint that covers it.
    pub integrate_ms: u64,
    /// Most entries that wait for the writer before appends are refused.
    pub queue_entries_max: usize,
    /// Entries of that number kept free for [`crate::Journal::append_emergency`].
    pub queue_entries_reserved: usize,
    /// The longest time, in milliseconds, an append waits for its acknowledgement.
    pub append_timeout_ms: u64,
    /// Size, in bytes, at which a write-ahead segment is closed and the next one begun.
    pub segment_bytes_max: u64,
}

impl Config {
    /// The defaults for the log with this origin in this folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, origin: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            origin: origin.into(),
            retired_keys: Vec::new(),
            fsync_read_ms: 20,
            // Leaves room for the tiles within the promised second.
            integrate_ms: 500,
            queue_entries_max: 8_192,
            queue_entries_reserved: 64,
            append_timeout_ms: 5_000,
            segment_bytes_max: 32 << 20,
        }
    }
}
