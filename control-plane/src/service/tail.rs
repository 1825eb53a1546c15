//! Following the log: entries in its order, as they get their places. What it says of reading is left out: whoever
//! follows would otherwise read of nothing but their own reading.

use serde_json::json;
use sqlx::PgConnection;

use super::Services;
use super::entries::{Filter, note_reading};
use crate::audit::Kind;
use crate::audit::facets::Field;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::entries;
pub use crate::store::entries::Filed;
use crate::store::{ANSWER_WITHIN, commit, log, within};

/// Places that one answer looks at.
const WINDOW: u64 = 4096;
/// Bytes of entries after which an answer ends.
const BYTES_MAX: i64 = 1 << 20;

/// A part of the log.
#[derive(Clone, Debug)]
pub struct Part {
    /// The entries that fit.
    pub entries: Vec<Filed>,
    /// Where to go on.
    pub next: u64,
    /// Entries of the log under its newest checkpoint.
    pub size: u64,
}

/// The entries from a place on, or from those on that come from now on. That somebody follows is an entry: one for each
/// reader, filter and minute.
///
/// # Errors
/// `Forbidden`; `Parameter` when the log is shorter than that, or entries about reading are asked for.
pub async fn follow(
    services: &Services,
    caller: &Caller,
    filter: &Filter,
    first: Option<u64>,
) -> Result<Part, Error> {
    caller.require(Permission::ReadAudit)?;
    if filter.value(Field::Kind) == Some(Kind::AuditRead.as_str()) {
        let message = "entries about reading are left out here; the search of entries finds them".to_owned();
        return Err(Error::Parameter { name: "kind", message });
    }
    let (tx, part) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let part = read(&mut tx, filter, first).await?;
        note_reading(&mut tx, caller, json!({ "tail": filter.to_json(&services.keyring) })).await?;
        Ok((tx, part))
    })
    .await?;
    commit(tx, None).await?;
    Ok(part)
}

async fn read(conn: &mut PgConnection, filter: &Filter, first: Option<u64>) -> Result<Part, Error> {
    let size = log::newest_checkpoint(conn).await?.map_or(0, |newest| newest.size);
    let first = first.unwrap_or(size);
    if first > size {
        let message = format!("the log has {size} entries; it was put back, or this is another one");
        return Err(Error::Parameter { name: "first", message });
    }
    let end = first.saturating_add(WINDOW).min(size);
    let (mut found, next) = entries::page(conn, &filter.to_stored(), first, end, BYTES_MAX).await?;
    found.retain(|filed| filed.kind != Kind::AuditRead.as_str() && filter.fits(&filed.body));
    Ok(Part { entries: found, next, size })
}
