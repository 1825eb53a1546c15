//! Checkpoints: signed heads of the log (C2SP tlog-checkpoint).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::Hash;
use crate::keys::{SignerKey, VerifierKey};
use crate::note::{self, NoteError};

/// Most entries of a log: every JSON reader keeps such numbers exact (2^53).
pub const SIZE_MAX: u64 = 1 << 53;

/// Size and root of a tree: what one checkpoint says of the whole log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Entries in the tree.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

impl Head {
    /// The head of the log without entries.
    pub const EMPTY: Self = Self { size: 0, root: Hash::EMPTY };
}

/// A head whose signatures were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's unique name.
    pub origin: String,
    /// What was signed.
    pub head: Head,
    /// The known keys that signed it: at least one.
    pub signed_by: Vec<VerifierKey>,
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// As a note it is not believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A known key signed it, but its text is not that of a checkpoint.
    #[error("the signed text is not that of a checkpoint")]
    Malformed,
    /// A known key signed it, for another log.
    #[error("the checkpoint is of another log")]
    OriginMismatch,
}

impl CheckpointError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Note(error) => error.code(),
            Self::Malformed => "checkpoint-malformed",
            Self::OriginMismatch => "origin-mismatch",
        }
    }
}

/// Why a checkpoint cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignError {
    /// No key was given, or keys of different logs.
    #[error("a checkpoint is signed by one or more keys of one log")]
    Keys,
    /// A size beyond [`SIZE_MAX`], or the size 0 with the root of another tree.
    #[error("there is no such head")]
    Head,
}

/// Signs a head by all keys that are live, during a rotation the old and the new one. Their name is the origin.
pub fn sign_checkpoint(head: &Head, signers: &[&SignerKey]) -> Result<String, SignError> {
    let origin = signers.first().ok_or(SignError::Keys)?.verifier().name();
    let alike = signers.iter().all(|signer| signer.verifier().name() == origin);
    let distinct = (1..signers.len())
        .all(|place| signers[..place].iter().all(|other| other.verifier() != signers[place].verifier()));
    if !alike || !distinct {
        return Err(SignError::Keys);
    }
    if !is_head(head) {
        return Err(SignError::Head);
    }
    let text = format!("{origin}\n{}\n{}\n", head.size, head.root);
    note::sign(&text, signers).map_err(|_| SignError::Keys)
}

/// Opens a checkpoint of the log `origin`: signatures first, then the text (C2SP tlog-checkpoint, "Note text").
pub(crate) fn open(
    checkpoint: &[u8],
    origin: &str,
    keys: &[VerifierKey],
) -> Result<Checkpoint, CheckpointError> {
    let opened = note::open(checkpoint, keys)?;
    let (found, head) = parse(opened.text).ok_or(CheckpointError::Malformed)?;
    if found != origin {
        return Err(CheckpointError::OriginMismatch);
    }
    let signed_by = opened.signed_by.into_iter().cloned().collect();
    Ok(Checkpoint { origin: origin.to_owned(), head, signed_by })
}

/// Origin and head. Extension lines are not empty, and say nothing to us.
fn parse(text: &str) -> Option<(&str, Head)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let head = Head { size: size.parse().ok()?, root: root.parse().ok()? };
    // One number has one text: no sign, no leading zeros.
    let canonical = head.size.to_string() == size && is_head(&head);
    (canonical && !origin.is_empty() && lines.all(|line| !line.is_empty())).then_some((origin, head))
}

fn is_head(head: &Head) -> bool {
    head.size <= SIZE_MAX && (head.size > 0 || head.root == Hash::EMPTY)
}
