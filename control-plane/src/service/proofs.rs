//! What auditors and other programs verify the log with: checkpoints, tiles and proofs. They hold hashes and no
//! entries, so that reading them is no entry itself.

use std::time::Duration;

use aegis_contract::ids::EntryId;
use aegis_evidence::{Consistency, Evidence, Hash, Plan, PlanError, Tile};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::Services;
use super::log::{LogSigners, prove_entry, prove_growth};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::log::{self, StoredCheckpoint};
use crate::store::{ANSWER_WITHIN, entries, within};

/// How long whoever asks for a proof waits for an entry that was recorded just now.
const PLACE_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The keys that sign checkpoints.
///
/// # Errors
/// `Forbidden`.
pub async fn keys(services: &Services, caller: &Caller) -> Result<LogSigners, Error> {
    caller.require(Permission::ReadAudit)?;
    within(ANSWER_WITHIN, signers(services)).await
}

async fn signers(services: &Services) -> Result<LogSigners, Error> {
    LogSigners::load(&mut *services.store.acquire().await?, &services.keyring, &services.log_origin).await
}

/// The newest checkpoint, a signed note.
///
/// # Errors
/// `Forbidden`, `NotFound` while the log is empty.
pub async fn checkpoint(services: &Services, caller: &Caller) -> Result<String, Error> {
    caller.require(Permission::ReadAudit)?;
    let newest = async { newest(&mut *services.store.acquire().await?).await };
    Ok(within(ANSWER_WITHIN, newest).await?.note)
}

/// The hashes of a tile, as many as its name says.
///
/// # Errors
/// `Forbidden`, `NotFound` when the log has no such tile yet.
pub async fn tile(services: &Services, caller: &Caller, tile: Tile) -> Result<Vec<u8>, Error> {
    caller.require(Permission::ReadAudit)?;
    let stored = async { log::tiles(&mut *services.store.acquire().await?, [tile]).await };
    let mut hashes = within(ANSWER_WITHIN, stored).await?.remove(&tile).unwrap_or_default();
    let length = usize::from(tile.width()) * Hash::LENGTH;
    if hashes.len() < length {
        return Err(Error::NotFound { what: "tile" });
    }
    hashes.truncate(length);
    Ok(hashes)
}

/// Shows that an entry is in the log, and that the log has grown from one of `from` entries, if that is asked.
///
/// # Errors
/// `Forbidden`, `NotFound` when there is no such entry, or it has no place yet.
pub async fn evidence(
    services: &Services,
    caller: &Caller,
    id: EntryId,
    from: Option<u64>,
) -> Result<Evidence, Error> {
    caller.require(Permission::ReadAudit)?;
    let index = place(services, id).await?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let newest = newest(&mut conn).await?;
        let inclusion = prove_entry(&mut conn, index, newest.size).await?;
        let consistency = match from {
            None => Vec::new(),
            Some(from) => vec![asked_growth(&mut conn, from, newest.size).await?],
        };
        Ok(Evidence { index, inclusion, checkpoint: newest.note, consistency })
    })
    .await
}

/// The proof that the log of `to` entries has grown from the one of `from`.
///
/// # Errors
/// `Forbidden`; `Parameter` when the log never had these sizes in this order.
pub async fn consistency(
    services: &Services,
    caller: &Caller,
    from: u64,
    to: u64,
) -> Result<Consistency, Error> {
    caller.require(Permission::ReadAudit)?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let size = newest(&mut conn).await?.size;
        if to > size {
            return Err(out_of_range("to", &PlanError { place: to, size }));
        }
        asked_growth(&mut conn, from, to).await
    })
    .await
}

async fn place(services: &Services, id: EntryId) -> Result<u64, Error> {
    let until = Instant::now() + PLACE_WITHIN;
    loop {
        let found = async { entries::place(&mut *services.store.acquire().await?, id).await };
        match within(ANSWER_WITHIN, found).await? {
            None => return Err(Error::NotFound { what: "entry" }),
            Some(Some(index)) => return Ok(index),
            Some(None) if Instant::now() >= until => {
                return Err(Error::NotFound { what: "place for this entry yet" });
            }
            Some(None) => sleep(LOOK_AGAIN).await,
        }
    }
}

pub(super) async fn newest(conn: &mut PgConnection) -> Result<StoredCheckpoint, Error> {
    log::newest_checkpoint(conn).await?.ok_or(Error::NotFound { what: "checkpoint" })
}

pub(super) async fn asked_growth(conn: &mut PgConnection, from: u64, to: u64) -> Result<Consistency, Error> {
    Plan::consistency(from, to).map_err(|error| out_of_range("from", &error))?;
    prove_growth(conn, from, to).await
}

fn out_of_range(name: &'static str, error: &PlanError) -> Error {
    Error::Parameter { name, message: error.to_string() }
}
