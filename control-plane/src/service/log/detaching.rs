//! Retention: the oldest entries leave the database, once a bundle of them was verified. Hashes and checkpoints stay,
//! so that the bundle, and every proof that was ever given, can be related to any later checkpoint.

use aegis_contract::digest::Digest;
use aegis_evidence::Head;
use aegis_evidence::bundle::{Content, Report};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::head_at;
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::store::log::DetachedPartition;
use crate::store::{Store, commit, entries, log};

/// What the entry `log.entries-detached` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detached {
    /// The first entry that left.
    pub first: u64,
    /// The first one that did not.
    pub end: u64,
    /// SHA-256 of the bundle that was verified.
    pub bundle: Digest,
    /// The head that the bundle was proven under.
    pub head: Head,
    /// The table that they are in now, which its owner may drop.
    pub table: String,
    /// How many of them stay all the same, because something rests on them.
    pub kept: i64,
}

/// Detaches the oldest partition, which `bundle` holds all entries of. `owner` is the database as its owner.
///
/// # Errors
/// `Parameter` when the bundle does not hold them, or is of another history; `NotFound` while the oldest partition
/// is still being filled; those of the database, also when readers do not let go of the table in time.
pub async fn detach(owner: &Store, bundle: &Report, digest: Digest) -> Result<Detached, Error> {
    let mut tx = owner.begin().await?;
    let Some((first, end)) = log::oldest_partition(&mut tx).await? else {
        return Err(Error::NotFound { what: "full partition: the oldest one is still being filled" });
    };
    require_all(bundle, first, end)?;
    let head = bundle.checkpoint.head;
    if head_at(&mut tx, head.size).await? != Some(head) {
        return Err(unfit("it is of another history than this log".to_owned()));
    }
    let DetachedPartition { table, kept } = log::detach_partition(&mut tx, first).await?;
    let detached = Detached { first, end, bundle: digest, head, table, kept };
    let record = Record {
        kind: Kind::LogEntriesDetached,
        principal: OPERATOR,
        action_id: None,
        request_id: None,
        data: &detached,
    };
    audit::append(&mut tx, record).await?;
    commit(tx, None).await?;
    Ok(detached)
}

fn require_all(bundle: &Report, first: u64, end: u64) -> Result<(), Error> {
    match bundle.content {
        Content::Range { first: held, end: held_end } if held <= first && end <= held_end => Ok(()),
        Content::Range { first: held, end: held_end } => Err(unfit(format!(
            "it holds the entries from {held} up to {held_end}; export --first {first} --end {end}"
        ))),
        Content::Selection { .. } => {
            Err(unfit(format!("it holds a selection; export --first {first} --end {end} without a filter")))
        }
    }
}

fn unfit(message: String) -> Error {
    Error::Parameter { name: "bundle", message }
}

/// The oldest entry that is still in the database, as the log itself has it.
pub async fn begins_at(conn: &mut PgConnection) -> Result<u64, Error> {
    let Some(body) = entries::newest_of_kind(conn, Kind::LogEntriesDetached.as_str()).await? else {
        return Ok(0);
    };
    let entry: aegis_contract::intent::Entry<Detached> =
        serde_json::from_slice(&body).map_err(Error::internal)?;
    Ok(entry.data.end)
}
