//! The lines of a bundle that are not entries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base64;
use crate::hash::Hash;
use crate::heads::Consistency;

/// Names the layout of a bundle.
pub const FORMAT: &str = "aegis.evidence/v1";

/// Most bytes of a line, an entry's included; who reads a bundle need not hold more.
pub const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A line that is no entry, as JSON: an object with the kind of line as its one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// The first line.
    Manifest(Manifest),
    /// Stands before consecutive entries.
    Block(Block),
    /// Stands before one entry.
    Single(Single),
    /// The last line.
    End(End),
}

/// What the bundle holds, and what is needed to verify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The checkpoint that all entries are proven under (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// The log's keys as its server gives them, for comparing fingerprints. A verifier believes only keys that it
    /// was given otherwise.
    pub keys: Vec<String>,
    /// Endorsements of keys ([`crate::endorse`]), oldest first.
    pub endorsements: Vec<String>,
    /// Other checkpoints of the log.
    pub checkpoints: Vec<String>,
    /// Proofs between the checkpoint and others, those that the auditor remembers among them.
    pub consistency: Vec<Consistency>,
    /// Which entries follow.
    pub content: Content,
}

/// Which entries a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Content {
    /// Every entry from `first` to before `end`.
    Range {
        /// Index of the first entry.
        first: u64,
        /// Index behind the last entry.
        end: u64,
    },
    /// Some entries, in the order of the log.
    Selection {
        /// What was asked for, as the exporter says.
        filter: BTreeMap<String, String>,
    },
}

/// Consecutive entries of one level-0 tile (C2SP tlog-tiles), proven together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Block {
    /// The tile's index; its first entry is the 256th part of the log with that number.
    pub tile: u64,
    /// Index of the first entry that follows.
    pub first: u64,
    /// How many entries follow, at least one.
    pub count: u16,
    /// All hashes of the tile as it is under the checkpoint, one after the other, in standard base64.
    pub leaves: String,
    /// Proof of the tile's root ([`crate::Plan::block`]).
    pub proof: Vec<Hash>,
}

impl Block {
    /// The text of [`Block::leaves`].
    pub fn leaves_text(hashes: &[Hash]) -> String {
        base64::encode(&hashes.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>())
    }

    pub(crate) fn hashes(&self) -> Option<Vec<Hash>> {
        Hash::sequence(&base64::decode(&self.leaves)?)
    }
}

/// One entry, proven by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Single {
    /// The entry's index.
    pub index: u64,
    /// Its inclusion proof under the checkpoint ([`crate::Plan::inclusion`]).
    pub proof: Vec<Hash>,
}

/// Shows that nothing was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct End {
    /// How many entries the bundle holds.
    pub entries: u64,
    /// The first entry that the server's database files under something else than the entry says, such as another
    /// kind or principal: the exporter noticed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfiled: Option<u64>,
}

impl Line {
    /// The line with its newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a line has only texts, numbers and lists");
        bytes.push(b'\n');
        bytes
    }
}
