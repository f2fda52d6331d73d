//! Opens what an earlier process left behind, however it ended.
//!
//! The oldest segment says from where on entries can be read again; the full tiles before it were
//! made durable before older segments went. So the tree is rebuilt from full tiles (a few hundred
//! at most, however long the log) and the segments, and compared with the signed checkpoint.
//! Nothing is changed before everything fits.

use std::ops::Range;
use std::path::Path;

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::NoteVerifier;
use attorn_audit::tile::{Edge, TILE_WIDTH};
use attorn_audit::tombstone::{Tombstone, TombstoneError};
use attorn_audit::tree::{Hash, leaf_hash};
use bytes::Bytes;

use crate::disk::Disk;
use crate::folder::Folder;
use crate::mark;
use crate::retention::{SignedTombstone, root_before};
use crate::shared::{MARK_FILE, WAL_DIR};
use crate::tiles::TileWriter;
use crate::wal::{Rest, log_mark, scan};
use crate::{Config, OpenError, ReadError};

/// What was left behind.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) tiles: TileWriter,
    pub(crate) tombstone: Option<SignedTombstone>,
    /// The entries that fill no tile yet.
    pub(crate) tail: Vec<Bytes>,
    pub(crate) segments: Vec<u64>,
    pub(crate) replayed: Range<u64>,
    pub(crate) cut_bytes: u64,
}

/// Reads the log back, verifies it, and cuts what was never acknowledged.
pub(crate) fn recover(
    config: &Config,
    keys: &[NoteVerifier],
    disk: &dyn Disk,
) -> Result<Found, OpenError> {
    let dir = config.dir.as_path();
    let folder = Folder::new(dir);
    let checkpoint = read_checkpoint(&folder, keys)?;
    let segments = folder.segments()?;
    let mut replay = Replay::begin(dir, &folder, checkpoint, segments.first().copied())?;
    let last = segments.last().copied();
    let (mut good_bytes, mut cut_bytes) = (0, 0);
    for first in &segments {
        let bytes = folder.segment(*first)?;
        good_bytes = replay.segment(*first, &bytes, &config.origin, last == Some(*first))?;
        cut_bytes = bytes.len() - good_bytes;
    }
    replay.complete(mark::read(&dir.join(WAL_DIR).join(MARK_FILE)))?;
    let tombstone = read_tombstone(&folder, keys, replay.floor)?;
    if let Some(last) = last {
        // After a killed process the entries may be in the page cache only. From here on they count.
        // Crash during this line: a torn tail is still torn, and cut the next time.
        disk.finish_segment(&folder.segment_path(last), to_u64(good_bytes))?;
    }
    replay.tiles.write_full(disk)?;
    let replayed = replay.floor..replay.tiles.size();
    let cut_bytes = to_u64(cut_bytes);
    let (tiles, tail) = (replay.tiles, replay.tail);
    Ok(Found { tiles, tombstone, tail, segments, replayed, cut_bytes })
}

struct Replay {
    checkpoint: Option<Checkpoint>,
    tiles: TileWriter,
    tail: Vec<Bytes>,
    /// The index after the last entry that was read.
    next: u64,
    /// Entries before it stand in durable full tiles.
    floor: u64,
    /// Leaf hashes of the last full tile: some of its entries may also be in the oldest segment.
    last_tile: Vec<Hash>,
}

impl Replay {
    /// Rebuilds the tree up to the full tile that the oldest segment begins in.
    fn begin(
        dir: &Path,
        folder: &Folder,
        checkpoint: Option<Checkpoint>,
        first: Option<u64>,
    ) -> Result<Self, OpenError> {
        let first = first.unwrap_or(0);
        let full_tiles = first.div_ceil(WIDTH);
        let edge = Edge::from_full_tiles(full_tiles, |level, index| {
            folder.hashes(level, index, TILE_WIDTH).map_err(tile_error)
        })?;
        let last_tile = match full_tiles.checked_sub(1) {
            Some(index) => folder.hashes(0, index, TILE_WIDTH).map_err(tile_error)?,
            None => Vec::new(),
        };
        let tiles = TileWriter::new(dir, edge);
        let floor = full_tiles * WIDTH;
        let replay = Self { checkpoint, tiles, tail: Vec::new(), next: first, floor, last_tile };
        // Older segments go only under a checkpoint that covers their tiles.
        match &replay.checkpoint {
            Some(checkpoint) if checkpoint.size < floor => {
                Err(OpenError::CheckpointMismatch { size: checkpoint.size })
            }
            None if floor > 0 => Err(OpenError::CheckpointMissing),
            Some(_) | None => {
                replay.compare()?;
                Ok(replay)
            }
        }
    }

