//! Whether a folder holds the log that its checkpoint signs, and nothing is missing but what a
//! tombstone names. Changes nothing.

use std::ops::Range;
use std::path::Path;

use attorn_audit::checkpoint::CheckpointError;
use attorn_audit::note::NoteVerifier;
use attorn_audit::tile::{Edge, TILE_WIDTH, TileId, TileKind, width_in};
use attorn_audit::tombstone::{Tombstone, TombstoneError};
use attorn_audit::tree::{Hash, leaf_hash};
use bytes::Bytes;

use crate::ReadError;
use crate::folder::Folder;
use crate::journal::SignedCheckpoint;
use crate::offline::read_checkpoint;
use crate::retention::is_announcement;

/// What a folder was found to hold.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The checkpoint that everything fits.
    pub signed: SignedCheckpoint,
    /// The tombstone of the entries that were removed, if any were.
    pub tombstone: Option<Tombstone>,
}

/// Why a folder does not hold the log that its checkpoint signs.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The checkpoint is malformed, or not signed by a key that counts.
    #[error("checkpoint: {0}")]
    Checkpoint(CheckpointError),
    /// The entry does not have the hash that the tree has for it.
    #[error("entry {index} is not the one that was logged")]
    Entry {
        /// Position in the log.
        index: u64,
    },
    /// Entries are gone, and no tombstone says so.
    #[error("entries {first} to {last} are missing, and no tombstone says that they were removed")]
    Gap {
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// Something is missing or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The whole tree does not have the root that was signed.
    #[error("the entries do not match the checkpoint")]
    Root,
    /// A tile does not hold the hashes of the tiles below it.
    #[error("tile {tile} does not fit the tiles below it")]
    Tile {
        /// The tile.
        tile: TileId,
    },
    /// The tombstone is malformed, or not signed by a key that counts.
    #[error("tombstone: {0}")]
    Tombstone(TombstoneError),
    /// The tombstone does not fit the tree, or the log never announced it.
    #[error("the tombstone says that entries 0 to {last} were removed, and the log does not")]
    TombstoneMismatch {
        /// The last entry that it says was removed.
        last: u64,
    },
}

/// Verifies every entry and every tile under the checkpoint, and gives that checkpoint. Entries
/// that are only in segments are not covered by it yet. Of removed entries the hashes are verified.
///
/// # Errors
/// The first thing that does not fit; for an entry, its index.
pub fn check(dir: &Path, keys: &[NoteVerifier]) -> Result<Checked, CheckError> {
    let signed = read_checkpoint(dir, keys)?;
    let folder = Folder::new(dir);
    let tombstone = folder.tombstone(keys).map_err(ReadError::from)?;
    let tombstone = tombstone.transpose().map_err(CheckError::Tombstone)?;
    let tombstone = tombstone.map(|signed| signed.tombstone);
    let mut check = Check {
        folder,
        size: signed.checkpoint.size,
        tombstone: tombstone.as_ref(),
        announced: false,
        edge: Edge::new(),
    };
    check.tiles()?;
    if let Some(Tombstone { end, .. }) = tombstone.as_ref().filter(|_| !check.announced) {
        return Err(CheckError::TombstoneMismatch { last: end.saturating_sub(1) });
    }
    if check.edge.root() != signed.checkpoint.root {
        return Err(CheckError::Root);
    }
    Ok(Checked { signed, tombstone })
}

struct Check<'a> {
    folder: Folder,
    size: u64,
    tombstone: Option<&'a Tombstone>,
    /// Whether the entry that announced the tombstone was seen.
    announced: bool,
    edge: Edge,
}

impl Check<'_> {
    fn tiles(&mut self) -> Result<(), CheckError> {
        let mut full = Vec::new();
        let removed = self.tombstone.map_or(0, |tombstone| tombstone.end);
        for tile in 0..self.size.div_ceil(WIDTH) {
            let width = width_in(self.size, 0, tile);
            let hashes = self.folder.hashes(0, tile, width)?;
            // What an interrupted removal left behind is still verified.
            if !self.is_gone(tile, width) {
                self.entries(tile, &self.folder.bundle(tile, width)?, &hashes)?;
            } else if tile * WIDTH >= removed {
                return Err(self.gap(tile));
            }
            for hash in hashes {
                self.edge.push(hash, &mut full);
            }
            // Level 0 was compared just now.
            for (above, hashes) in full.drain(..) {
                self.compare(above, &hashes)?;
            }
            self.compare_root()?;
        }
        for (above, hashes) in self.edge.partial() {
            self.compare(above, hashes)?;
        }
        Ok(())
    }

    fn entries(&mut self, tile: u64, entries: &[Bytes], hashes: &[Hash]) -> Result<(), CheckError> {
        for ((entry, hash), index) in entries.iter().zip(hashes).zip(tile * WIDTH..) {
            if leaf_hash(entry) != *hash {
                return Err(CheckError::Entry { index });
            }
            if let Some(tombstone) = self.tombstone.filter(|it| it.announced == index) {
                self.announced = is_announcement(entry, tombstone);
            }
        }
        Ok(())
    }

    /// A partial tile is never removed: if it is not there, it is broken.
    fn is_gone(&self, tile: u64, width: u16) -> bool {
        width == TILE_WIDTH && !self.folder.has_bundle(tile)
    }

    fn gap(&self, from: u64) -> CheckError {
        let tiles: Range<u64> = from..self.size / WIDTH;
        let there = tiles.clone().find(|tile| self.folder.has_bundle(*tile));
        let last = there.unwrap_or(tiles.end) * WIDTH - 1;
        CheckError::Gap { first: from * WIDTH, last }
    }

    /// Once the tree has the size that the tombstone speaks of, it has its root.
    fn compare_root(&self) -> Result<(), CheckError> {
        match self.tombstone {
            Some(Tombstone { end, root, .. })
                if *end == self.edge.size() && *root != self.edge.root() =>
            {
                Err(CheckError::TombstoneMismatch { last: end - 1 })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn compare(&self, tile: TileId, hashes: &[Hash]) -> Result<(), CheckError> {
        match tile.kind {
            TileKind::Entries | TileKind::Hashes(0) => Ok(()),
            TileKind::Hashes(level) => {
                let there = self.folder.hashes(level, tile.index, tile.width)?;
                if there == hashes { Ok(()) } else { Err(CheckError::Tile { tile }) }
            }
        }
    }
}

const WIDTH: u64 = TILE_WIDTH as u64;
