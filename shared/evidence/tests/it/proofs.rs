//! Every proof of small trees verifies, equals another implementation's, and fails when anything is changed.

use aegis_evidence::proof::{ProofError, verify_block, verify_consistency, verify_inclusion};
use aegis_evidence::{Hash, Head, Plan, TILE_WIDTH};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use crate::log::Log;

/// Entries of a log past one full tile, so that proofs use two levels of them.
const SIZES: u64 = 270;

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hash with each of its bits flipped.
fn flipped(hash: &Hash) -> impl Iterator<Item = Hash> {
    (0..256).map(|bit| {
        let mut bytes = *hash.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Hash::from_bytes(bytes)
    })
}

/// Every proof that differs from `proof` in one bit, or by one hash more or less.
fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for place in 0..proof.len() {
        for hash in flipped(&proof[place]) {
            let mut other = proof.to_vec();
            other[place] = hash;
            all.push(other);
        }
        let mut shorter = proof.to_vec();
        shorter.remove(place);
        all.push(shorter);
    }
    for place in 0..=proof.len() {
        for extra in proof.iter().chain([&Hash::EMPTY]) {
            let mut longer = proof.to_vec();
            longer.insert(place, *extra);
            all.push(longer);
        }
    }
    all
}

#[test]
fn all_proofs_of_small_trees_verify_and_are_those_of_another_implementation() {
    let log = Log::of(SIZES);
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=SIZES {
        oracle.push(log.entry(size - 1));
        if (131..254).contains(&size) {
            continue;
        }
        let head = log.heads[size as usize];
        assert_eq!(oracle.root().as_bytes().as_slice(), head.root.as_bytes());
        for index in 0..size {
            let proof = log.inclusion(index, size);
            assert_eq!(bytes(&proof), oracle.prove_inclusion(index as usize).as_bytes(), "{index} in {size}");
            verify_inclusion(&Hash::leaf(&log.entry(index)), index, &head, &proof)
                .expect("it is in the tree");
        }
        for old in 1..=size {
            let proof = log.consistency(old, size).hashes;
            let theirs = oracle.prove_consistency((size - old) as usize);
            assert_eq!(bytes(&proof), theirs.as_bytes(), "{old} to {size}");
            verify_consistency(&log.heads[old as usize], &head, &proof).expect("it has grown");
        }
    }
}

#[test]
fn an_inclusion_proof_with_anything_changed_fails() {
    let log = Log::of(SIZES);
    for size in (1_u64..=17).chain([255, 256, 257]) {
        let head = log.heads[size as usize];
        for index in
            [0, 1, size / 2, size.saturating_sub(2), size - 1].into_iter().filter(|index| *index < size)
        {
            let (leaf, proof) = (Hash::leaf(&log.entry(index)), log.inclusion(index, size));
            assert_eq!(verify_inclusion(&leaf, index, &head, &proof), Ok(()));
            for other in changed(&proof) {
                assert!(verify_inclusion(&leaf, index, &head, &other).is_err(), "{index} in {size}");
            }
            for other in flipped(&leaf) {
                assert_eq!(verify_inclusion(&other, index, &head, &proof), Err(ProofError::Root));
            }
            for root in flipped(&head.root) {
                assert_eq!(
                    verify_inclusion(&leaf, index, &Head { size, root }, &proof),
                    Err(ProofError::Root)
                );
            }
            for other in (0..size + 3).filter(|other| *other != index) {
                assert!(
                    verify_inclusion(&leaf, other, &head, &proof).is_err(),
                    "{index} at {other} in {size}"
                );
            }
        }
    }
}

