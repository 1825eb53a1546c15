//! The keys whose checkpoints are believed, and how one key hands over to the next.

use thiserror::Error;

use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::keys::{SignerKey, VerifierKey};
use crate::note::{self, NoteError};

/// The first line of an endorsement. It holds spaces, so no origin of ours equals it, and neither note can pass for
/// the other.
const ENDORSEMENT_TITLE: &str = "aegis log key endorsement v1";

/// The believed keys of one log: one, or more while they are rotated. All bear the log's origin as their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    keys: Vec<VerifierKey>,
}

/// The keys do not belong to one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("one or more different keys with one name are needed")]
pub struct LogKeysError;

/// Why an endorsement adds no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndorsementError {
    /// No believed key has signed it, or a signature is wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A believed key signed it, but its text endorses no key of this log.
    #[error("the signed text endorses no key of this log")]
    Malformed,
    /// The endorsed key has not signed it: nobody has shown to hold it.
    #[error("the endorsed key has not signed its endorsement")]
    NotHeld,
}

impl EndorsementError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Note(error) => error.code(),
            Self::Malformed => "endorsement-malformed",
            Self::NotHeld => "endorsed-key-not-held",
        }
    }
}

impl LogKeys {
    /// Believes these keys. Refuses none at all, keys of different names, and one key twice.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, LogKeysError> {
        let first = keys.first().ok_or(LogKeysError)?;
        let alike = keys.iter().all(|key| key.name() == first.name());
        let distinct =
            (1..keys.len()).all(|place| keys[..place].iter().all(|other| other.id() != keys[place].id()));
        if alike && distinct { Ok(Self { keys }) } else { Err(LogKeysError) }
    }

    /// The log's unique name: the first line of its checkpoints (C2SP tlog-checkpoint, "Note text").
    pub fn origin(&self) -> &str {
        self.keys[0].name()
    }

    /// The keys, at least one.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Opens a checkpoint of this log.
    ///
    /// Refused: a note without the signature of a believed key, one with a wrong signature in the name of a believed
    /// key, and a signed text that is no checkpoint of this log.
    pub fn open(&self, checkpoint: &[u8]) -> Result<Checkpoint, CheckpointError> {
        checkpoint::open(checkpoint, self.origin(), &self.keys)
    }

    /// Believes one more key, because a believed one endorses it and it shows that it is held. Answers the key if it
    /// was not believed before.
    ///
    /// That two keys signed one checkpoint endorses nothing: anybody can add a signature to a note.
    pub fn accept(&mut self, endorsement: &[u8]) -> Result<Option<VerifierKey>, EndorsementError> {
        let opened = note::open(endorsement, &self.keys)?;
        let key = endorsed_key(opened.text, self.origin()).ok_or(EndorsementError::Malformed)?;
        match note::open(endorsement, std::slice::from_ref(&key)) {
            Ok(_) => {}
            Err(NoteError::KeyUnknown) => return Err(EndorsementError::NotHeld),
            Err(error) => return Err(error.into()),
        }
        match self.keys.iter().find(|known| known.id() == key.id()) {
            None => {
                self.keys.push(key.clone());
                Ok(Some(key))
            }
            Some(known) if *known == key => Ok(None),
            // A colliding id cannot be told apart in signatures.
            Some(_) => Err(EndorsementError::Malformed),
        }
    }
}

/// Endorses `new` in the name of `old`: the note that [`LogKeys::accept`] takes, signed by both.
pub fn endorse(old: &SignerKey, new: &SignerKey) -> Result<String, EndorsementError> {
    let origin = old.verifier().name();
    if new.verifier().name() != origin || new.verifier() == old.verifier() {
        return Err(EndorsementError::Malformed);
    }
    let text = format!("{ENDORSEMENT_TITLE}\n{origin}\n{}\n", new.verifier());
    Ok(note::sign(&text, &[old, new])?)
}

fn endorsed_key(text: &str, origin: &str) -> Option<VerifierKey> {
    let key = text.strip_prefix(ENDORSEMENT_TITLE)?.strip_prefix('\n')?;
    let key = key.strip_prefix(origin)?.strip_prefix('\n')?.strip_suffix('\n')?;
    key.parse().ok().filter(|key: &VerifierKey| key.name() == origin)
}
