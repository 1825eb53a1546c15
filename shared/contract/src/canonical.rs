//! The one way a document becomes bytes: canonical JSON by RFC 8785.
//!
//! What is hashed, signed or compared is written here and nowhere else.

mod tree;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// The largest magnitude of an integer that every JSON reader keeps exact: 2^53.
pub const INTEGER_MAX: u64 = 1 << 53;

/// Why a value has no canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// An integer beyond ±2^53 would be rounded without a word.
    #[error("the integer at \"{pointer}\" is beyond ±2^53")]
    NumberOutOfRange {
        /// JSON pointer to the integer.
        pointer: String,
    },
    /// JSON has no words for it: a number that is not finite, a key that is not a string, a key twice.
    #[error("not representable as canonical JSON: {0}")]
    NotRepresentable(String),
}

impl CanonicalError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NumberOutOfRange { .. } => "number-out-of-range",
            Self::NotRepresentable(_) => "not-representable",
        }
    }

    /// The same error, seen from one level further out.
    fn within(self, segment: &str) -> Self {
        match self {
            Self::NumberOutOfRange { pointer: inner } => {
                let mut pointer = String::new();
                push_segment(&mut pointer, segment);
                Self::NumberOutOfRange { pointer: pointer + &inner }
            }
            Self::NotRepresentable(_) => self,
        }
    }
}

impl serde::ser::Error for CanonicalError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::NotRepresentable(message.to_string())
    }
}

/// Writes `value` as RFC 8785 JSON.
///
/// Refuses integers beyond ±2^53, numbers that are not finite, doubled keys and raw JSON text. Equal
/// documents give equal bytes.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let tree = value.serialize(tree::Tree)?;
    serde_json_canonicalizer::to_vec(&tree)
        .map_err(|error| CanonicalError::NotRepresentable(error.to_string()))
}

/// Appends one segment to a JSON pointer (RFC 6901).
pub(crate) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}
