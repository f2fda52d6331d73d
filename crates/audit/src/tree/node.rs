//! Perfect subtrees, and ranges of leaves put together from them.

use super::{Hash, empty_root, node_hash};

/// A perfect subtree: the leaves from `index << level` on, `1 << level` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Height: 0 is a leaf.
    pub level: u32,
    /// Position among the subtrees of that height.
    pub index: u64,
}

/// The root over a power of two of hashes of equal height. For any other count the tree of
/// RFC 6962 section 2.1 over them as leaves already hashed.
#[must_use]
pub fn perfect_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        [left, right] => node_hash(left, right),
        _ => {
            // Level by level in one buffer: an odd last hash moves up unchanged, which is what
            // splitting at the largest power of two comes to.
            let mut row: Vec<Hash> = pair_up(hashes);
            while row.len() > 1 {
                row = pair_up(&row);
            }
            row.first().copied().unwrap_or_else(empty_root)
        }
    }
}

/// The hash over the leaves `start..end`, where `start` is a multiple of the largest power of two
/// that is below `end - start` (so for every range that a proof of RFC 6962 names).
///
/// # Errors
/// Whatever `hash_of` refuses with.
pub fn range_hash<E>(
    start: u64,
    end: u64,
    hash_of: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        parts.push(hash_of(Node { level, index: at >> level })?);
        at += 1 << level;
    }
    // Small subtrees hang to the right of large ones.
    let root = parts.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
    Ok(root.unwrap_or_else(empty_root))
}

fn pair_up(hashes: &[Hash]) -> Vec<Hash> {
    hashes
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => node_hash(left, right),
            [odd, ..] => *odd,
            [] => empty_root(),
        })
        .collect()
}

/// The largest power of two below `n`, for `n` of at least 2: where RFC 6962 section 2.1 splits.
pub(super) fn split(n: u64) -> u64 {
    1 << n.saturating_sub(1).max(1).ilog2()
}
