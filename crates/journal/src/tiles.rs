//! Turns entries into tiles on the disk, in order.
//!
//! Tiles can be made again from the write-ahead segments, so they are not fsynced one by one. They
//! are before the segments that could make them go.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use attorn_audit::tile::{Edge, TILE_WIDTH, TileId, TileKind, hashes_to_bytes, push_entry};
use attorn_audit::tree::{Hash, leaf_hash};

use crate::disk::{Disk, publish};

/// The tree so far and the files it still owes.
#[derive(Debug)]
pub(crate) struct TileWriter {
    dir: PathBuf,
    edge: Edge,
    /// The entries of the bundle that is not full yet, as they stand in it.
    bundle: Vec<u8>,
    // Full tiles that are not files yet, oldest first.
    owed: VecDeque<(TileId, Vec<u8>)>,
    /// Full tiles that are files, but would not survive a loss of power.
    unsynced: Vec<PathBuf>,
}

impl TileWriter {
    /// Goes on after the full tiles of `edge`.
    pub(crate) fn new(dir: &Path, edge: Edge) -> Self {
        Self {
            dir: dir.to_owned(),
            edge,
            bundle: Vec::new(),
            owed: VecDeque::new(),
            unsynced: Vec::new(),
        }
    }

    /// Entries in the tree.
    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Entries in full tiles.
    pub(crate) fn full_size(&self) -> u64 {
        self.size() - self.size() % u64::from(TILE_WIDTH)
    }

    pub(crate) fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Adds an entry to the tree. The files follow with [`TileWriter::write_full`].
    pub(crate) fn push(&mut self, entry: &[u8]) {
        let index = self.size() / u64::from(TILE_WIDTH);
        // Never taken: whoever took the entry in made sure that it fits a bundle.
        if push_entry(&mut self.bundle, entry).is_err() {
            debug_assert!(false, "an entry that does not fit a bundle");
            return;
        }
        let mut full = Vec::new();
        self.edge.push(leaf_hash(entry), &mut full);
        if !full.is_empty() {
            // The next one will be about as long.
            let next = Vec::with_capacity(self.bundle.len());
            let bundle = std::mem::replace(&mut self.bundle, next);
            self.owed.push_back((TileId::full(TileKind::Entries, index), bundle));
        }
        for (tile, hashes) in full {
            self.owed.push_back((tile, hashes_to_bytes(&hashes)));
        }
    }

    /// Writes the full tiles that are due. After an error it can be tried again.
    pub(crate) fn write_full(&mut self, disk: &dyn Disk) -> io::Result<()> {
        while let Some((tile, bytes)) = self.owed.front() {
            let path = self.dir.join(tile.path());
            // After a restart most of them are there already.
            if std::fs::read(&path).ok().as_ref() != Some(bytes) {
                // Crash here: a temporary file is left over; the segment still has the entries.
                publish(disk, &path, bytes)?;
            }
            remove_partial(disk, &path);
            self.unsynced.push(path);
            self.owed.pop_front();
        }
        Ok(())
    }

    /// Writes the partial tiles of the tree as it is now.
    pub(crate) fn write_partial(&self, disk: &dyn Disk) -> io::Result<()> {
        for (tile, hashes) in self.edge.partial() {
            publish(disk, &self.dir.join(tile.path()), &hashes_to_bytes(hashes))?;
        }
        let width = u16::try_from(self.size() % u64::from(TILE_WIDTH)).unwrap_or(0);
        if width > 0 {
            let index = self.size() / u64::from(TILE_WIDTH);
            let tile = TileId { kind: TileKind::Entries, index, width };
            publish(disk, &self.dir.join(tile.path()), &self.bundle)?;
        }
        Ok(())
    }

    /// Makes all full tiles survive a loss of power.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        for path in &self.unsynced {
            disk.sync(path)?;
            let above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.dir));
            folders.extend(above.map(Path::to_owned));
        }
        for folder in folders {
            disk.sync(&folder)?;
        }
        self.unsynced.clear();
        Ok(())
    }
}

/// C2SP tlog-tiles: partial tiles may go once the full one is there. That one stays behind after
/// an error wastes a little space and misleads nobody.
fn remove_partial(disk: &dyn Disk, full: &Path) {
    let Some(name) = full.file_name() else { return };
    let mut name = name.to_owned();
    name.push(".p");
    let folder = full.with_file_name(name);
    let Ok(files) = std::fs::read_dir(&folder) else { return };
    for file in files.flatten() {
        drop(disk.remove(&file.path()));
    }
    drop(std::fs::remove_dir(&folder));
}
