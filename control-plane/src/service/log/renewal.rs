//! Going on after a fork: what the log holds now becomes a log with another name. Executors believe it only when
//! they are told so, by their own settings.

use serde_json::json;

use super::{Log, LogSigners};
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::seal::Keyring;
use crate::store::{Store, commit, log};

/// Begins the log of `new` with everything that the log of `old` holds and an entry that names the last checkpoint
/// of that. Returns the first checkpoint of the new log.
///
/// # Errors
/// `Busy` while a control plane runs; `AlreadyExists` when it was begun before; `StateNotInLog` when the log is
/// not as its newest checkpoint has it.
pub async fn renew(store: &Store, keyring: &Keyring, old: &str, new: &str) -> Result<String, Error> {
    let mut conn = store.connect().await?;
    if !log::take_turn(&mut conn).await? {
        return Err(Error::Busy);
    }
    let last = log::newest_checkpoint(&mut conn).await?.ok_or(Error::NotFound { what: "checkpoint" })?;
    if last.note.starts_with(&format!("{new}\n")) {
        return Err(Error::AlreadyExists(format!("the log {new}")));
    }
    let signers = LogSigners::load(&mut conn, keyring, old).await?;
    let mut log = Log::begin(&mut conn, signers).await?;
    let mut tx = store.begin().await?;
    let data = json!({ "origin": new, "previous": { "checkpoint": last.note } });
    let record =
        Record { kind: Kind::LogRenewed, principal: OPERATOR, action_id: None, request_id: None, data };
    audit::append(&mut tx, record).await?;
    commit(tx, None).await?;
    log.signers = LogSigners::load(&mut conn, keyring, new).await?;
    while log.integrate(&mut conn).await?.added > 0 {}
    Ok(log::newest_checkpoint(&mut conn).await?.ok_or(Error::NotFound { what: "checkpoint" })?.note)
}
