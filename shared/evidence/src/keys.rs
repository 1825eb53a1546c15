//! Ed25519 keys of signed notes (C2SP signed-note, "Verifier keys" and "Ed25519 signatures").

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::base64;

/// Most bytes of a key's name: what fits a host name and a path.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// The byte that says Ed25519 in key ids and verifier keys (C2SP signed-note, "Signature types").
const ED25519: u8 = 0x01;

/// Bytes of the public key's digest that a fingerprint shows: beyond guessing, short enough to read out.
const FINGERPRINT_BYTES: usize = 16;

/// Why something is no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A name that is empty, too long, or holds a space, a plus or a control character.
    #[error("a key's name is 1 to {NAME_BYTES_MAX} bytes without spaces, plus signs and control characters")]
    NameMalformed,
    /// A verifier key that is not `name+id+key`, or a PEM text that is no Ed25519 private key.
    #[error("the key is not readable in the form expected here")]
    Malformed,
    /// A verifier key whose id does not belong to its name and key.
    #[error("the key's id does not belong to its name and key")]
    IdMismatch,
    /// A verifier key of another algorithm than Ed25519.
    #[error("the key is not one for Ed25519 notes")]
    AlgorithmUnsupported,
    /// A public key of small order: it would accept signatures that nobody made.
    #[error("the key is of small order")]
    Weak,
}

impl KeyError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NameMalformed => "key-name-malformed",
            Self::Malformed => "key-malformed",
            Self::IdMismatch => "key-id-mismatch",
            Self::AlgorithmUnsupported => "key-algorithm-unsupported",
            Self::Weak => "key-weak",
        }
    }
}

/// A public key with the name it signs under; its text is C2SP's `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: key_id(name, &key), key }
    }

    /// The name, for a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that stands in signatures: short, and no proof of anything.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// What people compare out of band: `ed25519:` and the first 16 bytes of the public key's SHA-256 in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.key.as_bytes());
        let digits: String = digest[..FINGERPRINT_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ed25519:{digits}")
    }

    /// Whether `signature` is this key's signature of `message`, strictly (RFC 8032, section 5.1.7, canonical
    /// encodings only).
    pub(crate) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(formatter, "{}+{:08x}+{}", self.name, self.id, base64::encode(&key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(KeyError::Malformed);
        let (name, id, key) = (part()?, part()?, part()?);
        if !is_name(name) {
            return Err(KeyError::NameMalformed);
        }
        let key = base64::decode(key).ok_or(KeyError::Malformed)?;
        let key = match key.split_first() {
            Some((&ED25519, key)) => key.try_into().map_err(|_| KeyError::Malformed)?,
            Some(_) => return Err(KeyError::AlgorithmUnsupported),
            None => return Err(KeyError::Malformed),
        };
        let key = VerifyingKey::from_bytes(key).map_err(|_| KeyError::Malformed)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        let verifier = Self::new(name, key);
        if format!("{:08x}", verifier.id) == id { Ok(verifier) } else { Err(KeyError::IdMismatch) }
    }
}

/// A private key with the name it signs under. Never printed, overwritten when dropped.
#[derive(Clone)]
pub struct SignerKey {
    public: VerifierKey,
    key: SigningKey,
}

impl SignerKey {
    /// A key from 32 random bytes that the caller drew.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, SigningKey::from_bytes(seed))
    }

    /// Reads a key from PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pkcs8_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        Self::new(name, SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Malformed)?)
    }

    fn new(name: &str, key: SigningKey) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::NameMalformed);
        }
        Ok(Self { public: VerifierKey::new(name, key.verifying_key()), key })
    }

    /// The private key as PKCS#8 PEM. For the one who makes the key; nothing else needs it.
    pub fn to_pkcs8_pem(&self) -> String {
        self.key.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key always encodes").to_string()
    }

    /// What verifies its signatures.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs `message` (RFC 8032, section 5.1.6).
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SignerKey").field(&self.public).finish_non_exhaustive()
    }
}

/// Whether a text may name a key (C2SP signed-note, "Format"), here with a bound on its length.
pub(crate) fn is_name(text: &str) -> bool {
    let forbidden = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(forbidden)
}

/// The first four bytes of SHA-256 over name, newline, algorithm and key (C2SP signed-note, "Ed25519 signatures").
fn key_id(name: &str, key: &VerifyingKey) -> u32 {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
