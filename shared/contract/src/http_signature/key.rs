//! The keys of clients: a shared secret or an Ed25519 pair.

use std::fmt;

use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};

use crate::key::{KeyError, SharedSecret, check_key_id};

/// How a key signs. A property of the key, never of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// Ed25519.
    Ed25519,
}

impl Algorithm {
    /// The name in RFC 9421's registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// What a client signs with, and the id under which the verifier knows it.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    secret: SigningSecret,
}

#[derive(Clone)]
enum SigningSecret {
    HmacSha256(SharedSecret),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// A key with a shared secret.
    pub fn hmac_sha256(id: impl Into<String>, secret: SharedSecret) -> Result<Self, KeyError> {
        Self::new(id.into(), SigningSecret::HmacSha256(secret))
    }

    /// An Ed25519 key in PKCS#8 PEM.
    pub fn ed25519_pkcs8_pem(id: impl Into<String>, pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Malformed)?;
        Self::new(id.into(), SigningSecret::Ed25519(Box::new(key)))
    }

    fn new(id: String, secret: SigningSecret) -> Result<Self, KeyError> {
        check_key_id(&id)?;
        Ok(Self { id, secret })
    }

    /// The key's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.secret {
            SigningSecret::HmacSha256(_) => Algorithm::HmacSha256,
            SigningSecret::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// What verifies its signatures.
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey(match &self.secret {
            SigningSecret::HmacSha256(secret) => VerifyingSecret::HmacSha256(secret.clone()),
            SigningSecret::Ed25519(key) => VerifyingSecret::Ed25519(key.verifying_key()),
        })
    }

    /// Signs a signature base. [`sign`](super::sign()) makes the base; this is the algorithm alone.
    pub fn sign_base(&self, base: &str) -> Vec<u8> {
        match &self.secret {
            SigningSecret::HmacSha256(secret) => secret.authenticate(base.as_bytes()).to_vec(),
            SigningSecret::Ed25519(key) => key.sign(base.as_bytes()).to_bytes().to_vec(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.algorithm();
        formatter
            .debug_struct("SigningKey")
            .field("id", &self.id)
            .field("algorithm", &algorithm)
            .finish_non_exhaustive()
    }
}

/// What the verifier holds of a client's key.
#[derive(Debug, Clone)]
pub struct VerifyingKey(VerifyingSecret);

#[derive(Debug, Clone)]
enum VerifyingSecret {
    HmacSha256(SharedSecret),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl VerifyingKey {
    /// A key with a shared secret.
    pub fn hmac_sha256(secret: SharedSecret) -> Self {
        Self(VerifyingSecret::HmacSha256(secret))
    }

    /// An Ed25519 public key in SPKI PEM. Refuses keys of small order.
    pub fn ed25519_public_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Malformed)?;
        if key.is_weak() {
            return Err(KeyError::Malformed);
        }
        Ok(Self(VerifyingSecret::Ed25519(key)))
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            VerifyingSecret::HmacSha256(_) => Algorithm::HmacSha256,
            VerifyingSecret::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Whether `signature` is this key's signature of a signature base.
    pub fn accepts(&self, base: &str, signature: &[u8]) -> bool {
        match &self.0 {
            VerifyingSecret::HmacSha256(secret) => secret.accepts(base.as_bytes(), signature),
            VerifyingSecret::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(base.as_bytes(), &signature).is_ok()),
        }
    }
}
