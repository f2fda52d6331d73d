//! The durable, signed, append-only log.
//!
//! A journal is a folder:
//!
//! ```text
//! lock                     held while a writer is alive
//! wal/<first index>        write-ahead segments: what makes an entry durable
//! wal/durable              how many entries were fsynced: a shorter log lost some
//! tile/<L>/<N>[.p/<W>]     hashes, C2SP tlog-tiles
//! tile/entries/<N>[.p/<W>] entries, C2SP tlog-tiles
//! checkpoint               signed size and root, C2SP tlog-checkpoint
//! tombstone                signed: which entries were removed, if any were
//! cosigned-checkpoint      an earlier one with cosignatures of witnesses; never read back
//! ```
//!
//! What holds, whatever line the process dies on:
//! - an entry acknowledged under [`Durability::Fsync`] is on the disk;
//! - an entry acknowledged under [`Durability::Written`] has left the process;
//! - a checkpoint covers only entries on the disk;
//! - after a failed write or fsync of the write-ahead segment nothing more is acknowledged;
//! - no entry is removed before a durable tombstone says so, and no hash ever is;
//! - a restart cuts only what was never acknowledged, and refuses a log that was changed.
//!
//! Three threads do the work: the writer writes batches, the syncer makes them durable, the
//! integrator turns them into tiles and signs checkpoints.
//!
//! Not implemented: serving the tiles over HTTP.

mod check;
mod config;
mod cosigned;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod folder;
mod integrator;
mod journal;
mod mark;
mod offline;
mod prove;
mod queue;
mod recover;
mod retention;
mod shared;
mod status;
mod syncer;
mod tail;
mod tiles;
mod wal;
mod writer;

pub use self::check::{CheckError, Checked, check};
pub use self::config::{Config, Durability};
pub use self::error::{JournalUnavailable, OpenError, ReadError, RemoveError};
pub use self::journal::{Journal, Recovered, SignedCheckpoint};
pub use self::offline::{export, origin, read_all, read_checkpoint};
pub use self::retention::{Removal, SignedTombstone};
pub use self::status::Status;
