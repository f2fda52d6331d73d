//! The few things a journal does to a disk that may fail halfway.
//!
//! A trait, because the fault table of the tests must break each of them; the product has one
//! implementation. Reading is not part of it: a failed read changes nothing.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

/// Changes to a folder.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// An empty segment, replacing a file of that name, with `room` bytes set aside for it.
    fn create_segment(&self, path: &Path, room: u64) -> io::Result<Arc<dyn Segment>>;
    /// Writes a whole file, and the folders above it. Nothing of it survives a loss of power yet.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file its name in one step: before it the old content is there, after it the new.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a file's content, or a folder's names, survive a loss of power.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a segment its final length, gives back what was set aside for it, and makes what is
    /// left survive a loss of power.
    fn finish_segment(&self, path: &Path, bytes: u64) -> io::Result<()>;
}

/// A write-ahead segment open for appending.
pub(crate) trait Segment: fmt::Debug + Send + Sync {
    /// Adds bytes at the end. After an error any part of them may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Takes back what was added after `bytes`.
    fn cut(&self, bytes: u64) -> io::Result<()>;
    /// `fdatasync(2)`: the length is part of what it saves.
    fn sync(&self) -> io::Result<()>;
    /// Gives back what was set aside beyond `bytes`. Costs no more than space if it fails.
    fn give_back(&self, bytes: u64);
}

/// The file system.
#[derive(Debug)]
pub(crate) struct FileSystem;

impl Disk for FileSystem {
    fn create_segment(&self, path: &Path, room: u64) -> io::Result<Arc<dyn Segment>> {
        // Appending mode, so that a write after `cut` lands at the new end.
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        file.set_len(0)?;
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, room) {
            Ok(()) => {}
            // Without this the space is not reserved, but nothing else changes.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Arc::new(SegmentFile::new(file)))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match fs::write(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::write(path, bytes)
            }
            done => done,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn finish_segment(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        give_back(&file, bytes);
        file.sync_all()
    }
}

#[derive(Debug)]
struct SegmentFile {
    file: File,
    /// A write-back failed. The kernel tells that once per open file, to one of the two threads
    /// that sync; the other must hear of it too, or it would acknowledge what is lost.
    sync_failed: Mutex<bool>,
}

impl SegmentFile {
    fn new(file: File) -> Self {
        Self { file, sync_failed: Mutex::new(false) }
    }

    fn sync_with(&self, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let mut failed = self.sync_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("an earlier fsync of the segment failed"));
        }
        let synced = sync(&self.file);
        *failed = synced.is_err();
        synced
    }
}

impl Segment for SegmentFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_with(File::sync_data)
    }

    fn give_back(&self, bytes: u64) {
        give_back(&self.file, bytes);
    }
}

fn give_back(file: &File, bytes: u64) {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // To the end of any file: nothing but unused space stands there.
    if let Err(error) = fallocate(file, mode, bytes, ROOM_BYTES_MAX) {
        tracing::debug!(%error, "space set aside for a segment cannot be given back");
    }
}

/// More than is ever set aside for a segment.
const ROOM_BYTES_MAX: u64 = 1 << 40;

/// Whether the error says that there is no space, which may pass.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a file under a temporary name, then gives it its own. A reader never sees half of it;
/// after a loss of power it may be missing or empty, so this is for files that can be made again.
pub(crate) fn publish(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(TEMPORARY);
    disk.write(&temporary, bytes)?;
    disk.rename(&temporary, path)
}

/// As [`publish`], and it survives a loss of power once this returns.
pub(crate) fn publish_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(TEMPORARY);
    disk.write(&temporary, bytes)?;
    // The content must be there before the name is, or a crash leaves the name of nothing.
    disk.sync(&temporary)?;
    disk.rename(&temporary, path)?;
    // Crash here: the old content or the new one, both whole.
    path.parent().map_or(Ok(()), |folder| disk.sync(folder))
}

const TEMPORARY: &str = "tmp";

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread may sync between the failure and the moment the other has told of it.
    #[test]
    fn a_failed_sync_is_told_to_everybody() {
        let path = std::env::temp_dir().join(format!("attorn-sync-{}", std::process::id()));
        let segment = SegmentFile::new(File::create(&path).unwrap());
        assert!(segment.sync().is_ok());
        let failed = segment.sync_with(|_| Err(io::Error::from_raw_os_error(5)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(5));
        assert!(segment.sync().is_err());
        drop(fs::remove_file(path));
    }
}
