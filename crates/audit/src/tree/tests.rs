use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use serde::Deserialize;
use sha2::Sha256;

use super::{
    Hash, InclusionVerifier, Node, hex, leaf_hash, node_hash, path_len, perfect_root,
    prove_consistency, prove_inclusion, range_hash, verify_consistency, verify_inclusion,
};

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

/// A tree that answers for every perfect subtree, straight from its leaves.
struct Tree(Vec<Hash>);

impl Tree {
    fn new(size: u64) -> Self {
        Self((0..size).map(|number| leaf_hash(number.to_string().as_bytes())).collect())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn node(&self, node: Node) -> Result<Hash, Node> {
        let start = usize::try_from(node.index << node.level).map_err(|_| node)?;
        self.0.get(start..start + (1 << node.level)).map(perfect_root).ok_or(node)
    }

    fn root_of(&self, size: u64) -> Hash {
        range_hash(0, size, &mut |node| self.node(node)).unwrap()
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        prove_inclusion(index, size, &mut |node| self.node(node)).unwrap().unwrap()
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        prove_consistency(old, new, &mut |node| self.node(node)).unwrap().unwrap()
    }

    fn leaf(&self, index: u64) -> &Hash {
        &self.0[usize::try_from(index).unwrap()]
    }
}

fn flat(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn broken(mut proof: Vec<Hash>, place: prop::sample::Index, bit: u8) -> Vec<Hash> {
    let place = place.index(proof.len());
    let mut bytes = *proof[place].as_bytes();
    bytes[usize::from(bit / 8)] ^= 1 << (bit % 8);
    proof[place] = bytes.into();
    proof
}

#[test]
fn rfc_6962_section_2_1_roots() {
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        input: Vec<String>,
        expect: String,
    }
    let unhex = |text: &str| -> Vec<u8> {
        let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    };
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../../../vectors/audit/tree.json")).unwrap();
    for Vector { name, input, expect } in vectors {
        let leaves = input.iter().map(|entry| leaf_hash(&unhex(entry))).collect();
        let tree = Tree(leaves);
        assert_eq!(hex(tree.root_of(tree.size()).as_bytes()), expect, "{name}");
        assert_eq!(hex(perfect_root(&tree.0).as_bytes()), expect, "{name}");
    }
}

#[test]
fn long_and_short_entries_hash_alike() {
    for length in [0, 1, 1022, 1023, 1024, 1025, 65_535] {
        let entry = vec![b'x'; length];
        let mut oracle = Oracle::new();
        oracle.push(entry.clone());
        assert_eq!(leaf_hash(&entry).as_bytes()[..], oracle.root().as_bytes()[..], "{length}");
    }
}

#[test]
fn every_proof_of_every_small_tree_is_that_of_the_oracle() {
    for size in 1..=33 {
        let tree = Tree::new(size);
        let mut oracle = Oracle::new();
        (0..size).for_each(|number| oracle.push(number.to_string().into_bytes()));
        let root = tree.root_of(size);
        assert_eq!(root.as_bytes()[..], oracle.root().as_bytes()[..]);
        let mut verifier = InclusionVerifier::new(size, root);
        for index in 0..size {
            let proof = tree.inclusion(index, size);
            assert_eq!(path_len(index, size), proof.len());
            let place = usize::try_from(index).unwrap();
            assert_eq!(flat(&proof), oracle.prove_inclusion(place).as_bytes());
            assert!(verify_inclusion(tree.leaf(index), index, &proof, size, &root));
            assert!(verifier.verify(tree.leaf(index), index, &proof));
        }
        for old in 1..size {
            let proof = tree.consistency(old, size);
            let added = usize::try_from(size - old).unwrap();
            assert_eq!(flat(&proof), oracle.prove_consistency(added).as_bytes(), "{old} {size}");
            assert!(verify_consistency((old, &tree.root_of(old)), (size, &root), &proof));
        }
    }
}

#[test]
fn edges_of_consistency() {
    let tree = Tree::new(5);
    let (root, empty) = (tree.root_of(5), tree.root_of(0));
    assert!(verify_consistency((5, &root), (5, &root), &[]));
    assert!(!verify_consistency((5, &root), (5, &empty), &[]));
    assert!(!verify_consistency((5, &root), (5, &root), &[root]));
    assert!(verify_consistency((0, &empty), (5, &root), &[]));
    assert!(!verify_consistency((0, &root), (5, &root), &[]));
    assert!(!verify_consistency((0, &empty), (5, &root), &[root]));
    assert!(!verify_consistency((3, &tree.root_of(3)), (5, &root), &[]));
    assert!(!verify_consistency((5, &root), (3, &tree.root_of(3)), &tree.consistency(3, 5)));
    assert_eq!(prove_consistency(6, 5, &mut |node| tree.node(node)), Ok(None));
    assert_eq!((path_len(5, 5), path_len(0, 0), path_len(0, u64::MAX)), (0, 0, 64));
    assert_eq!(prove_inclusion(5, 5, &mut |node| tree.node(node)), Ok(None));
}

#[test]
fn verifier_of_many_forgets_nothing_it_should_check() {
    let tree = Tree::new(100);
    let root = tree.root_of(100);
    let mut verifier = InclusionVerifier::new(100, root);
    assert!(verifier.verify(tree.leaf(40), 40, &tree.inclusion(40, 100)));
    // The neighbour shares all but the first step: each of the shared hashes still counts.
    let good = tree.inclusion(41, 100);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] = node_hash(&root, &root);
        assert!(!verifier.verify(tree.leaf(41), 41, &bad), "{place}");
    }
    assert!(!verifier.verify(tree.leaf(41), 41, &good[..good.len() - 1]));
    assert!(!verifier.verify(tree.leaf(42), 41, &good));
    assert!(verifier.verify(tree.leaf(41), 41, &good));
}

