//! Tiles: their content, their names, and that they are enough for every proof.

use std::collections::BTreeMap;

use aegis_evidence::{Hash, Plan, RightEdge, Tile, TileMissing, proof};
use proptest::prelude::*;

use crate::log::Log;
use crate::tree::tree_hash;

fn path(level: u8, index: u64, size: u64) -> String {
    Tile::in_tree(level, index, size).expect("the tile is in the tree").to_string()
}

#[test]
fn the_tiles_of_70_000_entries_are_those_of_the_specification() {
    // C2SP tlog-tiles, "Partial Tiles": 273 full and one of 112; one full and one of 17; one of 1.
    let mut edge = RightEdge::EMPTY;
    let leaves = vec![Hash::EMPTY; 70_000];
    let mut widths = BTreeMap::<(u8, u64), usize>::new();
    for batch in leaves.chunks(999) {
        for growth in edge.append_batch(batch) {
            *widths.entry((growth.level, growth.index)).or_default() += growth.hashes.len();
        }
    }
    let expected = (0..273).map(|index| ((0, index), 256)).chain([
        ((0, 273), 112),
        ((1, 0), 256),
        ((1, 1), 17),
        ((2, 0), 1),
    ]);
    assert_eq!(widths, expected.collect());
    for ((level, index), width) in widths {
        let tile = Tile::in_tree(level, index, 70_000).map(|tile| (tile.width(), tile.is_full()));
        assert_eq!(tile, Some((u16::try_from(width).expect("a width"), width == 256)));
        assert_eq!(Tile::in_tree(level, index + 300, 70_000), None);
    }
    // "a tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile of width 1"
    assert_eq!((path(0, 0, 256), path(1, 0, 256)), ("0/000".to_owned(), "1/000.p/1".to_owned()));
    assert_eq!(Tile::in_tree(63, 0, u64::MAX), None);
    assert_eq!(Tile::in_tree(0, u64::MAX, u64::MAX), None);
}

#[test]
fn a_tile_has_one_path() {
    for (tile, path) in [
        (Tile::in_tree(0, 1_234_067, u64::MAX), "0/x001/x234/067"),
        (Tile::in_tree(0, 999, 256_000), "0/999"),
        (Tile::in_tree(0, 1_000, 256_001), "0/x001/000.p/1"),
        (Tile::in_tree(2, 0, 70_000), "2/000.p/1"),
    ] {
        assert_eq!(tile.map(|tile| tile.to_string()).as_deref(), Some(path));
        assert_eq!(path.parse().ok(), tile);
    }
    for wrong in [
        "",
        "0",
        "0/",
        "/000",
        "0/0",
        "0/00",
        "0/0000",
        "0/x000/001",
        "0/001/002",
        "0/x001",
        "0/x001/x002",
        "0/xx1/002",
        "00/001",
        "+0/001",
        "-1/001",
        "64/001",
        "0/+01",
        "0/001.p/0",
        "0/001.p/256",
        "0/001.p/01",
        "0/001.p/",
        "0/001.p/+1",
        "0/001.p/1/",
        "0/001 ",
        "0/x999/x999/x999/x999/x999/x999/999",
        "0/٠٠١",
        "entries/000",
    ] {
        assert!(wrong.parse::<Tile>().is_err(), "{wrong:?}");
    }
}

#[test]
fn every_stored_hash_is_the_tree_hash_of_its_entries() {
    let mut log = Log::empty();
    log.append_batch((0..66_000_u32).map(|entry| entry.to_be_bytes().to_vec()).collect());
    let leaves: Vec<Hash> = log.entries.iter().map(|entry| Hash::leaf(entry)).collect();
    for (level, index, bytes) in log.tiles() {
        let span = 256_usize.pow(level.into());
        let first = usize::try_from(index).expect("small") * 256 * span;
        let expected = leaves[first..].chunks_exact(span).take(256).map(tree_hash);
        assert_eq!(Hash::sequence(bytes), Some(expected.collect()), "tile {level}/{index}");
    }
}

#[test]
fn a_tile_that_is_missing_or_too_short_is_named() {
    let log = Log::of(300);
    let plan = Plan::inclusion(299, 300).expect("it is in the tree");
    for tile in plan.tiles() {
        let read = |short: usize| {
            plan.hashes(|named| {
                let bytes = log.tile(named)?;
                if named != tile { Some(bytes) } else { bytes.get(..bytes.len().checked_sub(short)?) }
            })
        };
        assert_eq!(read(usize::MAX), Err(TileMissing(tile)));
        assert_eq!(read(0), Ok(log.inclusion(299, 300)));
    }
    assert_eq!(plan.hashes(|_| Some(&[])).map_err(|TileMissing(tile)| tile.level()), Err(0));
}

#[test]
fn proofs_in_a_log_of_three_levels_of_tiles_verify_and_name_few_tiles() {
    let mut log = Log::empty();
    log.append_batch((0..70_000_u32).map(|entry| entry.to_be_bytes().to_vec()).collect());
    let head = |size: u64| {
        let edge = RightEdge::new(size, log.hashes(&Plan::edge(size)));
        edge.expect("a plan of an edge gives an edge").head()
    };
    assert_eq!(head(70_000), log.head());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(
            &(1_u64..=70_000, any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            |(size, index, old)| {
                let new = head(size);
                let index = index.index(usize::try_from(size).expect("small")) as u64;
                let plan = Plan::inclusion(index, size).expect("it is in the tree");
                prop_assert!(plan.tiles().len() <= 8, "{:?}", plan.tiles());
                let leaf = Hash::leaf(&log.entry(index));
                prop_assert_eq!(proof::verify_inclusion(&leaf, index, &new, &log.hashes(&plan)), Ok(()));

                let old = 1 + old.index(usize::try_from(size).expect("small")) as u64;
                let consistency = log.consistency(old, size).hashes;
                prop_assert_eq!(proof::verify_consistency(&head(old), &new, &consistency), Ok(()));
                Ok(())
            },
        )
        .expect("every proof verifies");
}

proptest! {
    #[test]
    fn paths_come_back(level in 0_u8..=6, index in 0_u64..1 << 40, more in 1_u64..70_000) {
        let below = 256_u64.pow(level.into());
        let size = index.saturating_mul(256).saturating_add(more).saturating_mul(below);
        if let Some(tile) = Tile::in_tree(level, index, size) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }
    }
}
