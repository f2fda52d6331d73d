//! Inclusion proofs: this entry is the one at this index of the tree with this root.

use super::node::split;
use super::{Hash, Node, node_hash, range_hash};

/// RFC 6962 section 2.1.1: the audit path of the leaf at `index` in the tree of `size` leaves.
/// `hash_of` is asked for perfect subtrees within `size` only. `None` if `index` is not in the tree.
///
/// # Errors
/// Whatever `hash_of` refuses with.
pub fn prove_inclusion<E>(
    index: u64,
    size: u64,
    hash_of: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_hash(middle, end, hash_of)?);
            end = middle;
        } else {
            path.push(range_hash(start, middle, hash_of)?);
            start = middle;
        }
    }
    // The walk went from the root down; a path goes from the leaf up.
    path.reverse();
    Ok(Some(path))
}

/// RFC 9162 section 2.1.3.2: whether `path` leads from `leaf` at `index` to `root`.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, path: &[Hash], size: u64, root: &Hash) -> bool {
    InclusionVerifier::new(size, *root).verify(leaf, index, path)
}

/// How many hashes the audit path of the leaf at `index` has in the tree of `size` leaves.
#[must_use]
pub fn path_len(index: u64, size: u64) -> usize {
    let Some(last) = size.checked_sub(1).filter(|last| index <= *last) else { return 0 };
    // Below the height at which the leaf parts from the last one every level has a sibling; above
    // it only those to the left.
    let inner = u64::BITS - (index ^ last).leading_zeros();
    let left = index.checked_shr(inner).unwrap_or(0).count_ones();
    usize::try_from(inner + left).unwrap_or(usize::MAX)
}

/// Verifies many proofs against one root. Neighbours share most of their path, so each proof is
/// climbed only until it meets the previous one; the rest is compared, not hashed.
#[derive(Debug)]
pub struct InclusionVerifier {
    size: u64,
    root: Hash,
    // Invariant: empty, or the steps of a proof that reached `root`; one longer than `path`.
    steps: Vec<Step>,
    path: Vec<Hash>,
}

/// Where a climb stands. Together with the rest of the path it decides the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    index: u64,
    last: u64,
    hash: Hash,
}

impl InclusionVerifier {
    /// For the tree of `size` leaves with this root.
    #[must_use]
    pub const fn new(size: u64, root: Hash) -> Self {
        Self { size, root, steps: Vec::new(), path: Vec::new() }
    }

    /// RFC 9162 section 2.1.3.2: whether `path` leads from `leaf` at `index` to the root.
    #[must_use]
    pub fn verify(&mut self, leaf: &Hash, index: u64, path: &[Hash]) -> bool {
        // Step 1 of the section.
        if index >= self.size {
            return false;
        }
        let mut step = Step { index, last: self.size - 1, hash: *leaf };
        let mut steps = Vec::with_capacity(path.len() + 1);
        let mut rest = path;
        loop {
            if let Some(known) = self.known_from(&step, rest) {
                steps.extend_from_slice(known);
                break;
            }
            steps.push(step);
            let Some((sibling, above)) = rest.split_first() else {
                // Step 5: the path is used up, the climb is at the top, and the hash is the root.
                if step.last != 0 || step.hash != self.root {
                    return false;
                }
                break;
            };
            // Step 4a: the climb is at the top, but the path goes on.
            if step.last == 0 {
                return false;
            }
            step = step.above(sibling);
            rest = above;
        }
        self.steps = steps;
        self.path.clear();
        self.path.extend_from_slice(path);
        true
    }

    /// The steps that the last good proof took from here, if it stood here with the same path ahead.
    fn known_from(&self, step: &Step, rest: &[Hash]) -> Option<&[Step]> {
        let at = self.path.len().checked_sub(rest.len())?;
        let known = self.steps.get(at..)?;
        (known.first() == Some(step) && self.path.get(at..) == Some(rest)).then_some(known)
    }
}

impl Step {
    /// Steps 4b and 4c of RFC 9162 section 2.1.3.2.
    fn above(self, sibling: &Hash) -> Self {
        let Self { mut index, mut last, hash } = self;
        let joined = if index & 1 == 1 || index == last {
            let hash = node_hash(sibling, &hash);
            // A last node without a right neighbour moves up until it has a left one.
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
            hash
        } else {
            node_hash(&hash, sibling)
        };
        Self { index: index >> 1, last: last >> 1, hash: joined }
    }
}
