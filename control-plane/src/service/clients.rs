//! Adding automation, and changing its keys.

use aegis_contract::http_signature::VerifyingKey;
use aegis_contract::strict::base64_encode;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::principal::Principal;
use crate::seal::{Keyring, Purpose};
use crate::store::clients::{self, NewKey};
use crate::store::{Store, commit, users};

/// Live keys of one client: the old and the new one while they are rotated.
const KEYS_MAX: i64 = 2;
/// Bytes of a secret: the output of the MAC it is for.
const SECRET_BYTES: usize = 32;
/// Random bytes of a key id that follow the client's name.
const KEY_ID_BYTES: usize = 6;

/// A new key, shown once.
#[derive(Clone)]
pub struct CreatedKey {
    /// The client as policies and entries name it.
    pub principal: String,
    /// The key's id.
    pub key_id: String,
    /// The secret in standard base64; absent when the client made its own key pair.
    pub secret: Option<String>,
}

/// Adds a client of a person, with its first key. With a public key (PEM) it signs with Ed25519, else
/// with a secret that is made here.
///
/// # Errors
/// `Parameter`; `NotFound` without such an owner; `AlreadyExists`.
pub async fn create(
    store: &Store,
    keyring: &Keyring,
    name: &str,
    owner_email: &str,
    public_key: Option<&str>,
) -> Result<CreatedKey, Error> {
    if !is_dns_label(name) {
        let message = format!(
            "`{name}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        );
        return Err(Error::Parameter { name: "name", message });
    }
    let key = PreparedKey::new(keyring, name, public_key)?;
    let mut tx = store.begin().await?;
    let owner = users::find_by_email(&mut tx, owner_email).await?.ok_or(Error::NotFound { what: "owner" })?;
    let client_id = clock::new_uuid();
    if !clients::insert(&mut tx, client_id, name, owner.id, clock::now()).await? {
        return Err(Error::AlreadyExists(format!("a client named {name}")));
    }
    key.insert(&mut tx, client_id).await?;
    let data = json!({
        "client": key.created.principal,
        "owner": Principal::User(owner.id).to_string(),
        "keyId": key.created.key_id,
        "algorithm": key.algorithm,
    });
    append(&mut tx, Kind::ClientCreated, data).await?;
    commit(tx, None).await?;
    Ok(key.created)
}

/// Gives a client another key, so that it can change over from the old one.
///
/// # Errors
/// `NotFound`; `AlreadyExists` when it has two live keys.
pub async fn add_key(
    store: &Store,
    keyring: &Keyring,
    name: &str,
    public_key: Option<&str>,
) -> Result<CreatedKey, Error> {
    let key = PreparedKey::new(keyring, name, public_key)?;
    let mut tx = store.begin().await?;
    let client_id = clients::lock(&mut tx, name).await?.ok_or(Error::NotFound { what: "client" })?;
    if clients::count_live_keys(&mut tx, client_id).await? >= KEYS_MAX {
        return Err(Error::AlreadyExists(format!("a second live key of {name} (revoke one first); it")));
    }
    key.insert(&mut tx, client_id).await?;
    let data = json!({
        "client": key.created.principal,
        "keyId": key.created.key_id,
        "algorithm": key.algorithm,
    });
    append(&mut tx, Kind::ClientKeyAdded, data).await?;
    commit(tx, None).await?;
    Ok(key.created)
}

/// Revokes a key at once; the client it belonged to.
///
/// # Errors
/// `NotFound` without such a live key.
pub async fn revoke_key(store: &Store, key_id: &str) -> Result<String, Error> {
    let mut tx = store.begin().await?;
    let client = clients::revoke_key(&mut tx, key_id, clock::now()).await?;
    let client = client.ok_or(Error::NotFound { what: "live key" })?;
    let principal = Principal::Client(client).to_string();
    append(&mut tx, Kind::ClientKeyRevoked, json!({ "client": principal, "keyId": key_id })).await?;
    commit(tx, None).await?;
    Ok(principal)
}

struct PreparedKey {
    created: CreatedKey,
    algorithm: &'static str,
    sealed_key: Vec<u8>,
}

impl PreparedKey {
    fn new(keyring: &Keyring, client: &str, public_key: Option<&str>) -> Result<Self, Error> {
        let suffix: String =
            clock::random_bytes::<KEY_ID_BYTES>().iter().map(|byte| format!("{byte:02x}")).collect();
        let principal = Principal::Client(client.to_owned()).to_string();
        let key_id = format!("{client}.{suffix}");
        let Some(pem) = public_key else {
            let secret: [u8; SECRET_BYTES] = clock::random_bytes();
            let created = CreatedKey { principal, key_id, secret: Some(base64_encode(&secret)) };
            let sealed_key = keyring.seal(Purpose::ClientKey, &secret);
            return Ok(Self { created, algorithm: "hmac-sha256", sealed_key });
        };
        VerifyingKey::ed25519_public_pem(pem).map_err(|_| Error::Parameter {
            name: "public-key-file",
            message: "is not an Ed25519 public key in PEM".to_owned(),
        })?;
        let sealed_key = keyring.seal(Purpose::ClientKey, pem.as_bytes());
        Ok(Self { created: CreatedKey { principal, key_id, secret: None }, algorithm: "ed25519", sealed_key })
    }

    async fn insert(&self, conn: &mut PgConnection, client_id: Uuid) -> Result<(), Error> {
        let key =
            NewKey { id: &self.created.key_id, algorithm: self.algorithm, sealed_key: &self.sealed_key };
        if clients::insert_key(conn, client_id, key, clock::now()).await? {
            Ok(())
        } else {
            Err(Error::AlreadyExists(format!("a key with id {}", self.created.key_id)))
        }
    }
}

async fn append(conn: &mut PgConnection, kind: Kind, data: serde_json::Value) -> Result<(), Error> {
    let record = Record { kind, principal: OPERATOR, action_id: None, request_id: None, data };
    audit::append(conn, record).await.map(drop)
}
