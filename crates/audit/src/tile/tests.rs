use std::collections::HashMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    ENTRY_BYTES_MAX, Edge, EntryTooLong, TILE_WIDTH, TileId, TileKind, entries_from_bytes,
    hashes_from_bytes, hashes_to_bytes, place, push_entry, width_in,
};
use crate::tree::{Hash, Node, empty_root, leaf_hash, perfect_root, range_hash};

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|number| leaf_hash(number.to_string().as_bytes())).collect()
}

#[test]
fn c2sp_tlog_tiles_paths() {
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        input: Input,
        expect: String,
    }
    #[derive(Deserialize)]
    struct Input {
        level: Option<u8>,
        index: u64,
        width: u16,
    }
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../../../vectors/audit/tile-paths.json")).unwrap();
    for Vector { name, input: Input { level, index, width }, expect } in vectors {
        let kind = level.map_or(TileKind::Entries, TileKind::Hashes);
        assert_eq!(TileId { kind, index, width }.path(), expect, "{name}");
    }
}

#[test]
fn width_follows_the_size() {
    for (size, level, index, width) in [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (256, 0, 0, 256),
        (257, 0, 1, 1),
        (255, 1, 0, 0),
        (256, 1, 0, 1),
        (70_000, 1, 0, 256),
        (70_000, 1, 1, 17),
        (70_000, 2, 0, 1),
        (u64::MAX, 0, 0, 256),
        (u64::MAX, 8, 0, 0),
        (5, 0, u64::MAX, 0),
    ] {
        assert_eq!(width_in(size, level, index), width, "{size} {level} {index}");
    }
}

#[test]
fn bundles_hold_entries_of_any_allowed_length() {
    let mut bundle = Vec::new();
    let entries = [vec![], b"one".to_vec(), vec![b'x'; ENTRY_BYTES_MAX]];
    for entry in &entries {
        push_entry(&mut bundle, entry).unwrap();
    }
    assert_eq!(entries_from_bytes(&bundle, 3).unwrap(), entries);
    assert_eq!(push_entry(&mut bundle, &vec![0; ENTRY_BYTES_MAX + 1]), Err(EntryTooLong));
    // Neither more nor fewer entries than announced, and no half of one.
    assert_eq!(entries_from_bytes(&bundle, 2), None);
    assert_eq!(entries_from_bytes(&bundle, 4), None);
    assert_eq!(entries_from_bytes(&bundle[..bundle.len() - 1], 3), None);
    assert_eq!(entries_from_bytes(&[0], 1), None);
}

#[test]
fn tiles_of_hashes_read_back() {
    let hashes = leaves(5);
    let bytes = hashes_to_bytes(&hashes);
    assert_eq!(hashes_from_bytes(&bytes, 5), Some(hashes));
    assert_eq!(hashes_from_bytes(&bytes, 4), None);
    assert_eq!(hashes_from_bytes(&bytes[1..], 5), None);
}

#[test]
fn empty_edge_is_the_empty_tree() {
    let edge = Edge::new();
    assert_eq!((edge.size(), edge.root()), (0, empty_root()));
    assert_eq!(edge.partial().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    // Sizes around two levels of tiles, where the border is hardest.
    #[test]
    fn edge_has_the_root_of_the_whole_and_its_tiles_hold_every_subtree(
        size in prop_oneof![1_u64..1_000, 65_530_u64..65_600, 66_000_u64..70_000],
        level in 0_u32..17,
        position in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(size);
        let mut edge = Edge::new();
        let mut full = Vec::new();
        for leaf in &leaves {
            edge.push(*leaf, &mut full);
        }
        let root = range_hash(0, size, &mut |node: Node| {
            let start = usize::try_from(node.index << node.level).unwrap();
            Ok::<_, ()>(perfect_root(&leaves[start..start + (1 << node.level)]))
        });
        prop_assert_eq!(Ok(edge.root()), root);
        prop_assert_eq!(edge.size(), size);

        let partial = edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec()));
        let tiles: HashMap<_, _> =
            full.into_iter().chain(partial).map(|(tile, hashes)| ((tile.kind, tile.index), (tile.width, hashes))).collect();
        for ((kind, index), (width, _)) in &tiles {
            let TileKind::Hashes(level) = kind else { panic!("an edge has hashes only") };
            prop_assert_eq!(*width, width_in(size, *level, *index));
        }
        let nodes = size >> level;
        if nodes > 0 {
            let index = position.index(usize::try_from(nodes).unwrap()) as u64;
            let at = place(Node { level, index });
            let (_, hashes) = &tiles[&(TileKind::Hashes(at.level), at.index)];
            let start = usize::try_from(index << level).unwrap();
            let expected = perfect_root(&leaves[start..start + (1 << level)]);
            prop_assert_eq!(perfect_root(&hashes[at.first..at.first + at.count]), expected);
        }

        // What a restart reads from the full tiles is the same border.
        let full_tiles = size / u64::from(TILE_WIDTH);
        let rebuilt = Edge::from_full_tiles(full_tiles, |level, index| {
            let (width, hashes) = &tiles[&(TileKind::Hashes(level), index)];
            if *width == TILE_WIDTH { Ok(hashes.clone()) } else { Err((level, index)) }
        });
        let mut rebuilt = rebuilt.unwrap();
        let done = usize::try_from(full_tiles * u64::from(TILE_WIDTH)).unwrap();
        prop_assert_eq!(rebuilt.size(), done as u64);
        for leaf in &leaves[done..] {
            rebuilt.push(*leaf, &mut Vec::new());
        }
        prop_assert_eq!(rebuilt.root(), edge.root());
        prop_assert_eq!(rebuilt.partial().collect::<Vec<_>>(), edge.partial().collect::<Vec<_>>());
    }

    #[test]
    fn hostile_bundles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), width in any::<u16>()) {
        prop_assert!(entries_from_bytes(&bytes, width).is_none_or(|all| all.len() == usize::from(width)));
        prop_assert!(hashes_from_bytes(&bytes, width).is_none_or(|all| all.len() * 32 == bytes.len()));
    }
}
