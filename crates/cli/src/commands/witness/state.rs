//! What a witness cosigned last: a file for each log, named by the SHA-256 of its origin, with the
//! note that the log signed. Beside it, where a log contradicted it, both notes: what the log signed
//! first and what it signed then, which is proof without the word of this witness.

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

    /// Judges a checkpoint against what was cosigned last, and keeps its note if it is good. The
    /// first of each kind that is not is kept as well. One at a time; on the disk when this returns.
    pub(super) fn advance(
        &self,
        to: &Checkpoint,
        note: &str,
        judge: impl FnOnce(Option<(u64, Hash)>) -> Result<(), WitnessRefusal>,
    ) -> io::Result<Result<(), WitnessRefusal>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match known.get(&to.origin) {
            Some(before) => *before,
            None => self.read(&to.origin)?,
        };
        if let Err(refusal) = judge(before) {
            if let Err(error) = self.keep_refused(&to.origin, note, refusal) {
                tracing::error!(%error, "a checkpoint that is not cosigned cannot be kept");
            }
            return Ok(Err(refusal));
        }
        let after = (to.size, to.root);
        if before != Some(after) {
            let text = format!("{}\n{}\n{}\n\n{note}", to.size, to.root, to.origin);
            self.write(&to.origin, "tree", &text)?;
        }
        // Crash here: kept and not signed. The log asks again from this size.
        known.insert(to.origin.clone(), Some(after));
        Ok(Ok(()))
    }

    /// Keeps the note that was cosigned last and one that does not go with it; the first one.
    /// Another tree of one size is proof. A proof that does not hold may be anybody's, so it has a
    /// file of its own and does not take the place of that.
    fn keep_refused(&self, origin: &str, note: &str, refusal: WitnessRefusal) -> io::Result<()> {
        let ending = match refusal {
            WitnessRefusal::Forked { .. } => "fork",
            WitnessRefusal::NotConsistent => "refused",
            WitnessRefusal::Conflict { .. }
            | WitnessRefusal::Malformed
            | WitnessRefusal::OriginUnknown
            | WitnessRefusal::Unsigned => return Ok(()),
        };
        if self.path(origin, ending).exists() {
            return Ok(());
        }
        let before = fs::read_to_string(self.path(origin, "tree"))?;
        let before = before.split_once("\n\n").map_or("", |(_, before)| before);
        self.write(origin, ending, &format!("{before}\n{note}"))
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

    fn write(&self, origin: &str, ending: &str, text: &str) -> io::Result<()> {
        let new = self.path(origin, &format!("{ending}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path(origin, ending))?;
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
                .advance(&first, "seven\n\nsigned\n", |known| {
                    assert!(known.is_none());
                    Ok(())
                })
                .unwrap(),
            Ok(())
        );
        drop(state);
        let state = State::open(&folder).unwrap();
        // Of what is refused the first of each kind is kept, with what was cosigned before.
        let forked = WitnessRefusal::Forked { size: 7 };
        for (size, note, refusal) in [
            (9, "nine\n", WitnessRefusal::NotConsistent),
            (8, "eight\n", WitnessRefusal::NotConsistent),
            (7, "another seven\n", forked),
            (7, "a third seven\n", forked),
            (6, "six\n", WitnessRefusal::Conflict { size: 7 }),
        ] {
            let refused = state.advance(&checkpoint(size, b"b"), note, |known| {
                assert_eq!(known, Some((7, first.root)));
                Err(refusal)
            });
            assert_eq!(refused.unwrap(), Err(refusal));
        }
        let kept = |ending| fs::read_to_string(state.path("log.example", ending)).unwrap();
        assert_eq!(kept("refused"), "seven\n\nsigned\n\nnine\n");
        assert_eq!(kept("fork"), "seven\n\nsigned\n\nanother seven\n");
        fs::write(state.path("log.example", "tree"), "8\n").unwrap();
        drop(state);
        let state = State::open(&folder).unwrap();
        assert!(
            state.advance(&checkpoint(9, b"b"), "nine\n", |_| Ok(())).is_err(),
            "a broken file"
        );
        drop(state);
        fs::remove_dir_all(folder).unwrap();
    }
}