#[test]
fn hash_reads_back_from_base64_only_in_its_own_form() {
    let hash = leaf_hash(b"x");
    assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
    assert_eq!(Hash::from_base64(""), None);
    assert_eq!(Hash::from_base64(hash.to_base64().trim_end_matches('=')), None);
    assert_eq!(Hash::from_base64(&"A".repeat(44)), None);
    assert_eq!(format!("{hash}"), hash.to_base64());
    assert_eq!(format!("{hash:?}").len(), 64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn inclusion_holds_and_any_change_breaks_it(
        (size, index) in (1_u64..700).prop_flat_map(|size| (Just(size), 0..size)),
        other in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in any::<u8>(),
    ) {
        let tree = Tree::new(size);
        let root = tree.root_of(size);
        let proof = tree.inclusion(index, size);
        let leaf = tree.leaf(index);
        prop_assert!(verify_inclusion(leaf, index, &proof, size, &root));
        let other = other.index(tree.0.len()) as u64;
        if other != index {
            prop_assert!(!verify_inclusion(leaf, other, &proof, size, &root));
            prop_assert!(!verify_inclusion(tree.leaf(other), index, &proof, size, &root));
        }
        prop_assert!(!verify_inclusion(leaf, size, &proof, size, &root));
        prop_assert!(!verify_inclusion(leaf, index, &[proof.clone(), vec![root]].concat(), size, &root));
        if !proof.is_empty() {
            prop_assert!(!verify_inclusion(leaf, index, &proof[1..], size, &root));
            let bad = broken(proof, place, bit);
            prop_assert!(!verify_inclusion(leaf, index, &bad, size, &root));
        }
    }

    #[test]
    fn consistency_holds_and_any_change_breaks_it(
        (new, old) in (2_u64..700).prop_flat_map(|new| (Just(new), 1..new)),
        place in any::<prop::sample::Index>(),
        bit in any::<u8>(),
    ) {
        let tree = Tree::new(new);
        let (old_root, new_root) = (tree.root_of(old), tree.root_of(new));
        let proof = tree.consistency(old, new);
        prop_assert!(verify_consistency((old, &old_root), (new, &new_root), &proof));
        prop_assert!(!verify_consistency((old, &new_root), (new, &new_root), &proof));
        prop_assert!(!verify_consistency((old, &old_root), (new, &old_root), &proof));
        prop_assert!(!verify_consistency((old, &old_root), (new, &new_root), &proof[1..]));
        let bad = broken(proof, place, bit);
        prop_assert!(!verify_consistency((old, &old_root), (new, &new_root), &bad));
    }

    #[test]
    fn hostile_proofs_never_panic(
        index in any::<u64>(), size in any::<u64>(), old in any::<u64>(),
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..80),
    ) {
        let proof: Vec<Hash> = hashes.into_iter().map(Hash::from).collect();
        let root = leaf_hash(b"");
        prop_assert!(!verify_inclusion(&root, index, &proof, size, &root) || proof.is_empty());
        let consistent = verify_consistency((old, &root), (size, &root), &proof);
        prop_assert!(!consistent || proof.is_empty());
    }
}
