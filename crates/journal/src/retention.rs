//! Removes the oldest entries, and says so for ever.
//!
//! The order is the rule: the tombstone can be signed; an entry announces the removal; a checkpoint
//! covers that entry; the tombstone is durable; only then do files go. Hashes stay, 32 bytes of them
//! for an entry, so what was proven once can be proven again, and every later proof is what it would
//! have been.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use attorn_audit::note::NoteSigner;
use attorn_audit::tile::{Edge, TILE_WIDTH};
use attorn_audit::tombstone::Tombstone;
use attorn_audit::tree::Hash;
use attorn_audit::{Entry, Kind};

use crate::disk::{Disk, publish_durably};
use crate::folder::Folder;
use crate::journal::blocking;
use crate::shared::{Shared, TOMBSTONE_FILE};
use crate::{Durability, Journal, ReadError, RemoveError};

/// A tombstone and the signed note it came from.
#[derive(Clone, Debug)]
pub struct SignedTombstone {
    /// Which entries were removed.
    pub tombstone: Tombstone,
    /// The signed note.
    pub note: Arc<str>,
}

/// What to remove, and what to say about it.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Entries before this one go: a multiple of 256, at most [`Journal::removable`].
    pub before: u64,
    /// Who removes them.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What the removed entries still count for, all of them since the log began: see
    /// [`Tombstone::carried`]. It only grows, and a signed note has at most 1,000,000 bytes: with
    /// more nothing is removed, and nothing is announced.
    pub carried: Vec<String>,
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Journal {
    /// The first entry that is still there; 0 if none was removed.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.core.shared.first()
    }

    /// The tombstone of the removed entries, if any were.
    #[must_use]
    pub fn tombstone(&self) -> Option<SignedTombstone> {
        self.core.shared.tombstone.borrow().clone()
    }

    /// Entries before this one may be removed: they stand in durable tiles under a checkpoint, and no
    /// restart reads them again. The write-ahead segments keep the latest ones from it.
    #[must_use]
    pub fn removable(&self) -> u64 {
        let shared = &self.core.shared;
        let replayed = shared.segments().first().copied().unwrap_or(0);
        let covered = shared.checkpoint.borrow().checkpoint.size;
        replayed.min(covered) / WIDTH * WIDTH
    }

    /// Removes entries for good. What an interrupted removal left behind goes as well, also when
    /// there is nothing new to remove, that is with [`Removal::before`] equal to [`Journal::first`].
    ///
    /// # Errors
    /// Whatever the error, no entry is gone that a durable tombstone does not name.
    pub async fn remove(&self, removal: Removal) -> Result<(), RemoveError> {
        let _alone = self.core.removing.lock().await;
        let (first, most) = (self.first(), self.removable());
        let end = removal.before;
        if !end.is_multiple_of(WIDTH) || end < first || end > most {
            return Err(RemoveError::Boundary { most });
        }
        let shared = Arc::clone(&self.core.shared);
        if end > first {
            let of_root = Arc::clone(&shared);
            let root =
                blocking(move || root_before(&Folder::new(&of_root.config.dir), end)).await?;
            let mut tombstone = Tombstone {
                origin: shared.config.origin.clone(),
                end,
                root,
                // As long as any.
                announced: u64::MAX,
                time_ms: removal.now_ms,
                carried: removal.carried.clone(),
            };
            // What cannot be signed must not be announced: the announcement stays for ever.
            tombstone.sign(&self.core.signer).ok_or(RemoveError::Carried)?;
            tombstone.announced = self.announce(&removal, first, root).await?;
            let note = tombstone.sign(&self.core.signer).ok_or(RemoveError::Carried)?;
            let signed = SignedTombstone { tombstone, note: note.into() };
            let of_tombstone = Arc::clone(&shared);
            blocking(move || Ok(put_in_force(&of_tombstone, signed)?)).await?;
        }
        blocking(move || Ok(remove_bundles(&shared)?)).await?;
        Ok(())
    }

    /// Records the removal, and waits until a checkpoint covers the record.
    async fn announce(
        &self,
        removal: &Removal,
        first: u64,
        root: Hash,
    ) -> Result<u64, RemoveError> {
        let mut entry = Entry::new(Kind::JournalPruned, removal.now_ms);
        entry.by = Some(removal.by.clone());
        let facts = [
            (FIRST, first.to_string()),
            (END, removal.before.to_string()),
            (ROOT, root.to_base64()),
            ("why", removal.reason.clone()),
        ];
        entry.detail.extend(facts.map(|(name, value)| (name.to_owned(), value)));
        // Crash before this line has done its work: nothing happened.
        let announced = self.append(entry.to_canonical(), Durability::Fsync).await?;
        // Crash here: an announcement that nothing followed. The next one is as good.
        self.covering(announced.saturating_add(1)).await?;
        Ok(announced)
    }
}

