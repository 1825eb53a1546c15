//! What verifying costs: hashing entries into the tree, making and checking a proof in a log of ten million, and
//! `aegisctl audit verify` over the whole log of a running stack, with every meaning checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aegis_evidence::{Hash, Head, Plan, RightEdge, Tile, proof};
use aegis_tests::paths::binary;
use aegis_tests::process::Launch;
use aegis_tests::progress;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::scene::Scene;
use super::{Case, Goal};

/// Entries that are hashed, and their bytes.
const HASHED: usize = 400_000;
const BODY: usize = 1_024;
/// Entries of the log that is proven from, and proofs that are made.
const SIZE: u64 = 10_000_000;
const SIZE_QUICK: u64 = 100_000;
const PROOFS: u64 = 2_000;
/// Rehearsed actions in the log whose meaning is checked, callers that ask for them, and how often it is verified.
const ACTIONS: usize = 6_000;
const ACTIONS_QUICK: usize = 300;
const CALLERS: usize = 16;
const VERIFIED: usize = 5;
/// Goals.
const MEANINGS_MIN: f64 = 100_000.0;
const HASHES_MIN: f64 = 400_000.0;
const PROOF_MS_MAX: f64 = 1.0;
const PROOF_BYTES_MAX: f64 = 1_024.0;

/// Runs the benchmark; what is verified is verified on one processor.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let meanings = meaning_rate(if quick { ACTIONS_QUICK } else { ACTIONS }).await?;
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
            format!("entries of a whole log of {}, meanings checked", meanings.entries),
            "/s",
            meanings.rate,
            MEANINGS_MIN,
            "the goal",
            Goal::PartMin(1.0),
        ),
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

/// Entries that were verified, and how many a second.
struct Meanings {
    entries: u64,
    rate: f64,
}

/// The whole log of some thousand actions, exported, and verified by the program that auditors use: reading the bundle,
/// every signature, hash and proof, and that intents, orders, receipts and outcomes fit together. Fastest of some runs.
async fn meaning_rate(actions: usize) -> Result<Meanings> {
    let scene = Arc::new(Scene::start(CALLERS).await?);
    let step = progress::step(format!("{actions} rehearsed actions by {CALLERS} callers"));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let scene = Arc::clone(&scene);
        callers.spawn(async move {
            for number in (0..actions).filter(|number| number % CALLERS == caller) {
                scene.rehearse("scale", caller, &json!({ "replicas": 2 + number % 3 })).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    step.done();
    let folder = tempfile::tempdir()?;
    let printed: Value = serde_json::from_str(&scene.stack.command(["log-key"]).await?)?;
    std::fs::write(folder.path().join("keys"), printed["key"].as_str().context("a key is printed")?)?;
    let url = scene.stack.control_plane(0).url();
    let token = scene.stack.new_person_token("otto", &["auditor"]).await?;
    let export = audit(folder.path(), &["export", "--out", "bundle"])?;
    export.env("AEGIS_URL", url).env("AEGIS_TOKEN", token).output().await?;
    let verify = audit(folder.path(), &["verify", "--keys", "keys", "bundle"])?;
    let mut fastest = f64::INFINITY;
    let mut entries = 0;
    for _ in 0..VERIFIED {
        let begun = Instant::now();
        let answer: Value = serde_json::from_str(&verify.output().await?)?;
        fastest = fastest.min(begun.elapsed().as_secs_f64());
        entries = answer["entries"].as_u64().context("a verification says how many entries it covers")?;
    }
    Ok(Meanings { entries, rate: entries as f64 / fastest })
}

fn audit(folder: &Path, args: &[&str]) -> Result<Launch> {
    Ok(Launch::new(binary("aegisctl")?).folder(folder).args(["-o", "json", "audit"]).args(args))
}
