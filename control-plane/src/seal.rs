//! What the root key protects: stored secrets (XChaCha20-Poly1305), the hashes by which audit
//! entries name free text, the audit log's own key, which refresh token follows which, which token a mail bears, and what
//! sign-ins at an identity provider are bound to. Each use has a key of its own, derived from the root key. That is the
//! first master key that there was; later ones encrypt it, so that a master key can be changed and what rests on the root
//! key stays as it is.

use std::fmt;
use std::sync::Arc;

use aegis_contract::key::{SharedSecret, hmac_sha256};
use aegis_contract::strict::base64_decode;
use aegis_evidence::{KeyError, SignerKey};
use aegis_runtime::clock;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use crate::error::Error;

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// First byte of everything sealed, so that the layout can change.
const LAYOUT: u8 = 1;

/// What a sealed secret is for. One sealed for another purpose does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's secret or public key.
    ClientKey,
    /// A cluster's order key.
    OrderKey,
    /// What a webhook's deliveries are signed with.
    WebhookSecret,
    /// What a person's app computes codes from.
    SecondFactor,
    /// The seed of a key of the audit log.
    LogKey,
    /// The leaf of an intent's entry: no secret, but nobody else can write one.
    IntentLeaf,
    /// Whom an identity provider proved, before their session begins.
    ProvenIdentity,
    /// The root key, under a master key.
    RootKey,
}

impl Purpose {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::ClientKey => b"client-key",
            Self::OrderKey => b"order-key",
            Self::WebhookSecret => b"webhook-secret",
            Self::SecondFactor => b"second-factor",
            Self::LogKey => b"log-key",
            Self::IntentLeaf => b"intent-leaf",
            Self::ProvenIdentity => b"proven-identity",
            Self::RootKey => b"root-key",
        }
    }
}

/// What is given by the environment, and encrypts the root key. Never printed, overwritten when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<Vec<u8>>);

/// The master key, and while it is changed the one before.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    /// The one that everything is to be under.
    pub current: MasterKey,
    /// The one that everything may still be under.
    pub previous: Option<MasterKey>,
}

/// The text is not standard base64 of 32 bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("must be standard base64 of {MASTER_KEY_BYTES} bytes")]
pub struct MasterKeyError;