    /// Reads one segment; gives how many of its bytes are good.
    fn segment(
        &mut self,
        first: u64,
        bytes: &[u8],
        origin: &str,
        is_last: bool,
    ) -> Result<usize, OpenError> {
        // A gap or an overlap: a segment is missing, or is one of another time.
        if first != self.next {
            return Err(OpenError::RecordBroken { index: self.next });
        }
        let end = scan(bytes, first, &log_mark(origin), |index, entry| self.entry(index, entry))?;
        match end.rest {
            Rest::End => {}
            // A later segment is begun only after this one was fsynced to its end.
            Rest::Torn if is_last => {}
            Rest::Torn | Rest::Broken => {
                return Err(OpenError::RecordBroken { index: end.next });
            }
        }
        Ok(end.good_bytes)
    }

    fn entry(&mut self, index: u64, entry: &[u8]) -> Result<(), OpenError> {
        self.next = index + 1;
        if index < self.floor {
            let place = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
            if self.last_tile.get(place) != Some(&leaf_hash(entry)) {
                return Err(OpenError::RecordBroken { index });
            }
            return Ok(());
        }
        self.tiles.push(entry);
        self.tail.push(Bytes::copy_from_slice(entry));
        if self.tiles.size() == self.tiles.full_size() {
            self.tail.clear();
        }
        self.compare()
    }

    /// Compares with the checkpoint once the tree has its size.
    fn compare(&self) -> Result<(), OpenError> {
        match &self.checkpoint {
            Some(checkpoint)
                if checkpoint.size == self.tiles.size() && checkpoint.root != self.tiles.root() =>
            {
                Err(OpenError::CheckpointMismatch { size: checkpoint.size })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing more will be read: whatever was acknowledged must be here.
    fn complete(&self, durable_mark: u64) -> Result<(), OpenError> {
        let found = self.tiles.size();
        let covered = self.checkpoint.as_ref().map(|checkpoint| checkpoint.size);
        // The first checkpoint is written before the first entry is taken.
        if covered.is_none() && found > 0 {
            return Err(OpenError::CheckpointMissing);
        }
        let acknowledged = covered.unwrap_or(0).max(durable_mark);
        if found < acknowledged {
            return Err(OpenError::AcknowledgedLost { acknowledged, found });
        }
        Ok(())
    }
}

fn read_checkpoint(
    folder: &Folder,
    keys: &[NoteVerifier],
) -> Result<Option<Checkpoint>, OpenError> {
    folder
        .checkpoint()?
        .map(|note| Checkpoint::open(&note, keys))
        .transpose()
        .map_err(OpenError::CheckpointRefused)
}

/// What was removed is in durable full tiles before `floor`, and hashes to what was signed.
fn read_tombstone(
    folder: &Folder,
    keys: &[NoteVerifier],
    floor: u64,
) -> Result<Option<SignedTombstone>, OpenError> {
    let signed = folder.tombstone(keys)?.transpose().map_err(OpenError::TombstoneRefused)?;
    let Some(Tombstone { end, root, .. }) = signed.as_ref().map(|signed| &signed.tombstone) else {
        return Ok(None);
    };
    if *end > floor || root_before(folder, *end).map_err(tile_error)? != *root {
        return Err(OpenError::TombstoneMismatch { end: *end });
    }
    Ok(signed)
}

fn tile_error(error: ReadError) -> OpenError {
    match error {
        ReadError::Io(error) => OpenError::Io(error),
        ReadError::TileBroken { index }
        | ReadError::Missing { index }
        | ReadError::EntryNotJson { index }
        | ReadError::RecordBroken { index } => OpenError::TileBroken { index },
        ReadError::Checkpoint => OpenError::CheckpointMissing,
        ReadError::Removed { first: index } => OpenError::TileBroken { index },
        ReadError::Tombstone => OpenError::TombstoneRefused(TombstoneError::Malformed),
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

const WIDTH: u64 = TILE_WIDTH as u64;
