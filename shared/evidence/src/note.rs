//! Signed notes: text with the signatures of one or more keys (C2SP signed-note).

use thiserror::Error;

use crate::base64;
use crate::keys::{SignerKey, VerifierKey, is_name};

/// Most bytes of a note: sixteen signatures of the largest kind fit, which C2SP signed-note demands ("Format").
pub const NOTE_BYTES_MAX: usize = 128 * 1024;

/// How each line of a signature begins: an em dash and a space.
const SIGNATURE_LEAD: &str = "\u{2014} ";

/// Bytes of a key id in front of a signature.
const ID_BYTES: usize = 4;

/// Why a note is not believed, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoteError {
    /// More than [`NOTE_BYTES_MAX`].
    #[error("a note has at most {NOTE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a text, an empty line and signatures, or twice the signature of a known key.
    #[error("not a signed note")]
    Malformed,
    /// None of its signatures is by a known key.
    #[error("no known key has signed the note")]
    KeyUnknown,
    /// A signature in the name of a known key is not by it.
    #[error("a signature in the name of a known key is wrong")]
    SignatureInvalid,
}

impl NoteError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "note-too-large",
            Self::Malformed => "note-malformed",
            Self::KeyUnknown => "key-unknown",
            Self::SignatureInvalid => "signature-invalid",
        }
    }
}

/// A note whose signatures were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<'n, 'k> {
    /// The text that was signed, with its last newline.
    pub text: &'n str,
    /// The known keys that signed it: at least one.
    pub signed_by: Vec<&'k VerifierKey>,
}

/// Opens a note: every signature by one of `keys` must hold, and there must be one. Others are ignored.
pub fn open<'n, 'k>(note: &'n [u8], keys: &'k [VerifierKey]) -> Result<Opened<'n, 'k>, NoteError> {
    let (text, signatures) = take_apart(note)?;
    let mut signed_by: Vec<&VerifierKey> = Vec::new();
    for signature in &signatures {
        let Some(key) = keys.iter().find(|key| key.name() == signature.name && key.id() == signature.id)
        else {
            continue;
        };
        if signed_by.contains(&key) {
            return Err(NoteError::Malformed);
        }
        if !key.accepts(text.as_bytes(), &signature.bytes) {
            return Err(NoteError::SignatureInvalid);
        }
        signed_by.push(key);
    }
    if signed_by.is_empty() { Err(NoteError::KeyUnknown) } else { Ok(Opened { text, signed_by }) }
}

/// Signs `text`, which ends with a newline, by every one of `signers`, of which there is at least one.
pub fn sign(text: &str, signers: &[&SignerKey]) -> Result<String, NoteError> {
    if !is_text(text) || signers.is_empty() {
        return Err(NoteError::Malformed);
    }
    let mut note = format!("{text}\n");
    for signer in signers {
        let key = signer.verifier();
        let signature = [key.id().to_be_bytes().as_slice(), &signer.sign(text.as_bytes())].concat();
        note += &format!("{SIGNATURE_LEAD}{} {}\n", key.name(), base64::encode(&signature));
    }
    if note.len() > NOTE_BYTES_MAX { Err(NoteError::TooLarge) } else { Ok(note) }
}

/// One line of a signature, not verified.
struct SignatureLine<'n> {
    name: &'n str,
    id: u32,
    bytes: Vec<u8>,
}

fn take_apart(note: &[u8]) -> Result<(&str, Vec<SignatureLine<'_>>), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLarge);
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
    // The text keeps the first newline of the last empty line; the second separates.
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed)? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?;
    if !is_text(text) || signatures.contains(is_forbidden) {
        return Err(NoteError::Malformed);
    }
    let lines = signatures.split('\n').map(signature_line).collect::<Option<_>>();
    Ok((text, lines.ok_or(NoteError::Malformed)?))
}

fn signature_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, signature) = line.strip_prefix(SIGNATURE_LEAD)?.split_once(' ')?;
    let signature = base64::decode(signature)?;
    let (id, bytes) = signature.split_first_chunk::<ID_BYTES>()?;
    (is_name(name) && !bytes.is_empty()).then(|| SignatureLine {
        name,
        id: u32::from_be_bytes(*id),
        bytes: bytes.to_vec(),
    })
}

fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.contains(is_forbidden)
}

/// No control characters of ASCII but newline (C2SP signed-note, "Format").
fn is_forbidden(character: char) -> bool {
    character < ' ' && character != '\n'
}
