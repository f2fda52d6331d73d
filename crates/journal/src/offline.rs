//! What can be done with a log's folder without writing to it.

use std::path::Path;
use std::sync::Arc;

use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::NoteVerifier;
use attorn_audit::tile::{TILE_WIDTH, width_in};
use bytes::Bytes;

use crate::folder::Folder;
use crate::journal::SignedCheckpoint;
use crate::prove::Prover;
use crate::wal::{Rest, log_mark, scan};
use crate::{CheckError, ReadError};

/// Every entry of the log in this folder, oldest first: those in tiles and those only in segments.
/// A torn tail is passed over as [`crate::Journal::open`] would cut it. Takes no lock and changes
/// nothing, so a log that is being written may look torn.
///
/// # Errors
/// Refuses a log with removed entries, and fails if a tile or a record that is not the last one is
/// missing or broken.
pub fn read_all(dir: &Path) -> Result<Vec<Bytes>, ReadError> {
    let folder = Folder::new(dir);
    let note = folder.checkpoint()?.ok_or(ReadError::Checkpoint)?;
    let removed = folder.removed_unverified()?;
    if removed > 0 {
        return Err(ReadError::Removed { first: removed });
    }
    let segments = folder.segments()?;
    let Some(first) = segments.first() else {
        // A copy without segments: the checkpoint says how far it goes.
        let (text, _) = note.split_once("\n\n").ok_or(ReadError::Checkpoint)?;
        let text = format!("{text}\n");
        let size = Checkpoint::parse(&text).ok_or(ReadError::Checkpoint)?.size;
        return read_tiles(&folder, size);
    };
    let log = log_mark(note.lines().next().unwrap_or_default());
    let mut entries = read_tiles(&folder, first.div_ceil(WIDTH) * WIDTH)?;
    let mut next = *first;
    for (position, segment) in segments.iter().enumerate() {
        if *segment != next {
            return Err(ReadError::RecordBroken { index: next });
        }
        let bytes = folder.segment(*segment)?;
        let end = scan(&bytes, next, &log, |index, entry| {
            // The oldest segment may begin within the last tile.
            if u64::try_from(entries.len()).is_ok_and(|there| there == index) {
                entries.push(Bytes::copy_from_slice(entry));
            }
            Ok::<(), ReadError>(())
        })?;
        let is_last = position + 1 == segments.len();
        if end.rest == Rest::Broken || (end.rest == Rest::Torn && !is_last) {
            return Err(ReadError::RecordBroken { index: end.next });
        }
        next = end.next;
    }
    Ok(entries)
}

/// The origin that the checkpoint in this folder names. Not verified.
///
/// # Errors
/// There is no checkpoint, or it cannot be read.
pub fn origin(dir: &Path) -> Result<String, ReadError> {
    let note = Folder::new(dir).checkpoint()?.ok_or(ReadError::Checkpoint)?;
    Ok(note.lines().next().unwrap_or_default().to_owned())
}

/// The checkpoint in this folder, if one of these keys signed it.
///
/// # Errors
/// Refuses a checkpoint that is missing, malformed or signed by somebody else.
pub fn read_checkpoint(dir: &Path, keys: &[NoteVerifier]) -> Result<SignedCheckpoint, CheckError> {
    let note = Folder::new(dir).checkpoint().map_err(ReadError::from)?;
    let note = note.ok_or(ReadError::Checkpoint)?;
    let checkpoint = Checkpoint::open(&note, keys).map_err(CheckError::Checkpoint)?;
    Ok(SignedCheckpoint { checkpoint, note: Arc::from(note) })
}

/// An export bundle from a folder, under the checkpoint that is there.
///
/// # Errors
/// As [`read_checkpoint`], and fails if an index is not covered or was removed, or a tile cannot be
/// read.
pub fn export(
    dir: &Path,
    keys: &[NoteVerifier],
    indices: &[u64],
    earlier: Option<&str>,
) -> Result<Vec<u8>, CheckError> {
    let signed = read_checkpoint(dir, keys)?;
    let removed = Folder::new(dir).removed_unverified()?;
    if indices.iter().any(|index| *index < removed) {
        return Err(ReadError::Removed { first: removed }.into());
    }
    Ok(Prover::new(Folder::new(dir), signed).export(indices, earlier, keys)?)
}

fn read_tiles(folder: &Folder, size: u64) -> Result<Vec<Bytes>, ReadError> {
    let mut entries = Vec::new();
    for tile in 0..size.div_ceil(WIDTH) {
        entries.extend(folder.bundle(tile, width_in(size, 0, tile))?);
    }
    Ok(entries)
}

const WIDTH: u64 = TILE_WIDTH as u64;
