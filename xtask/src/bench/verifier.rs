//! What verifying costs: hashing entries into the tree, and making and checking a proof in a log of ten million.

use std::collections::BTreeMap;
use std::time::Instant;

use aegis_evidence::{Hash, Head, Plan, RightEdge, Tile, proof};
use anyhow::{Context, Result};

use super::{Case, Goal};

/// Entries that are hashed, and their bytes.
const HASHED: usize = 400_000;
const BODY: usize = 1_024;
/// Entries of the log that is proven from, and proofs that are made.
const SIZE: u64 = 10_000_000;
const SIZE_QUICK: u64 = 100_000;
const PROOFS: u64 = 2_000;
/// Goals.
const HASHES_MIN: f64 = 400_000.0;
const PROOF_MS_MAX: f64 = 1.0;
const PROOF_BYTES_MAX: f64 = 1_024.0;

/// Runs the benchmark, on one processor.
pub(super) fn run(quick: bool) -> Result<Vec<Case>> {
    let size = if quick { SIZE_QUICK } else { SIZE };
    let (tiles, head) = tree(size);
    let mut slowest = 0.0_f64;
    let mut longest = 0;
    for number in 0..PROOFS {
        let index = number * (size / PROOFS) + number % 7;
        let begun = Instant::now();
        let plan = Plan::inclusion(index, size)?;
        let read = |tile: Tile| tiles.get(&(tile.level(), tile.index())).map(Vec::as_slice);
        let hashes = plan.hashes(read)?;
        proof::verify_inclusion(&leaf(index), index, &head, &hashes)?;
        slowest = slowest.max(begun.elapsed().as_secs_f64() * 1_000.0);
        longest = longest.max(hashes.len() * Hash::LENGTH);
    }
    let rate = hash_rate().context("nothing was hashed")?;
    let of = |what: &str| format!("{what} in a log of {size}");
    Ok(vec![
        Case::new(
            "entries of 1 KiB hashed into the tree",
            "/s",
            rate,
            HASHES_MIN,
            "the goal",
            Goal::PartMin(1.0),
        ),
        Case::new(
            of("slowest of 2,000 proofs made and verified"),
            "ms",
            slowest,
            PROOF_MS_MAX,
            "the goal",
            Goal::Below,
        ),
        Case::new(of("longest proof"), "bytes", longest as f64, PROOF_BYTES_MAX, "the goal", Goal::Below),
    ])
}

fn leaf(index: u64) -> Hash {
    Hash::leaf(&index.to_be_bytes())
}

/// The tiles of a log, by level and index, and its head.
fn tree(size: u64) -> (BTreeMap<(u8, u64), Vec<u8>>, Head) {
    let mut edge = RightEdge::EMPTY;
    let mut tiles: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
    for first in (0..size).step_by(1_024) {
        let leaves: Vec<Hash> = (first..size.min(first + 1_024)).map(leaf).collect();
        for growth in edge.append_batch(&leaves) {
            let tile = tiles.entry((growth.level, growth.index)).or_default();
            tile.extend(growth.hashes.iter().flat_map(|hash| *hash.as_bytes()));
        }
    }
    (tiles, edge.head())
}

/// Entries a second, hashed and added to the tree as a verifier does it.
fn hash_rate() -> Option<f64> {
    let mut body = vec![b'x'; BODY];
    let mut edge = RightEdge::EMPTY;
    let begun = Instant::now();
    for number in 0..HASHED {
        body[..8].copy_from_slice(&number.to_be_bytes());
        edge.append(Hash::leaf(&body));
    }
    let took = begun.elapsed().as_secs_f64();
    (edge.head().size > 0).then_some(HASHED as f64 / took)
}
