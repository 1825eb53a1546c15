//! The keys that sign checkpoints. The first one is derived from the master key; others are made here, each vouched
//! for by the one before. Checkpoints bear the signatures of all that are live, so that those who know one of them go
//! on while they learn of another.

use std::time::Duration;

use aegis_contract::ids::EntryId;
use aegis_evidence::{Head, LogKeys, SignerKey, VerifierKey, endorse, sign_checkpoint};
use aegis_runtime::clock;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::time::sleep;

use super::Log;
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::log_keys::{self, LogKey};
use crate::store::{Store, commit, log};

/// How often the turn is taken from whoever has it, and the pause in between: others try as often.
const TAKES_MAX: u32 = 200;
const TAKE_PAUSE: Duration = Duration::from_millis(25);

/// The keys of one log that sign now, at least one, the oldest first.
#[derive(Debug)]
pub struct LogSigners {
    live: Vec<SignerKey>,
    /// How the keys that were added came to be believed, oldest first, also of those that sign no more.
    endorsements: Vec<String>,
}

impl LogSigners {
    /// A log that has its first key and no other.
    pub fn first(key: SignerKey) -> Self {
        Self { live: vec![key], endorsements: Vec::new() }
    }

    /// Those of the log `origin`.
    ///
    /// # Errors
    /// When a stored key does not open, or none is live; those of the database.
    pub async fn load(conn: &mut PgConnection, keyring: &Keyring, origin: &str) -> Result<Self, Error> {
        let mut live = vec![keyring.log_key(origin).map_err(Error::internal)?];
        let mut endorsements = Vec::new();
        for stored in log_keys::list(conn, origin).await? {
            live.push(open(keyring, origin, &stored)?);
            endorsements.push(stored.endorsement);
        }
        let retired = log_keys::retired(conn, origin).await?;
        live.retain(|key| !retired.contains(&key.verifier().to_string()));
        if live.is_empty() {
            return Err(Error::internal(anyhow::anyhow!("every key of the log {origin} is retired")));
        }
        Ok(Self { live, endorsements })
    }

    /// Their public keys.
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        self.live.iter().map(|key| key.verifier().clone()).collect()
    }

    /// What believes their checkpoints.
    ///
    /// # Errors
    /// Never: they are keys of one log.
    pub fn log_keys(&self) -> Result<LogKeys, Error> {
        LogKeys::new(self.verifiers()).map_err(Error::internal)
    }

    /// How the keys that were added came to be believed.
    pub fn endorsements(&self) -> &[String] {
        &self.endorsements
    }

    /// The newest one.
    pub fn newest(&self) -> &SignerKey {
        &self.live[self.live.len() - 1]
    }

    /// Signs a head by all of them.
    ///
    /// # Errors
    /// When there is no such head.
    pub fn sign(&self, head: &Head) -> Result<String, Error> {
        sign_checkpoint(head, &self.live.iter().collect::<Vec<_>>()).map_err(Error::internal)
    }
}

fn open(keyring: &Keyring, origin: &str, stored: &LogKey) -> Result<SignerKey, Error> {
    let seed = keyring.open(Purpose::LogKey, &stored.sealed_seed)?;
    let seed = seed.as_slice().try_into().map_err(Error::internal)?;
    let key = SignerKey::from_seed(origin, seed).map_err(Error::internal)?;
    if key.verifier().to_string() != stored.key {
        return Err(Error::StateNotInLog { what: "a key of the audit log".to_owned() });
    }
    Ok(key)
}

/// Adds a key to the log `origin`. The checkpoint of the entry that says so is signed by it too.
///
/// # Errors
/// `Busy` when whoever sequences does not let go; those of the database.
pub async fn add_key(store: &Store, keyring: &Keyring, origin: &str) -> Result<VerifierKey, Error> {
    let turn = Turn::take(store, keyring, origin).await?;
    let mut tx = store.begin().await?;
    let seed: [u8; 32] = clock::random_bytes();
    let key = SignerKey::from_seed(origin, &seed).map_err(Error::internal)?;
    let endorsement = endorse(turn.log.signers.newest(), &key).map_err(Error::internal)?;
    let entry = record(&mut tx, Kind::LogKeyAdded, key.verifier(), Some(&endorsement)).await?;
    let sealed_seed = keyring.seal(Purpose::LogKey, &seed);
    let stored = LogKey { key: key.verifier().to_string(), sealed_seed, endorsement };
    log_keys::insert(&mut tx, origin, &stored, entry).await?;
    commit(tx, None).await?;
    turn.sign_anew(keyring, origin).await?;
    Ok(key.verifier().clone())
}

/// Lets the key with this fingerprint sign no more, from the checkpoint of the entry on that says so.
///
/// # Errors
/// `NotFound` when no live key has it; `Parameter` when it is the only one; those of [`add_key`].
pub async fn retire_key(
    store: &Store,
    keyring: &Keyring,
    origin: &str,
    fingerprint: &str,
) -> Result<VerifierKey, Error> {
    let turn = Turn::take(store, keyring, origin).await?;
    let live = turn.log.signers.verifiers();
    let Some(retired) = live.iter().find(|key| key.fingerprint() == fingerprint) else {
        return Err(Error::NotFound { what: "live key of the audit log" });
    };
    if live.len() == 1 {
        let message = "it is the only key; add another one first".to_owned();
        return Err(Error::Parameter { name: "fingerprint", message });
    }
    let mut tx = store.begin().await?;
    let entry = record(&mut tx, Kind::LogKeyRetired, retired, None).await?;
    log_keys::retire(&mut tx, origin, &retired.to_string(), entry).await?;
    commit(tx, None).await?;
    turn.sign_anew(keyring, origin).await?;
    Ok(retired.clone())
}

/// The turn to add to the log, taken from whoever had it: the first checkpoint under a new set of keys has to be
/// signed by whoever knows them.
struct Turn {
    conn: PgConnection,
    log: Log,
}

impl Turn {
    async fn take(store: &Store, keyring: &Keyring, origin: &str) -> Result<Self, Error> {
        let mut conn = store.connect().await?;
        for _ in 0..TAKES_MAX {
            log::end_turn(&mut conn).await?;
            if log::take_turn(&mut conn).await? {
                let signers = LogSigners::load(&mut conn, keyring, origin).await?;
                let mut log = Log::begin(&mut conn, signers).await?;
                // So that every key that is live now has signed the newest checkpoint.
                while log.integrate(&mut conn).await?.added > 0 {}
                return Ok(Self { conn, log });
            }
            sleep(TAKE_PAUSE).await;
        }
        Err(Error::Busy)
    }

    /// Adds what waits, signed by the keys as they are now. The turn ends with the session.
    async fn sign_anew(self, keyring: &Keyring, origin: &str) -> Result<(), Error> {
        let Self { mut conn, mut log } = self;
        log.signers = LogSigners::load(&mut conn, keyring, origin).await?;
        while log.integrate(&mut conn).await?.added > 0 {}
        Ok(())
    }
}

async fn record(
    conn: &mut PgConnection,
    kind: Kind,
    key: &VerifierKey,
    endorsement: Option<&str>,
) -> Result<EntryId, Error> {
    let mut data = json!({ "key": key.to_string(), "fingerprint": key.fingerprint() });
    if let Some(endorsement) = endorsement {
        data["endorsement"] = Value::from(endorsement);
    }
    let record = Record { kind, principal: OPERATOR, action_id: None, request_id: None, data };
    Ok(audit::append(conn, record).await?.id)
}
