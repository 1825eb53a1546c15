//! Published proofs, most of them wrong in one way.

use aegis_evidence::{Hash, Head, proof};
use serde::Deserialize;

/// The distinct cases about whole trees in `testdata` of github.com/transparency-dev/merkle (Apache-2.0), at commit
/// 417fb0c314750d94e53942e9f92e79b6d35915db; a case's name is its path there. Its further cases are the same trees
/// over again, or about subtrees, which a log of ours never proves.
const CASES: &str = include_str!("../vectors/merkle-proofs.jsonl");

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    claim: Claim,
    proof: Vec<String>,
    valid: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Inclusion { index: u64, size: u64, leaf: String, root: String },
    Consistency { size1: u64, root1: String, size2: u64, root2: String },
}

/// A hash of the case. Some are words instead, to be told apart only; an empty one is none at all.
fn hash(text: &str) -> Option<Hash> {
    text.parse().ok().or_else(|| (!text.is_empty()).then(|| Hash::leaf(text.as_bytes())))
}

fn holds(case: &Case) -> Option<bool> {
    let proof: Vec<Hash> = case.proof.iter().map(|text| hash(text)).collect::<Option<_>>()?;
    Some(match &case.claim {
        Claim::Inclusion { index, size, leaf, root } => {
            let head = Head { size: *size, root: hash(root)? };
            proof::verify_inclusion(&hash(leaf)?, *index, &head, &proof).is_ok()
        }
        Claim::Consistency { size1, root1, size2, root2 } => {
            let old = Head { size: *size1, root: hash(root1)? };
            let new = Head { size: *size2, root: hash(root2)? };
            proof::verify_consistency(&old, &new, &proof).is_ok()
        }
    })
}

#[test]
fn the_published_proofs_are_told_right_from_wrong() {
    let cases: Vec<Case> =
        CASES.lines().map(|line| serde_json::from_str(line).expect("a case is JSON")).collect();
    let valid = cases.iter().filter(|case| case.valid).count();
    assert_eq!((cases.len(), valid), (197, 12), "a case was lost");
    let wrong: Vec<&str> = cases
        .iter()
        .filter(|case| holds(case).unwrap_or(false) != case.valid)
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(wrong, Vec::<&str>::new());
}
