//! Reads the files of a log, live or left behind. Changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attorn_audit::note::NoteVerifier;
use attorn_audit::tile::{
    TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, entries_from_bytes, hashes_from_bytes,
};
use attorn_audit::tombstone::{Tombstone, TombstoneError};
use attorn_audit::tree::Hash;
use bytes::Bytes;

use crate::ReadError;
use crate::retention::SignedTombstone;
use crate::shared::{CHECKPOINT_FILE, TOMBSTONE_FILE, WAL_DIR, segment_name};

/// The folder of a log.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The first `width` hashes of a tile.
    pub(crate) fn hashes(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, ReadError> {
        let broken = || ReadError::TileBroken { index: first_below(level, index) };
        let (bytes, width_there) = self.tile(TileKind::Hashes(level), index, width, &broken)?;
        let mut hashes = hashes_from_bytes(&bytes, width_there).ok_or_else(broken)?;
        hashes.truncate(usize::from(width));
        Ok(hashes)
    }

    /// The first `width` entries of a bundle.
    pub(crate) fn bundle(&self, index: u64, width: u16) -> Result<Vec<Bytes>, ReadError> {
        let broken = || ReadError::TileBroken { index: first_below(0, index) };
        let (bytes, width_there) = self.tile(TileKind::Entries, index, width, &broken)?;
        let bytes = Bytes::from(bytes);
        let entries = entries_from_bytes(&bytes, width_there).ok_or_else(broken)?;
        Ok(entries.into_iter().take(usize::from(width)).map(|e| bytes.slice_ref(e)).collect())
    }

    /// Whether a full bundle is there at all.
    pub(crate) fn has_bundle(&self, index: u64) -> bool {
        self.dir.join(TileId::full(TileKind::Entries, index).path()).exists()
    }

    /// The text of the checkpoint file, not verified; `None` if there is none.
    pub(crate) fn checkpoint(&self) -> io::Result<Option<String>> {
        self.note(CHECKPOINT_FILE)
    }

    /// The tombstone in this folder, if there is one.
    pub(crate) fn tombstone(
        &self,
        keys: &[NoteVerifier],
    ) -> io::Result<Option<Result<SignedTombstone, TombstoneError>>> {
        let note = self.note(TOMBSTONE_FILE)?;
        Ok(note.map(|note| {
            let tombstone = Tombstone::open(&note, keys)?;
            Ok(SignedTombstone { tombstone, note: note.into() })
        }))
    }

    /// How many entries the tombstone says were removed, without a look at who signed it.
    pub(crate) fn removed_unverified(&self) -> Result<u64, ReadError> {
        let Some(note) = self.note(TOMBSTONE_FILE)? else { return Ok(0) };
        let text = note.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
        let tombstone = text.and_then(|text| Tombstone::parse(&text));
        tombstone.map(|tombstone| tombstone.end).ok_or(ReadError::Tombstone)
    }

    fn note(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.dir.join(name)) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// First entries of the segments, ascending.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        let files = match fs::read_dir(self.dir.join(WAL_DIR)) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for file in files {
            let name = file?.file_name();
            let first = name.to_str().and_then(|name| name.parse().ok());
            // Only the exact form is a segment of ours.
            segments.extend(first.filter(|first| *segment_name(*first) == *name));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The bytes of a segment.
    pub(crate) fn segment(&self, first: u64) -> io::Result<Vec<u8>> {
        fs::read(self.segment_path(first))
    }

    pub(crate) fn segment_path(&self, first: u64) -> PathBuf {
        self.dir.join(WAL_DIR).join(segment_name(first))
    }

    fn tile(
        &self,
        kind: TileKind,
        index: u64,
        width: u16,
        broken: &impl Fn() -> ReadError,
    ) -> Result<(Vec<u8>, u16), ReadError> {
        // C2SP tlog-tiles: a partial tile may be gone once the full one is there.
        let widths =
            if width == TILE_WIDTH { [None, Some(width)] } else { [Some(width), Some(TILE_WIDTH)] };
        for width in widths.into_iter().flatten() {
            match fs::read(self.dir.join(TileId { kind, index, width }.path())) {
                Ok(bytes) => return Ok((bytes, width)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(broken())
    }
}

/// The first entry below a tile.
fn first_below(level: u8, index: u64) -> u64 {
    index.checked_shl(TILE_HEIGHT * (u32::from(level) + 1)).unwrap_or(u64::MAX)
}
