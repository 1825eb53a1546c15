//! What is stored is encrypted under the root key, and the root key under the master key: another master key is one
//! row, and nothing that rests on the root key changes.

use aegis_runtime::clock;
use serde_json::json;

use super::clusters;
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::seal::{Keyring, MasterKey, MasterKeys};
use crate::store::{ANSWER_WITHIN, Store, commit, root_key, within};

/// What came of changing the master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Everything is under `MASTER_KEY` now.
    Now,
    /// It was already.
    Before,
}

/// The keys of what is stored, under whichever of the master keys it is.
///
/// # Errors
/// When it is under neither; those of the database.
pub async fn open(store: &Store, keys: &MasterKeys) -> Result<Keyring, Error> {
    within(ANSWER_WITHIN, async {
        let sealed = root_key::find(&mut *store.acquire().await?).await?;
        Ok(open_root(keys, sealed.as_deref())?.keyring())
    })
    .await
}

/// Encrypts the root key under `MASTER_KEY` instead of `MASTER_KEY_PREVIOUS`. All of it happens or nothing; again is
/// the same.
///
/// # Errors
/// `Parameter` without a key before, or when what is stored is under neither; `Busy` when another one was faster.
pub async fn change(store: &Store, keys: &MasterKeys) -> Result<Changed, Error> {
    let mut tx = store.begin().await?;
    let before = root_key::find(&mut tx).await?;
    if before.as_ref().is_some_and(|sealed| keys.current.open_root(sealed).is_ok()) {
        return Ok(Changed::Before);
    }
    if keys.previous.is_none() {
        let message = "name the key that everything is under now".to_owned();
        return Err(Error::Parameter { name: "MASTER_KEY_PREVIOUS", message });
    }
    let root = open_root(keys, before.as_deref())?;
    // A wrong key must not be kept as the root of everything.
    clusters::shared_secrets(&mut tx, &root.keyring()).await.map_err(|_| Error::Parameter {
        name: "MASTER_KEY_PREVIOUS",
        message: "does not open what is stored".to_owned(),
    })?;
    let sealed = keys.current.seal_root(&root);
    if !root_key::replace(&mut tx, before.as_deref(), &sealed, clock::now()).await? {
        return Err(Error::Busy);
    }
    let (kind, data) = (Kind::MasterKeyChanged, json!({ "isFirst": before.is_none() }));
    let record = Record { kind, principal: OPERATOR, action_id: None, request_id: None, data };
    audit::append(&mut tx, record).await?;
    commit(tx, None).await?;
    Ok(Changed::Now)
}

/// The root key. Until it is stored, the master key that was there first is it.
fn open_root(keys: &MasterKeys, sealed: Option<&[u8]>) -> Result<MasterKey, Error> {
    let Some(sealed) = sealed else {
        return Ok(keys.previous.as_ref().unwrap_or(&keys.current).clone());
    };
    let opened = [Some(&keys.current), keys.previous.as_ref()].into_iter().flatten();
    opened.map(|key| key.open_root(sealed)).find_map(Result::ok).ok_or_else(|| Error::Parameter {
        name: "MASTER_KEY",
        message: "does not open what is stored: it was changed since, or belongs to another database"
            .to_owned(),
    })
}
