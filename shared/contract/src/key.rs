//! Keys that sign what crosses between services: shared secrets and the rules for naming them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::strict;

/// Fewest bytes of a shared secret: the output of SHA-256, below which the key is the weakest part of the MAC.
pub const SECRET_BYTES_MIN: usize = 32;

/// Most characters of a key id; enough for any fingerprint.
pub const KEY_ID_LENGTH_MAX: usize = 128;

/// Why something is no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A shared secret below [`SECRET_BYTES_MIN`].
    #[error("a secret has at least {SECRET_BYTES_MIN} bytes")]
    TooShort,
    /// A secret that is not standard base64, or a PEM text that is no Ed25519 key of the expected kind.
    #[error("the key is not readable in the form expected here")]
    Malformed,
    /// A key id that is empty, too long or not visible ASCII.
    #[error("a key id is 1 to {KEY_ID_LENGTH_MAX} visible ASCII characters")]
    IdMalformed,
    /// Two live keys with one id or one secret.
    #[error("two live keys differ in id and in secret")]
    NotDistinct,
}

impl KeyError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "key-too-short",
            Self::Malformed => "key-malformed",
            Self::IdMalformed => "key-id-malformed",
            Self::NotDistinct => "keys-not-distinct",
        }
    }
}

/// A secret that two parties share to authenticate messages with HMAC-SHA256.
///
/// Never printed, overwritten when dropped, compared in constant time.
pub struct SharedSecret(SecretSlice<u8>);

impl SharedSecret {
    /// A secret from its bytes; refuses fewer than [`SECRET_BYTES_MIN`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::TooShort);
        }
        Ok(Self(bytes.to_vec().into()))
    }

    /// A secret from its usual text, standard base64; surrounding white space, as files have it, is ignored.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes: SecretSlice<u8> =
            strict::base64_decode(text.trim()).map_err(|_| KeyError::Malformed)?.into();
        Self::from_bytes(bytes.expose_secret())
    }

    /// The MAC of `message`.
    pub fn authenticate(&self, message: &[u8]) -> [u8; 32] {
        hmac_sha256(self.0.expose_secret(), message)
    }

    /// Whether `tag` is the whole MAC of `message`, in time that does not depend on where they differ.
    pub fn accepts(&self, message: &[u8], tag: &[u8]) -> bool {
        self.authenticate(message).as_slice().ct_eq(tag).into()
    }

    /// Whether this secret is `other`. For refusing one secret in two roles.
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.expose_secret().ct_eq(other).into()
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.is(other.0.expose_secret())
    }
}

impl Clone for SharedSecret {
    fn clone(&self) -> Self {
        Self(self.0.expose_secret().to_vec().into())
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedSecret(…)")
    }
}

/// HMAC-SHA256 (RFC 2104). Keys of any length, as the standard has it; our own come as [`SharedSecret`].
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Accepts a key id of visible ASCII.
pub(crate) fn check_key_id(id: &str) -> Result<(), KeyError> {
    let fits = (1..=KEY_ID_LENGTH_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(KeyError::IdMalformed) }
}
