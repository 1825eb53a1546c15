//! The one way bytes become a document: a JSON reader that accepts a single reading or none.
//!
//! Refused: more bytes or levels than the limits, invalid UTF-8, a key twice in one object, numbers beyond
//! ±2^53, anything after the document, structs written as arrays, and whatever the target type does not know
//! (types that are read here carry `deny_unknown_fields`). Standard base64 is read here too, canonical padding only.

mod objects;
mod tree;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use thiserror::Error;

use crate::canonical::push_segment;

/// How much a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the text.
    pub bytes_max: usize,
    /// Most objects and arrays around one value.
    pub levels_max: usize,
}

impl Limits {
    /// Orders, receipts and heal requests. A page of facts and an intent fit many times over.
    pub const WIRE: Self = Self { bytes_max: 64 * 1024, levels_max: 32 };
    /// Policies, which people write and which may carry large tables of tests.
    pub const POLICY: Self = Self { bytes_max: 16 * 1024 * 1024, levels_max: 32 };
}

/// The kinds of faults the reader tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// More bytes than allowed.
    TooLarge,
    /// More nesting than allowed.
    TooDeep,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Not JSON.
    Malformed,
    /// Something after the document.
    TrailingData,
    /// A key twice in one object, also when one of them is written with escapes.
    DuplicateKey,
    /// A number beyond ±2^53.
    NumberOutOfRange,
    /// A field the document does not have.
    UnknownField,
    /// A field the document needs.
    MissingField,
    /// JSON, but not a value the document may hold there.
    InvalidValue,
}

impl Fault {
    /// The stable code of this fault.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::TooDeep => "too-deep",
            Self::NotUtf8 => "not-utf8",
            Self::Malformed => "malformed",
            Self::TrailingData => "trailing-data",
            Self::DuplicateKey => "duplicate-key",
            Self::NumberOutOfRange => "number-out-of-range",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::InvalidValue => "invalid-value",
        }
    }
}

/// Why bytes were not read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} (line {line}, column {column})")]
pub struct StrictError {
    /// What kind of fault it is.
    pub fault: Fault,
    /// One sentence for people, without the place.
    pub message: String,
    /// JSON pointer to the innermost value known to hold the fault; empty is the document itself.
    pub pointer: String,
    /// Line of the fault, from 1; 0 where the fault is the whole text.
    pub line: usize,
    /// Column of the fault, from 1; 0 where the fault is the whole text.
    pub column: usize,
}

impl StrictError {
    /// The stable code of the fault.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// Reads a document of type `T`.
///
/// The text is judged as JSON first, then as a `T`, both over the same bytes by the same parser.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, StrictError> {
    let tree = value(bytes, limits)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(objects::Objects(&mut deserializer)).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            let length = pointer.len();
            match segment {
                Segment::Seq { index } => push_segment(&mut pointer, &index.to_string()),
                Segment::Map { key } => push_segment(&mut pointer, key),
                Segment::Enum { variant } => push_segment(&mut pointer, variant),
                Segment::Unknown => break,
            }
            // A variant's name is a key of the text only in some representations of enums.
            if tree.pointer(&pointer).is_none() {
                pointer.truncate(length);
            }
        }
        let error = error.into_inner();
        let message = message_without_place(&error);
        let fault = if message.starts_with("unknown field") {
            Fault::UnknownField
        } else if message.starts_with("missing field") {
            Fault::MissingField
        } else {
            Fault::InvalidValue
        };
        StrictError { fault, message, pointer, line: error.line(), column: error.column() }
    })
}

/// Reads any JSON document that keeps the limits.
pub fn value(bytes: &[u8], limits: Limits) -> Result<Value, StrictError> {
    if bytes.len() > limits.bytes_max {
        return Err(StrictError {
            fault: Fault::TooLarge,
            message: format!("{} bytes are more than the {} allowed", bytes.len(), limits.bytes_max),
            pointer: String::new(),
            line: 0,
            column: 0,
        });
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
        return Err(StrictError {
            fault: Fault::NotUtf8,
            message: "the text is not UTF-8".to_owned(),
            pointer: String::new(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.len() - line_start,
        });
    }
    tree::read(bytes, limits.levels_max)
}

/// The text is not standard base64 with canonical padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not standard base64 with canonical padding")]
pub struct Base64Error;

/// Reads standard base64: padding required, no whitespace, no stray bits. Each byte string has one text.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    STANDARD.decode(text).map_err(|_| Base64Error)
}

/// Writes standard base64 with padding.
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn message_without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = match text.rfind(" at line ") {
        Some(end) if error.line() > 0 => &text[..end],
        _ => &text,
    };
    without_value(text)
}

/// What serde says of a value of a wrong type, without the value: it may be a secret in a wrong place.
fn without_value(message: &str) -> String {
    if !message.starts_with("invalid type: ") && !message.starts_with("invalid value: ") {
        return message.to_owned();
    }
    match (message.find(['"', '`']), message.rfind(", expected ")) {
        (Some(value), Some(expected)) if value < expected => {
            format!("{}{}", message[..value].trim_end(), &message[expected..])
        }
        _ => message.to_owned(),
    }
}
