//! The one way a document becomes bytes: canonical JSON by RFC 8785.
//!
//! What is hashed, signed or compared is written here and nowhere else.

use serde::Serialize;
use serde_json::Value;
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
    /// JSON has no words for it: a non-finite number, a map key that is no string, a key twice.
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
}

/// Writes `value` as RFC 8785 JSON.
///
/// Refuses integers beyond ±2^53, non-finite numbers and doubled keys. Equal documents give equal bytes.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    // The canonicaliser writes every number as a double, so integers are judged before it rounds them;
    // it alone sees the original value, in which NaN has not yet become null.
    let bytes = serde_json_canonicalizer::to_vec(&value).map_err(not_representable)?;
    let tree = serde_json::to_value(value).map_err(not_representable)?;
    check_integers(&tree, &mut String::new())?;
    Ok(bytes)
}

fn not_representable(error: serde_json::Error) -> CanonicalError {
    CanonicalError::NotRepresentable(error.to_string())
}

fn check_integers(value: &Value, pointer: &mut String) -> Result<(), CanonicalError> {
    let length = pointer.len();
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_some_and(|magnitude| magnitude > INTEGER_MAX) {
                return Err(CanonicalError::NumberOutOfRange { pointer: pointer.clone() });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_segment(pointer, &index.to_string());
                check_integers(item, pointer)?;
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                push_segment(pointer, key);
                check_integers(member, pointer)?;
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
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