#[test]
fn a_consistency_proof_with_anything_changed_fails() {
    let log = Log::of(SIZES);
    for (old, new) in [
        (1, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (3, 7),
        (4, 7),
        (6, 8),
        (7, 8),
        (8, 13),
        (255, 257),
        (256, 270),
        (250, 270),
    ] {
        let (from, to) = (log.heads[old as usize], log.heads[new as usize]);
        let proof = log.consistency(old, new).hashes;
        assert_eq!(verify_consistency(&from, &to, &proof), Ok(()));
        for other in changed(&proof) {
            assert!(verify_consistency(&from, &to, &other).is_err(), "{old} to {new}");
        }
        for root in flipped(&from.root) {
            assert_eq!(verify_consistency(&Head { root, ..from }, &to, &proof), Err(ProofError::Root));
        }
        for root in flipped(&to.root) {
            assert_eq!(verify_consistency(&from, &Head { root, ..to }, &proof), Err(ProofError::Root));
        }
        if old != new {
            assert!(verify_consistency(&to, &from, &proof).is_err(), "{new} back to {old}");
        }
    }
    assert_eq!(verify_consistency(&Head::EMPTY, &log.head(), &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(&Head::EMPTY, &Head::EMPTY, &[]), Err(ProofError::OutOfRange));
}

#[test]
fn the_hashes_of_a_tile_are_proven_together() {
    let log = Log::of(1_300);
    for size in [1_u64, 2, 255, 256, 257, 511, 512, 513, 767, 769, 1_024, 1_300] {
        let head = log.heads[size as usize];
        for tile in 0..size.div_ceil(u64::from(TILE_WIDTH)) {
            let end = size.min((tile + 1) * u64::from(TILE_WIDTH));
            let leaves: Vec<Hash> =
                (tile * u64::from(TILE_WIDTH)..end).map(|index| Hash::leaf(&log.entry(index))).collect();
            let proof = log.hashes(&Plan::block(tile, size).expect("there is such a tile"));
            assert_eq!(verify_block(&leaves, tile, &head, &proof), Ok(()), "tile {tile} of {size}");
            for place in 0..leaves.len() {
                let mut other = leaves.clone();
                other[place] = Hash::EMPTY;
                assert_eq!(verify_block(&other, tile, &head, &proof), Err(ProofError::Root));
            }
            assert_eq!(verify_block(&leaves[1..], tile, &head, &proof), Err(ProofError::Length));
            assert!(verify_block(&leaves, tile + 1, &head, &proof).is_err());
            let changed = |place: usize| flipped(&proof[place]).step_by(85).map(move |hash| (place, hash));
            for (place, hash) in (0..proof.len()).flat_map(changed) {
                let mut other = proof.clone();
                other[place] = hash;
                assert_eq!(verify_block(&leaves, tile, &head, &other), Err(ProofError::Root));
            }
            for other in [&[&proof[..], &[Hash::EMPTY]].concat()[..], &proof[proof.len().min(1)..]] {
                assert!(
                    other == proof || verify_block(&leaves, tile, &head, other) == Err(ProofError::Length)
                );
            }
        }
        assert!(Plan::block(size.div_ceil(256), size).is_err());
    }
}

#[test]
fn there_are_no_plans_beyond_the_tree() {
    assert!(Plan::inclusion(0, 0).is_err());
    assert!(Plan::inclusion(7, 7).is_err());
    assert!(Plan::consistency(0, 7).is_err());
    assert!(Plan::consistency(8, 7).is_err());
    assert_eq!(Plan::consistency(7, 7).map(|plan| plan.tiles().len()), Ok(0));
}

fn hashes() -> impl Strategy<Value = Vec<Hash>> {
    prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::from_bytes), 0..70)
}

proptest! {
    #[test]
    fn no_numbers_make_a_verification_or_a_plan_panic(
        (size, other) in (any::<u64>(), any::<u64>()),
        (shift, other_shift) in (0_u32..64, 0_u32..64),
        proof in hashes(),
        root in any::<[u8; 32]>(),
    ) {
        let (size, other, root) = (size >> shift, other >> other_shift, Hash::from_bytes(root));
        let head = Head { size, root };
        prop_assert!(verify_inclusion(&root, other, &head, &proof).is_err() || (size == 1 && proof.is_empty()));
        let old = Head { size: other, root: Hash::EMPTY };
        prop_assert!(verify_consistency(&old, &head, &proof).is_err());
        prop_assert!(verify_block(&proof, other, &head, &proof).is_err());
        let plans = [Plan::inclusion(other, size), Plan::block(other, size), Plan::consistency(other, size)];
        for plan in plans.into_iter().flatten() {
            prop_assert!(plan.tiles().len() <= 24, "{}", plan.tiles().len());
        }
        prop_assert!(Plan::edge(size).tiles().len() <= 8);
    }

    #[test]
    fn a_plan_has_as_many_hashes_as_its_verification_takes(size in 1_u64..=u64::MAX, at in any::<prop::sample::Index>()) {
        let index = at.index(usize::try_from(size).expect("64 bits")) as u64;
        // Every tile of a tree whose hashes are all alike; only the length of the proof is looked at.
        let same = vec![7; 256 * 32];
        let proof = Plan::inclusion(index, size).expect("within").hashes(|_| Some(&same)).expect("all tiles");
        let head = Head { size, root: Hash::EMPTY };
        prop_assert_eq!(verify_inclusion(&Hash::EMPTY, index, &head, &proof), Err(ProofError::Root));
        if index > 0 {
            let plan = Plan::consistency(index, size).expect("within");
            let proof = plan.hashes(|_| Some(&same)).expect("all tiles");
            let old = Head { size: index, root: Hash::EMPTY };
            prop_assert_eq!(verify_consistency(&old, &head, &proof), Err(ProofError::Root));
        }
    }
}
