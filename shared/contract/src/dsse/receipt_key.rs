//! Receipt keys: each executor signs with its own Ed25519 key, the control plane knows the public half.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::{Envelope, EnvelopeError, RECEIPT_PAYLOAD_TYPE, pae};
use crate::digest::write_hex;
use crate::key::KeyError;

/// Bytes of the public key's digest that a key id shows: beyond guessing, short enough to read out.
const FINGERPRINT_BYTES: usize = 16;

/// An executor's private key. Never printed, overwritten when dropped.
#[derive(Clone)]
pub struct ReceiptKey {
    id: String,
    key: SigningKey,
}

impl ReceiptKey {
    /// Reads an Ed25519 key from PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Malformed)?;
        Ok(Self { id: fingerprint(&key.verifying_key()), key })
    }

    /// A key from 32 random bytes that the caller drew.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { id: fingerprint(&key.verifying_key()), key }
    }

    /// The key's id: `ed25519:` and the first 16 bytes of the public key's SHA-256 in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The private key as PKCS#8 PEM. For the one who makes the key; nothing else needs it.
    pub fn to_pkcs8_pem(&self) -> String {
        self.key.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key always encodes").to_string()
    }

    /// The public key as SPKI PEM, which [`ReceiptVerifier::from_public_pem`] reads.
    pub fn public_pem(&self) -> String {
        let key = self.key.verifying_key();
        key.to_public_key_pem(LineEnding::LF).expect("an Ed25519 key always encodes")
    }

    /// Seals a receipt's bytes; the answer is the canonical envelope.
    pub fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&pae(RECEIPT_PAYLOAD_TYPE, payload));
        Envelope::seal(RECEIPT_PAYLOAD_TYPE, payload, &self.id, &signature.to_bytes()).to_bytes()
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReceiptKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The public keys whose receipts are believed, for one executor: one, or more while keys are rotated.
#[derive(Debug, Clone)]
pub struct ReceiptVerifier {
    keys: Vec<(String, VerifyingKey)>,
}

impl ReceiptVerifier {
    /// Believes the key in this SPKI PEM.
    pub fn from_public_pem(pem: &str) -> Result<Self, KeyError> {
        Self { keys: Vec::new() }.and_public_pem(pem)
    }

    /// Believes the key in this SPKI PEM as well.
    pub fn and_public_pem(mut self, pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Malformed)?;
        if key.is_weak() {
            return Err(KeyError::Malformed);
        }
        let id = fingerprint(&key);
        if self.keys.iter().any(|(known, _)| *known == id) {
            return Err(KeyError::NotDistinct);
        }
        self.keys.push((id, key));
        Ok(self)
    }

    /// The ids of the believed keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// Opens an envelope's bytes and answers the receipt's bytes, which nothing has parsed yet.
    pub fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        self.open_envelope(&Envelope::from_slice(envelope)?)
    }

    /// Opens an envelope that stood inside another document.
    pub fn open_envelope(&self, envelope: &Envelope) -> Result<Vec<u8>, EnvelopeError> {
        let claim = envelope.claim(RECEIPT_PAYLOAD_TYPE)?;
        let (_, key) =
            self.keys.iter().find(|(id, _)| id == claim.key_id).ok_or(EnvelopeError::KeyUnknown)?;
        let signature =
            Signature::from_slice(&claim.signature).map_err(|_| EnvelopeError::SignatureInvalid)?;
        // Strict: one signature of a message by a key, none by keys of small order.
        key.verify_strict(&claim.signed, &signature).map_err(|_| EnvelopeError::SignatureInvalid)?;
        Ok(claim.payload)
    }
}

fn fingerprint(key: &VerifyingKey) -> String {
    let mut id = String::from("ed25519:");
    write_hex(&mut id, &Sha256::digest(key.as_bytes())[..FINGERPRINT_BYTES])
        .expect("writing to a string cannot fail");
    id
}
