//! The executors' answers as they were received.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, EntryId};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Names one receipt of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptName {
    /// The action.
    pub action_id: ActionId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The name of its stage; an attempt has at most one receipt of each.
    pub stage: &'static str,
}

/// Whether this receipt is already kept.
pub async fn exists(conn: &mut PgConnection, name: ReceiptName) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from receipts
           where action_id = $1 and attempt = $2 and stage = $3) as "exists!""#,
        name.action_id.0,
        name.attempt.cast_signed(),
        name.stage,
    )
    .fetch_one(conn)
    .await?)
}

/// Keeps a receipt, which answers the order of `order_digest`, beside the entry that names its digest.
pub async fn insert(
    conn: &mut PgConnection,
    name: ReceiptName,
    order_digest: Digest,
    envelope: &[u8],
    entry_id: EntryId,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into receipts (action_id, attempt, order_digest, stage, envelope, received_at, entry_id) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        name.action_id.0,
        name.attempt.cast_signed(),
        order_digest.to_string(),
        name.stage,
        envelope,
        Stored::from(at) as _,
        entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