/// Whether this entry announced that tombstone.
pub(crate) fn is_announcement(entry: &[u8], tombstone: &Tombstone) -> bool {
    Entry::parse(entry).is_ok_and(|entry| {
        let says = |name: &str, value: String| entry.detail.get(name) == Some(&value);
        entry.kind == Kind::JournalPruned
            && says(END, tombstone.end.to_string())
            && says(ROOT, tombstone.root.to_base64())
    })
}

/// The root over the entries before `end`, a multiple of 256, from full tiles of hashes.
pub(crate) fn root_before(folder: &Folder, end: u64) -> Result<Hash, ReadError> {
    let read = |level, index| folder.hashes(level, index, TILE_WIDTH);
    Ok(Edge::from_full_tiles(end / WIDTH, read)?.root())
}

/// A tombstone of an earlier key gets the signature of the present one, as the checkpoint does.
pub(crate) fn sign_again(
    disk: &dyn Disk,
    dir: &Path,
    signer: &NoteSigner,
    signed: Option<SignedTombstone>,
) -> io::Result<Option<SignedTombstone>> {
    let Some(SignedTombstone { tombstone, note }) = signed else { return Ok(None) };
    if Tombstone::open(&note, std::slice::from_ref(signer.verifier())).is_ok() {
        return Ok(Some(SignedTombstone { tombstone, note }));
    }
    let unsigned = || io::Error::other("the tombstone cannot be signed again");
    let note = tombstone.sign(signer).ok_or_else(unsigned)?;
    publish_durably(disk, &dir.join(TOMBSTONE_FILE), note.as_bytes())?;
    Ok(Some(SignedTombstone { tombstone, note: note.into() }))
}

fn put_in_force(shared: &Shared, signed: SignedTombstone) -> io::Result<()> {
    let path = shared.config.dir.join(TOMBSTONE_FILE);
    publish_durably(shared.disk.as_ref(), &path, signed.note.as_bytes())?;
    // Crash here: every entry is still there, and a tombstone says that some need not be.
    shared.tombstone.send_replace(Some(signed));
    Ok(())
}

/// Removes the bundles that the tombstone covers, whatever is left of them.
fn remove_bundles(shared: &Shared) -> io::Result<()> {
    let end = shared.first() / WIDTH;
    let folder = shared.config.dir.join("tile/entries");
    if end == 0 || !folder.exists() {
        return Ok(());
    }
    // Crash during this line: some are gone, some are not. The next removal takes the rest.
    remove_below(shared.disk.as_ref(), &folder, 0, end)
}

/// C2SP tlog-tiles: a folder `x<NNN>` holds the tiles whose number begins so; `<NNN>` is a tile,
/// `<NNN>.p` the partial ones.
pub(crate) fn remove_below(disk: &dyn Disk, folder: &Path, above: u64, end: u64) -> io::Result<()> {
    let mut changed = false;
    for file in fs::read_dir(folder)? {
        let (path, name) = file.map(|file| (file.path(), file.file_name()))?;
        let Some(name) = name.to_str() else { continue };
        if let Some(group) = name.strip_prefix('x').and_then(number) {
            let group = above.saturating_mul(1000).saturating_add(group);
            if group.saturating_mul(1000) < end {
                remove_below(disk, &path, group, end)?;
                remove_if_empty(&path);
            }
            continue;
        }
        // A temporary file holds entries, too.
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        let Some(tile) = number(stem) else { continue };
        if above.saturating_mul(1000).saturating_add(tile) >= end {
            continue;
        }
        changed = true;
        if path.is_dir() {
            for partial in fs::read_dir(&path)? {
                disk.remove(&partial?.path())?;
            }
            remove_if_empty(&path);
        } else {
            disk.remove(&path)?;
        }
    }
    if changed { disk.sync(folder) } else { Ok(()) }
}

/// An empty folder that stays misleads nobody.
fn remove_if_empty(folder: &Path) {
    drop(fs::remove_dir(folder));
}

fn number(digits: &str) -> Option<u64> {
    let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    three.then(|| digits.parse().ok()).flatten()
}

const WIDTH: u64 = TILE_WIDTH as u64;
/// Members of the announcement.
const FIRST: &str = "first";
const END: &str = "before";
const ROOT: &str = "root";
