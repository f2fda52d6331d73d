//! Consistency proofs: a later tree begins with all the leaves of an earlier one.

use super::node::split;
use super::{Hash, Node, node_hash, range_hash};

/// RFC 6962 section 2.1.2: the proof that the tree of `new_size` leaves extends that of `old_size`.
/// `None` if it is not larger or equal. Empty for equal sizes and for an empty old tree, where
/// there is nothing to prove.
///
/// # Errors
/// Whatever `hash_of` refuses with.
pub fn prove_consistency<E>(
    old_size: u64,
    new_size: u64,
    hash_of: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old_size > new_size {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if old_size == 0 || old_size == new_size {
        return Ok(Some(proof));
    }
    let (mut start, mut end) = (0, new_size);
    // While the old tree does not end with a whole subtree of the new one.
    while end != old_size {
        let middle = start + split(end - start);
        if old_size <= middle {
            proof.push(range_hash(middle, end, hash_of)?);
            end = middle;
        } else {
            proof.push(range_hash(start, middle, hash_of)?);
            start = middle;
        }
    }
    // The verifier knows the old root; it is left out when it is that last subtree.
    if start != 0 {
        proof.push(range_hash(start, end, hash_of)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// RFC 9162 section 2.1.4.2: whether `proof` shows that the new tree extends the old one.
#[must_use]
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == super::empty_root();
    }
    // Step 2: an old tree of a power of two is itself the first hash of the proof.
    let (first, rest) = if old_size.is_power_of_two() {
        (*old_root, proof)
    } else if let Some((first, rest)) = proof.split_first() {
        (*first, rest)
    } else {
        return false;
    };
    // Steps 3 to 5.
    let shift = (old_size - 1).trailing_ones();
    let (mut at, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        // Step 6a.
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    // Step 7.
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