impl MasterKey {
    /// Reads a master key from base64.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_base64(text: &str) -> Result<Self, MasterKeyError> {
        let bytes = Zeroizing::new(base64_decode(text.trim()).map_err(|_| MasterKeyError)?);
        if bytes.len() == MASTER_KEY_BYTES { Ok(Self(bytes)) } else { Err(MasterKeyError) }
    }

    /// What this key protects as the root key.
    pub fn keyring(&self) -> Keyring {
        let derived = |purpose: &[u8]| Zeroizing::new(hmac_sha256(&self.0, purpose));
        Keyring(Arc::new(Keys {
            cipher: XChaCha20Poly1305::new(&Key::from(*derived(b"aegis stored secrets v1"))),
            texts: derived(b"aegis text hashes v1"),
            log: derived(b"aegis log key v1"),
            refresh: derived(b"aegis refresh tokens v1"),
            mailed: derived(b"aegis mailed tokens v1"),
            flows: derived(b"aegis sign-in flows v1"),
        }))
    }

    /// Encrypts the root key under this one.
    pub fn seal_root(&self, root: &Self) -> Vec<u8> {
        self.keyring().seal(Purpose::RootKey, &root.0)
    }

    /// Decrypts a root key that was sealed under this one.
    ///
    /// # Errors
    /// Those of [`Keyring::open`].
    pub fn open_root(&self, sealed: &[u8]) -> Result<Self, Error> {
        self.keyring().open(Purpose::RootKey, sealed).map(Self)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The keys derived from the root key. Clones share them; never printed.
#[derive(Clone)]
pub struct Keyring(Arc<Keys>);

struct Keys {
    cipher: XChaCha20Poly1305,
    texts: Zeroizing<[u8; 32]>,
    log: Zeroizing<[u8; 32]>,
    refresh: Zeroizing<[u8; 32]>,
    mailed: Zeroizing<[u8; 32]>,
    flows: Zeroizing<[u8; 32]>,
}

impl Keyring {
    /// Encrypts a secret for storing.
    pub fn seal(&self, purpose: Purpose, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = clock::random_bytes();
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let encrypted = self
            .0
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("secrets are far below the size limit");
        [&[LAYOUT], &nonce[..], &encrypted].concat()
    }

    /// Decrypts what [`Keyring::seal`] made for the same purpose.
    ///
    /// # Errors
    /// When it was sealed under another master key or for another purpose, or was changed.
    pub fn open(&self, purpose: Purpose, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let unreadable = || {
            Error::internal(anyhow::anyhow!(
                "a stored secret does not open: is MASTER_KEY the one it was stored with?"
            ))
        };
        let Some((&LAYOUT, rest)) = sealed.split_first() else { return Err(unreadable()) };
        let Some((nonce, encrypted)) = rest.split_first_chunk::<NONCE_BYTES>() else {
            return Err(unreadable());
        };
        let payload = Payload { msg: encrypted, aad: purpose.as_bytes() };
        let secret = self.0.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| unreadable())?;
        Ok(Zeroizing::new(secret))
    }

    /// Decrypts a secret that is a MAC key.
    ///
    /// # Errors
    /// Those of [`Keyring::open`], and when the secret is too short to be one.
    pub fn open_shared_secret(&self, purpose: Purpose, sealed: &[u8]) -> Result<SharedSecret, Error> {
        SharedSecret::from_bytes(&self.open(purpose, sealed)?).map_err(Error::internal)
    }

    /// The first key that signs the checkpoints of the log `origin`.
    ///
    /// # Errors
    /// When the log cannot be called so.
    pub fn log_key(&self, origin: &str) -> Result<SignerKey, KeyError> {
        SignerKey::from_seed(origin, &self.0.log)
    }

    /// The refresh token that follows another one: always the same, and known to nobody without the key.
    pub fn next_refresh_token(&self, token: &str) -> [u8; 32] {
        hmac_sha256(self.0.refresh.as_slice(), token.as_bytes())
    }

    /// The token that a mail bears, however often it is sent: stored nowhere, and known to nobody without the key.
    pub fn mailed_token(&self, mail: Uuid) -> [u8; 32] {
        hmac_sha256(self.0.mailed.as_slice(), mail.as_bytes())
    }

    /// What a sign-in at the identity provider is bound to, by what it is for: follows from its state, and is known to
    /// nobody without the key.
    pub fn flow_secret(&self, purpose: &str, state: &str) -> [u8; 32] {
        hmac_sha256(self.0.flows.as_slice(), format!("{purpose}\n{state}").as_bytes())
    }

    /// The keyed hash by which an audit entry names a text.
    pub fn text_hash(&self, text: &str) -> String {
        let hash = hmac_sha256(self.0.texts.as_slice(), text.as_bytes());
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("hmac-sha256:{digits}")
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::strict::base64_encode;

    use super::*;

    fn keyring(byte: u8) -> Keyring {
        master(byte).keyring()
    }

    fn master(byte: u8) -> MasterKey {
        MasterKey::from_base64(&base64_encode(&[byte; 32])).unwrap()
    }

    #[test]
    fn a_secret_opens_only_with_its_master_key_and_for_its_purpose() {
        let sealed = keyring(1).seal(Purpose::OrderKey, b"secret");
        assert_eq!(keyring(1).open(Purpose::OrderKey, &sealed).unwrap().as_slice(), b"secret");
        assert!(keyring(1).open(Purpose::ClientKey, &sealed).is_err());
        assert!(keyring(2).open(Purpose::OrderKey, &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(keyring(1).open(Purpose::OrderKey, &changed).is_err(), "byte {index}");
            assert!(keyring(1).open(Purpose::OrderKey, &sealed[..index]).is_err(), "first {index} bytes");
        }
    }

    #[test]
    fn a_secret_is_sealed_differently_each_time() {
        assert_ne!(keyring(1).seal(Purpose::ClientKey, b"s"), keyring(1).seal(Purpose::ClientKey, b"s"));
    }

    #[test]
    fn a_text_hash_depends_on_the_master_key() {
        assert_eq!(keyring(1).text_hash("why"), keyring(1).text_hash("why"));
        assert_ne!(keyring(1).text_hash("why"), keyring(2).text_hash("why"));
    }

    #[test]
    fn a_master_key_has_exactly_32_bytes() {
        for text in ["", "c2hvcnQ=", &base64_encode(&[0; 33]), "not base64"] {
            assert!(MasterKey::from_base64(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_root_key_opens_under_its_master_key_and_means_the_same_as_before() {
        let sealed = master(2).seal_root(&master(1));
        let opened = master(2).open_root(&sealed).unwrap().keyring();
        assert_eq!(opened.text_hash("why"), keyring(1).text_hash("why"));
        let secret = keyring(1).seal(Purpose::OrderKey, b"secret");
        assert_eq!(opened.open(Purpose::OrderKey, &secret).unwrap().as_slice(), b"secret");
        assert!(master(1).open_root(&sealed).is_err() && master(3).open_root(&sealed).is_err());
        assert_eq!(format!("{:?}", master(1)), "MasterKey(…)");
    }
}
