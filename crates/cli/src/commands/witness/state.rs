//! What a witness cosigned last: a file for each log, named by the SHA-256 of its origin.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::tree::Hash;
use attorn_audit::witness::WitnessRefusal;

use crate::exit::Failure;

/// The folder, held by one process.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    /// What stands in the files, read when it is asked for.
    known: Mutex<HashMap<String, Option<(u64, Hash)>>>,
    _lock: File,
}

impl State {
    /// Takes the folder. Two witnesses with one key could sign two histories.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("lock");
        let failed = |e: io::Error| Failure::usage(format!("`{}`: {e}", path.display()));
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::usage("another witness runs in this folder"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self { folder: folder.to_owned(), known: Mutex::default(), _lock: lock })
    }

    /// Judges a checkpoint against what was cosigned last, and keeps it if it is good. One at a
    /// time; on the disk when this returns.
    pub(super) fn advance(
        &self,
        to: &Checkpoint,
        judge: impl FnOnce(Option<(u64, Hash)>) -> Result<(), WitnessRefusal>,
    ) -> io::Result<Result<(), WitnessRefusal>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match known.get(&to.origin) {
            Some(before) => *before,
            None => self.read(&to.origin)?,
        };
        if let Err(refusal) = judge(before) {
            return Ok(Err(refusal));
        }
        let after = (to.size, to.root);
        if before != Some(after) {
            let text = format!("{}\n{}\n{}\n", to.size, to.root, to.origin);
            self.write(&self.path(&to.origin, "tree"), &text)?;
        }
        // Crash here: kept and not signed. The log asks again from this size.
        known.insert(to.origin.clone(), Some(after));
        Ok(Ok(()))
    }

    /// Keeps a checkpoint that contradicts what was cosigned; the first one.
    pub(super) fn keep_fork(&self, origin: &str, note: &str) -> io::Result<()> {
        let path = self.path(origin, "fork");
        if path.exists() { Ok(()) } else { self.write(&path, note) }
    }

    fn read(&self, origin: &str) -> io::Result<Option<(u64, Hash)>> {
        let text = match fs::read_to_string(self.path(origin, "tree")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut lines = text.lines();
        let size = lines.next().and_then(|size| size.parse().ok());
        let root = lines.next().and_then(Hash::from_base64);
        // Anything else is a broken file: to begin anew would let the log begin anew.
        let broken = || io::Error::other("the file of what was cosigned is broken");
        size.zip(root).filter(|_| lines.next() == Some(origin)).map(Some).ok_or_else(broken)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, origin: &str, ending: &str) -> PathBuf {
        let name = attorn_jose::base64url(&attorn_jose::sha256(origin.as_bytes()));
        self.folder.join(format!("{name}.{ending}"))
    }
}

#[cfg(test)]
mod tests {
    use attorn_audit::tree::leaf_hash;

    use super::*;

    fn checkpoint(size: u64, entry: &[u8]) -> Checkpoint {
        Checkpoint { origin: "log.example".to_owned(), size, root: leaf_hash(entry) }
    }

    #[test]
    fn what_was_cosigned_outlives_the_process_and_never_goes_back() {
        let folder = std::env::temp_dir().join(format!("attorn-witness-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let state = State::open(&folder).unwrap();
        assert!(State::open(&folder).is_err(), "one process at a time");
        let first = checkpoint(7, b"a");
        assert_eq!(
            state
                .advance(&first, |known| {
                    assert!(known.is_none());
                    Ok(())
                })
                .unwrap(),
            Ok(())
        );
        drop(state);
        let state = State::open(&folder).unwrap();
        let refuse = |known| {
            assert_eq!(known, Some((7, first.root)));
            Err(WitnessRefusal::NotConsistent)
        };
        let refused = Err(WitnessRefusal::NotConsistent);
        assert_eq!(state.advance(&checkpoint(9, b"b"), refuse).unwrap(), refused);
        assert_eq!(state.advance(&checkpoint(8, b"b"), refuse).unwrap(), refused);
        state.keep_fork("log.example", "the first").unwrap();
        state.keep_fork("log.example", "the second").unwrap();
        assert_eq!(fs::read_to_string(state.path("log.example", "fork")).unwrap(), "the first");
        fs::write(state.path("log.example", "tree"), "8\n").unwrap();
        drop(state);
        let state = State::open(&folder).unwrap();
        assert!(state.advance(&checkpoint(9, b"b"), |_| Ok(())).is_err(), "a broken file");
        drop(state);
        fs::remove_dir_all(folder).unwrap();
    }
}
