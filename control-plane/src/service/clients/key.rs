//! A key to add: a secret that is made here, or the public half of a pair that the client made itself.

use aegis_contract::http_signature::{Algorithm, VerifyingKey};
use aegis_contract::problem::FieldError;
use aegis_contract::strict::base64_encode;
use aegis_runtime::clock;
use jiff::Timestamp;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::principal;
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::client_keys::{self, NewKey};

/// Bytes of a secret: the output of the MAC it is for.
const SECRET_BYTES: usize = 32;
/// Random bytes of a key id that follow the client's name.
const KEY_ID_BYTES: usize = 6;

/// What a key shall be.
#[derive(Clone, Debug, Default)]
pub struct KeyRequest {
    /// An Ed25519 public key in SPKI PEM, as `openssl pkey -pubout` writes it; absent: a secret is made.
    pub public_key: Option<String>,
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
}

/// A new key, whose secret is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// Its id.
    pub id: String,
    /// The secret in standard base64; absent when the client made its own pair.
    pub secret: Option<SecretString>,
}

/// A key that is ready to be stored.
pub(super) struct PreparedKey {
    pub(super) created: CreatedKey,
    algorithm: Algorithm,
    sealed_key: Vec<u8>,
    expires_at: Option<Timestamp>,
}

impl PreparedKey {
    pub(super) fn new(keyring: &Keyring, client: &str, request: &KeyRequest) -> Result<Self, Error> {
        if let Some(error) = check_expiry("/keyExpiresAt", request.expires_at) {
            return Err(Error::Invalid(vec![error]));
        }
        let suffix: String =
            clock::random_bytes::<KEY_ID_BYTES>().iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{client}.{suffix}");
        let expires_at = request.expires_at;
        let Some(pem) = &request.public_key else {
            let secret: Zeroizing<[u8; SECRET_BYTES]> = Zeroizing::new(clock::random_bytes());
            let sealed_key = keyring.seal(Purpose::ClientKey, secret.as_slice());
            let created = CreatedKey { id, secret: Some(base64_encode(secret.as_slice()).into()) };
            return Ok(Self { created, algorithm: Algorithm::HmacSha256, sealed_key, expires_at });
        };
        VerifyingKey::ed25519_public_pem(pem).map_err(|_| Error::Parameter {
            name: "public key",
            message: "is not an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it".to_owned(),
        })?;
        let sealed_key = keyring.seal(Purpose::ClientKey, pem.as_bytes());
        let created = CreatedKey { id, secret: None };
        Ok(Self { created, algorithm: Algorithm::Ed25519, sealed_key, expires_at })
    }

    pub(super) async fn insert(&self, conn: &mut PgConnection, client_id: Uuid) -> Result<(), Error> {
        let key = NewKey {
            id: &self.created.id,
            algorithm: self.algorithm.name(),
            sealed_key: &self.sealed_key,
            expires_at: self.expires_at,
        };
        if client_keys::insert(conn, client_id, key, clock::now()).await? {
            Ok(())
        } else {
            Err(Error::AlreadyExists(format!("a key with id {}", self.created.id)))
        }
    }

    /// What the log says of it.
    pub(super) fn data(&self, client: &str) -> Value {
        json!({
            "client": principal(client),
            "keyId": self.created.id,
            "algorithm": self.algorithm.name(),
            "keyExpiresAt": self.expires_at,
        })
    }
}

/// What is wrong with the end of a client's or a key's time.
pub(super) fn check_expiry(pointer: &str, at: Option<Timestamp>) -> Option<FieldError> {
    at.filter(|at| *at <= clock::now()).map(|at| FieldError {
        pointer: pointer.to_owned(),
        code: "out-of-range".to_owned(),
        message: format!("must lie ahead, and {at} does not"),
    })
}
