//! What can be wrong with a bundle.

use thiserror::Error;

use crate::checkpoint::{CheckpointError, Head};
use crate::log_keys::EndorsementError;
use crate::note::NoteError;

/// Why a bundle does not prove what it claims.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The first line is not the manifest of a bundle that is understood here.
    #[error("not an evidence bundle: {0}")]
    Unreadable(String),
    /// A later line is not what stands there in a bundle.
    #[error("line {line} is not a line of a bundle: {message}")]
    LineMalformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong, for people.
        message: String,
    },
    /// A checkpoint is not believed.
    #[error("a checkpoint of the bundle is not believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// An endorsement is not believed.
    #[error("a key's endorsement in the bundle is not believed: {0}")]
    Endorsement(#[from] EndorsementError),
    /// An entry's bytes are not those in the log.
    #[error("entry {index} is not what the log holds there")]
    EntryMismatch {
        /// The entry.
        index: u64,
    },
    /// The hashes that a block gives for its tile are not those in the log.
    #[error("the hashes from entry {first} on are not what the log holds there")]
    BlockMismatch {
        /// The first entry of the tile.
        first: u64,
    },
    /// An entry comes twice, too early, or from outside the bundle's range.
    #[error("entry {index} stands where entry {expected} or a later one of the bundle's content belongs")]
    Disordered {
        /// The entry.
        index: u64,
        /// The lowest index that belongs there.
        expected: u64,
    },
    /// The server's database files an entry under something else than the entry says.
    #[error(
        "the server's database files entry {index} under something else than it says: searches there cannot be \
         relied on"
    )]
    Misfiled {
        /// The first such entry.
        index: u64,
    },
    /// The log has another history than the one remembered.
    #[error(
        "the log is forked: the bundle's head of {} entries does not belong to the one of {} entries",
        head.size, remembered.size
    )]
    Forked {
        /// The head that was remembered, or stands beside the bundle's own.
        remembered: Head,
        /// The head of the bundle.
        head: Head,
    },
    /// Nothing relates a remembered head to the bundle's.
    #[error("the bundle has no proof that relates its head to the one of {size} entries")]
    HeadUnknown {
        /// Entries under the remembered head.
        size: u64,
    },
    /// Entries that belong to the bundle's content are not in it.
    #[error("entries from {first} to before {end} are missing")]
    EntriesMissing {
        /// The first one that is missing.
        first: u64,
        /// Behind the last one that is missing.
        end: u64,
    },
    /// The end line counts other entries than there are.
    #[error("the bundle holds {found} of the {counted} entries it counts")]
    CountMismatch {
        /// How many there are.
        found: u64,
        /// How many there should be.
        counted: u64,
    },
    /// The bundle stops before its end line.
    #[error("the bundle is cut off after line {lines}")]
    Truncated {
        /// Whole lines that were read.
        lines: u64,
    },
}

/// What a fault means to who verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Something was changed.
    Tampered,
    /// Something is missing; nothing that is there is wrong.
    Incomplete,
    /// The log's keys are not those that were given.
    KeyUnknown,
    /// It cannot be read as a bundle at all.
    Unreadable,
}

impl Fault {
    /// The stable code of this fault.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "bundle-unreadable",
            Self::LineMalformed { .. } => "line-malformed",
            Self::Checkpoint(error) => error.code(),
            Self::Endorsement(error) => error.code(),
            Self::EntryMismatch { .. } => "entry-mismatch",
            Self::BlockMismatch { .. } => "block-mismatch",
            Self::Disordered { .. } => "entries-disordered",
            Self::Misfiled { .. } => "entry-misfiled",
            Self::Forked { .. } => "log-forked",
            Self::HeadUnknown { .. } => "head-unknown",
            Self::EntriesMissing { .. } => "entries-missing",
            Self::CountMismatch { .. } => "entry-count-mismatch",
            Self::Truncated { .. } => "bundle-truncated",
        }
    }

    /// What it means.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unreadable(_) => Class::Unreadable,
            Self::Checkpoint(CheckpointError::Note(NoteError::KeyUnknown))
            | Self::Endorsement(EndorsementError::Note(NoteError::KeyUnknown)) => Class::KeyUnknown,
            Self::HeadUnknown { .. }
            | Self::EntriesMissing { .. }
            | Self::CountMismatch { .. }
            | Self::Truncated { .. } => Class::Incomplete,
            Self::LineMalformed { .. }
            | Self::Checkpoint(_)
            | Self::Endorsement(_)
            | Self::EntryMismatch { .. }
            | Self::BlockMismatch { .. }
            | Self::Disordered { .. }
            | Self::Misfiled { .. }
            | Self::Forked { .. } => Class::Tampered,
        }
    }

    /// The first entry that it is about, if it is about entries.
    pub const fn entry(&self) -> Option<u64> {
        match self {
            Self::EntryMismatch { index } | Self::Disordered { index, .. } | Self::Misfiled { index } => {
                Some(*index)
            }
            Self::BlockMismatch { first } | Self::EntriesMissing { first, .. } => Some(*first),
            Self::Unreadable(_)
            | Self::LineMalformed { .. }
            | Self::Checkpoint(_)
            | Self::Endorsement(_)
            | Self::Forked { .. }
            | Self::HeadUnknown { .. }
            | Self::CountMismatch { .. }
            | Self::Truncated { .. } => None,
        }
    }
}
