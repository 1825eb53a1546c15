//! What travels beside an order: the proof that its intent is in the log.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::heads::{Consistency, HeadError, Kept, Relation};
use crate::log_keys::LogKeys;
use crate::proof::{self, ProofError};

/// Shows that one entry is in the log, under a head that belongs to the history the verifier knows.
///
/// It proves itself: it is not signed as a whole, and may be renewed as the log grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// Its inclusion proof under the checkpoint (RFC 6962, section 2.1.1).
    pub inclusion: Vec<Hash>,
    /// The signed head (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// Proofs between this checkpoint and heads that the verifier may keep.
    pub consistency: Vec<Consistency>,
}

/// Why evidence is not accepted, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// The checkpoint is not believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint does not belong to the kept heads, or nothing shows that it does.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The entry is not where the evidence says, or its bytes are others.
    #[error("the entry is not in the log: {0}")]
    NotInLog(ProofError),
}

impl EvidenceError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Checkpoint(error) => error.code(),
            Self::Head(error) => error.code(),
            Self::NotInLog(_) => "entry-not-in-log",
        }
    }
}

/// What evidence has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The checkpoint, whose head is to be kept.
    pub checkpoint: Checkpoint,
    /// How it stands to the heads that were kept.
    pub relation: Relation,
}

impl Evidence {
    /// Verifies that an entry of exactly these bytes is in the log: signature, history, inclusion.
    ///
    /// History comes before inclusion, so that a signed head of another history is always told as a fork.
    /// What the entry means, and whether it fits the order, is for the caller to compare.
    pub fn verify(&self, entry: &[u8], keys: &LogKeys, kept: &Kept) -> Result<Verified, EvidenceError> {
        let checkpoint = keys.open(self.checkpoint.as_bytes())?;
        let relation = kept.judge(&checkpoint.head, &self.consistency)?;
        proof::verify_inclusion(&Hash::leaf(entry), self.index, &checkpoint.head, &self.inclusion)
            .map_err(EvidenceError::NotInLog)?;
        Ok(Verified { checkpoint, relation })
    }
}
