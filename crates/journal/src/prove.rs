//! Proofs and export bundles from the tiles of a log.

use std::collections::HashMap;

use attorn_audit::bundle::{Bundle, Consistency, ProvenEntry};
use attorn_audit::checkpoint::Checkpoint;
use attorn_audit::note::NoteVerifier;
use attorn_audit::tile::{TILE_WIDTH, place, width_in};
use attorn_audit::tree::{Hash, Node, perfect_root, prove_consistency, prove_inclusion};
use bytes::Bytes;

use crate::ReadError;
use crate::folder::Folder;
use crate::journal::SignedCheckpoint;

/// Proves entries of the tree under one checkpoint. Keeps the tiles it read.
#[derive(Debug)]
pub(crate) struct Prover {
    folder: Folder,
    signed: SignedCheckpoint,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
    bundle: Option<(u64, Vec<Bytes>)>,
}

impl Prover {
    pub(crate) fn new(folder: Folder, signed: SignedCheckpoint) -> Self {
        Self { folder, signed, tiles: HashMap::new(), bundle: None }
    }

    /// The export bundle of these entries, with a proof that the log extends `earlier`, a signed
    /// checkpoint. Indices may come in any order and repeat.
    pub(crate) fn export(
        mut self,
        indices: &[u64],
        earlier: Option<&str>,
        keys: &[NoteVerifier],
    ) -> Result<Vec<u8>, ReadError> {
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut entries = Vec::with_capacity(sorted.len());
        for index in sorted {
            let entry = self.entry(index)?.to_vec();
            let proof = self.inclusion(index)?;
            entries.push(ProvenEntry { index, entry, proof });
        }
        let consistency = match earlier {
            Some(note) => Some(self.consistency(note, keys)?),
            None => None,
        };
        let checkpoint = self.signed.note.to_string();
        let bundle = Bundle { checkpoint, consistency, entries, keys: keys.to_vec() };
        bundle.to_json().map_err(|error| ReadError::EntryNotJson { index: error.index })
    }

    /// RFC 6962 section 2.1.1.
    pub(crate) fn inclusion(&mut self, index: u64) -> Result<Vec<Hash>, ReadError> {
        let size = self.signed.checkpoint.size;
        prove_inclusion(index, size, &mut |node| self.hash_of(node))?
            .ok_or(ReadError::Missing { index })
    }

    /// RFC 6962 section 2.1.2.
    fn consistency(
        &mut self,
        earlier: &str,
        keys: &[NoteVerifier],
    ) -> Result<Consistency, ReadError> {
        let old = Checkpoint::open(earlier, keys).map_err(|_| ReadError::Checkpoint)?;
        let proof = self.extension(old.size)?.ok_or(ReadError::Checkpoint)?;
        Ok(Consistency { checkpoint: earlier.to_owned(), proof })
    }

    /// RFC 6962 section 2.1.2, from a tree of `old_size`; `None` if this one is smaller.
    pub(crate) fn extension(&mut self, old_size: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        let size = self.signed.checkpoint.size;
        prove_consistency(old_size, size, &mut |node| self.hash_of(node))
    }

    fn entry(&mut self, index: u64) -> Result<Bytes, ReadError> {
        let size = self.signed.checkpoint.size;
        let tile = index / u64::from(TILE_WIDTH);
        if index >= size {
            return Err(ReadError::Missing { index });
        }
        if self.bundle.as_ref().is_none_or(|(there, _)| *there != tile) {
            self.bundle = Some((tile, self.folder.bundle(tile, width_in(size, 0, tile))?));
        }
        let within = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        let entry = self.bundle.as_ref().and_then(|(_, entries)| entries.get(within));
        entry.cloned().ok_or(ReadError::TileBroken { index })
    }

    fn hash_of(&mut self, node: Node) -> Result<Hash, ReadError> {
        let place = place(node);
        let key = (place.level, place.index);
        if !self.tiles.contains_key(&key) {
            let width = width_in(self.signed.checkpoint.size, place.level, place.index);
            let hashes = self.folder.hashes(place.level, place.index, width)?;
            self.tiles.insert(key, hashes);
        }
        self.tiles
            .get(&key)
            .and_then(|hashes| hashes.get(place.first..place.first + place.count))
            .map(perfect_root)
            .ok_or(ReadError::TileBroken { index: node.index << node.level })
    }
}
