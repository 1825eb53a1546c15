//! Go's implementation of signed notes and tiled logs (golang.org/x/mod/sumdb) reads our log, and we read its note.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aegis_evidence::{Hash, LogKeys, Tile};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::log::{Log, key, keys, signed};

#[derive(Deserialize)]
struct Answer {
    key: String,
    checkpoint: String,
}

/// The Go program, built once for this test.
fn build(into: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/transparency_log");
    let program = into.join("transparency_log");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(".").current_dir(sources);
    let output = go.output().expect("a peer of the tests is written in Go: install Go 1.26 or newer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
    fs::write(path, content).expect("the file can be written");
}

/// Lays a log out as C2SP tlog-tiles has it, with the checkpoints of two sizes and proofs about the newer.
fn publish(log: &Log, old: u64, folder: &Path) -> Value {
    let size = log.size();
    write(&folder.join("key"), key(1).verifier().to_string());
    write(&folder.join("old"), log.checkpoint(old));
    write(&folder.join("new"), signed(&log.head(), &[1, 2]));
    for (level, index, bytes) in log.tiles() {
        let tile = Tile::in_tree(level, index, size).expect("a tile of the log");
        write(&folder.join("tile").join(tile.to_string()), bytes);
    }
    let inclusion = |index: u64| json!({ "Index": index, "Leaf": Hash::leaf(&log.entry(index)), "Proof": log.inclusion(index, size) });
    let inclusions: Vec<Value> =
        [0, 1, 255, 256, 511, 512, 600, size - 1].into_iter().map(inclusion).collect();
    json!({ "Consistency": log.consistency(old, size).hashes, "Inclusions": inclusions })
}

fn run(program: &Path, folder: &Path, proofs: &Value) -> Output {
    write(&folder.join("proofs.json"), proofs.to_string());
    Command::new(program).arg(folder).output().expect("the peer runs")
}

#[test]
fn go_verifies_our_checkpoints_tiles_and_proofs_and_we_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = build(folder.path());
    for (old, size) in [(1, 601), (300, 768), (700, 1_337)] {
        let log = Log::of(size);
        let folder = folder.path().join(size.to_string());
        let proofs = publish(&log, old, &folder);
        let output = run(&program, &folder, &proofs);
        assert!(output.status.success(), "{size}: {}", String::from_utf8_lossy(&output.stderr));

        let answer: Answer = serde_json::from_slice(&output.stdout).expect("the peer answers JSON");
        let theirs = LogKeys::new(vec![answer.key.parse().expect("a verifier key")]).expect("one key");
        let checkpoint = theirs.open(answer.checkpoint.as_bytes()).expect("it is signed");
        assert_eq!(checkpoint.head, log.head());
        assert!(keys(&[1]).open(answer.checkpoint.as_bytes()).is_err());

        // The peer does look: each of these it refuses.
        let mut wrong = proofs.clone();
        wrong["Inclusions"][3]["Proof"][0] = json!(Hash::EMPTY);
        assert!(!run(&program, &folder, &wrong).status.success(), "a wrong proof");
        let tile = folder.join("tile/0/000");
        let mut bytes = fs::read(&tile).expect("the first tile");
        bytes[40] ^= 1;
        write(&tile, bytes);
        assert!(!run(&program, &folder, &proofs).status.success(), "a changed tile");
    }
}
