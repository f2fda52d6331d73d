//! Tiles: the tree cut into files that never change once full, after C2SP tlog-tiles.
//!
//! A tile of level `L` holds up to 256 hashes of subtrees of height `8 * L`. An entry bundle holds
//! the up to 256 entries below one tile of level 0. Beside the read paths of the specification
//! this has the writer's part: [`Edge`], the right border of a growing tree.

use std::fmt;

use crate::tree::{Hash, Node, empty_root, node_hash, perfect_root};

/// The largest entry an entry bundle can hold: its length is a `uint16`.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// `TILE_WIDTH` as an exponent of two.
pub const TILE_HEIGHT: u32 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Entries, in bundles.
    Entries,
    /// Hashes of this level.
    Hashes(u8),
}

/// Names one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileId {
    /// What it holds.
    pub kind: TileKind,
    /// Position among the tiles of its kind.
    pub index: u64,
    /// How much it holds: 256 is a full tile, less is a partial one.
    pub width: u16,
}

impl TileId {
    /// A tile that never changes any more.
    #[must_use]
    pub const fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: TILE_WIDTH }
    }

    /// The path below the log's folder: C2SP tlog-tiles, `tile/<L>/<N>[.p/<W>]`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = match self.kind {
            TileKind::Entries => "tile/entries/".to_owned(),
            TileKind::Hashes(level) => format!("tile/{level}/"),
        };
        path.push_str(&numbered(self.index));
        if self.width < TILE_WIDTH {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// Which hashes of which tile make up a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Level of the tile.
    pub level: u8,
    /// Position of the tile.
    pub index: u64,
    /// First hash in the tile.
    pub first: usize,
    /// Number of hashes, a power of two.
    pub count: usize,
}

/// Finds a perfect subtree in the tiles.
#[must_use]
pub fn place(node: Node) -> Place {
    let within = node.level % TILE_HEIGHT;
    let first = node.index << within;
    Place {
        level: u8::try_from(node.level / TILE_HEIGHT).unwrap_or(u8::MAX),
        index: first / u64::from(TILE_WIDTH),
        first: usize::try_from(first % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX),
        count: 1 << within,
    }
}

/// How many hashes a tile of `level` and `index` has in a tree of `size` leaves; 0 if there is none.
#[must_use]
pub fn width_in(size: u64, level: u8, index: u64) -> u16 {
    let hashes = size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0);
    let left = hashes.saturating_sub(index.saturating_mul(u64::from(TILE_WIDTH)));
    u16::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH)
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(Hash::as_bytes).copied().collect()
}

/// Reads a tile of hashes; `None` if the length is not `width` hashes.
#[must_use]
pub fn hashes_from_bytes(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    if bytes.len() != usize::from(width) * 32 {
        return None;
    }
    bytes.chunks_exact(32).map(Hash::from_slice).collect()
}

/// Adds an entry to a bundle: a big-endian `uint16` length, then the entry.
///
/// # Errors
/// Refuses an entry that is longer than [`ENTRY_BYTES_MAX`].
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Reads a bundle of exactly `width` entries; `None` if it does not hold that.
#[must_use]
pub fn entries_from_bytes(mut bytes: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(usize::from(width));
    for _ in 0..width {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

/// The right border of a growing tree: per level the hashes that do not fill a tile yet.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    levels: Vec<EdgeLevel>,
}

#[derive(Clone, Debug, Default)]
struct EdgeLevel {
    full_tiles: u64,
    // Invariant: fewer than 256 hashes; those of the tile after the full ones.
    hashes: Vec<Hash>,
}

impl Edge {
    /// The border of an empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels
            .first()
            .map_or(0, |level| level.full_tiles * u64::from(TILE_WIDTH) + count(&level.hashes))
    }

    /// Adds a leaf. Tiles that become full are added to `full`, lowest level first.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<(TileId, Vec<Hash>)>) {
        let mut hash = leaf;
        let mut depth = 0_u8;
        loop {
            if self.levels.len() <= usize::from(depth) {
                self.levels.push(EdgeLevel::default());
            }
            let Some(level) = self.levels.get_mut(usize::from(depth)) else { return };
            level.hashes.push(hash);
            if level.hashes.len() < usize::from(TILE_WIDTH) {
                return;
            }
            let hashes = std::mem::take(&mut level.hashes);
            hash = perfect_root(&hashes);
            full.push((TileId::full(TileKind::Hashes(depth), level.full_tiles), hashes));
            level.full_tiles += 1;
            // 2^64 leaves fill eight levels: this never saturates.
            depth = depth.saturating_add(1);
        }
    }

    /// The root of RFC 6962 section 2.1 over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for level in &self.levels {
            // Within a level the larger subtrees stand to the left, and higher levels further left.
            let mut end = level.hashes.len();
            while end > 0 {
                let width = 1_usize << end.trailing_zeros();
                let part = perfect_root(level.hashes.get(end - width..end).unwrap_or_default());
                root = Some(root.map_or(part, |right| node_hash(&part, &right)));
                end -= width;
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// The partial tiles of hashes, lowest level first.
    pub fn partial(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        (0_u8..).zip(&self.levels).filter(|(_, level)| !level.hashes.is_empty()).map(
            |(depth, level)| {
                let width = u16::try_from(level.hashes.len()).unwrap_or(TILE_WIDTH);
                let kind = TileKind::Hashes(depth);
                (TileId { kind, index: level.full_tiles, width }, level.hashes.as_slice())
            },
        )
    }

    /// Rebuilds the border of a tree of `full_tiles` full tiles of level 0, reading full tiles only:
    /// at most 255 for each level. `tile_of` gives the hashes of a full tile.
    ///
    /// # Errors
    /// Whatever `tile_of` refuses with.
    pub fn from_full_tiles<E>(
        full_tiles: u64,
        mut tile_of: impl FnMut(u8, u64) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut edge = Self::new();
        let mut below = full_tiles;
        let mut depth = 0_u8;
        if full_tiles > 0 {
            edge.levels.push(EdgeLevel { full_tiles, hashes: Vec::new() });
        }
        while below > 0 {
            let full = below / u64::from(TILE_WIDTH);
            // The hashes beyond the last full tile of the next level are roots of tiles of this one.
            let mut hashes = Vec::new();
            for index in full * u64::from(TILE_WIDTH)..below {
                hashes.push(perfect_root(&tile_of(depth, index)?));
            }
            edge.levels.push(EdgeLevel { full_tiles: full, hashes });
            below = full;
            depth = depth.saturating_add(1);
        }
        Ok(edge)
    }
}

/// The entry does not fit an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is longer than 65535 bytes")]
pub struct EntryTooLong;

/// C2SP tlog-tiles: groups of three digits, all but the last with an `x` before them.
fn numbered(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut left = index / 1000;
    while left > 0 {
        text = format!("x{:03}/{text}", left % 1000);
        left /= 1000;
    }
    text
}

fn count(hashes: &[Hash]) -> u64 {
    u64::try_from(hashes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
