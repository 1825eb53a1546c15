//! Attempts: orders as they were signed.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, EntryId, LedgerId};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// One attempt of an action.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// The intent its order carries.
    pub intent_entry_id: EntryId,
    /// Digest of the order's payload.
    pub order_digest: Digest,
    /// The order's envelope, sent unchanged as often as needed.
    pub envelope: Vec<u8>,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it may not be begun any more.
    pub not_after: Timestamp,
    /// The executor ledger known when it was signed.
    pub ledger_id: Option<LedgerId>,
    /// Its highest row known then.
    pub ledger_row: u64,
    /// Whether a receipt said that the ledger holds it.
    pub accepted: bool,
    /// Whether a receipt said that it never began and never will.
    pub closed: bool,
}

impl Attempt {
    /// The row that this ledger had reached when the attempt was signed, as far as is known.
    pub fn row_of(&self, ledger: LedgerId) -> u64 {
        if self.ledger_id == Some(ledger) { self.ledger_row } else { 0 }
    }
}

/// The newest attempt of an action.
pub async fn newest(conn: &mut PgConnection, action_id: ActionId) -> Result<Option<Attempt>, Error> {
    let row = sqlx::query!(
        r#"select attempt, intent_entry_id, order_digest, envelope, issued_at as "issued_at: Stored",
                  not_after as "not_after: Stored", ledger_id, ledger_row, accepted_at is not null as "accepted!",
                  closed_at is not null as "closed!"
           from attempts where action_id = $1 order by attempt desc limit 1"#,
        action_id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Attempt {
            number: row.attempt.cast_unsigned(),
            intent_entry_id: EntryId(row.intent_entry_id),
            order_digest: row.order_digest.parse().map_err(Error::internal)?,
            envelope: row.envelope,
            issued_at: row.issued_at.to_jiff(),
            not_after: row.not_after.to_jiff(),
            ledger_id: row.ledger_id.map(LedgerId),
            ledger_row: row.ledger_row.cast_unsigned(),
            accepted: row.accepted,
            closed: row.closed,
        })
    })
    .transpose()
}

/// Remembers that the executor's ledger holds an attempt.
pub async fn set_accepted(conn: &mut PgConnection, action_id: ActionId, number: u32) -> Result<(), Error> {
    sqlx::query!(
        "update attempts set accepted_at = clock_timestamp() \
         where action_id = $1 and attempt = $2 and accepted_at is null",
        action_id.0,
        number.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Remembers that an attempt never began and never will.
pub async fn set_closed(conn: &mut PgConnection, action_id: ActionId, number: u32) -> Result<(), Error> {
    sqlx::query!(
        "update attempts set closed_at = clock_timestamp() \
         where action_id = $1 and attempt = $2 and closed_at is null",
        action_id.0,
        number.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
