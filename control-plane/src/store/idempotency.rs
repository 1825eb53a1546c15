//! Idempotency keys: which request a key belongs to, and what was answered first.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, DecisionId};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Digest of the request it belongs to.
    pub fingerprint: Digest,
    /// The action of the first answer.
    pub action_id: ActionId,
    /// Its status.
    pub status: i16,
    /// The decision it named.
    pub decision_id: DecisionId,
}

/// What is known of a key, if it was used and is still kept.
pub async fn find(
    conn: &mut PgConnection,
    principal: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Known>, Error> {
    let row = sqlx::query!(
        "select fingerprint, action_id, status, decision_id from idempotency_keys \
         where principal = $1 and key = $2 and keep_until > $3",
        principal,
        key,
        Stored::from(now) as _,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Known {
            fingerprint: row.fingerprint.parse().map_err(Error::internal)?,
            action_id: ActionId(row.action_id),
            status: row.status,
            decision_id: DecisionId(row.decision_id),
        })
    })
    .transpose()
}

/// Takes a key for a request; false when it is taken. Waits for a request in flight with the same
/// one. Status and decision follow with [`complete`], in the same transaction.
pub async fn claim(
    conn: &mut PgConnection,
    principal: &str,
    key: &str,
    known: Known,
    now: Timestamp,
    keep_until: Timestamp,
) -> Result<bool, Error> {
    // A key past its time is free again.
    let done = sqlx::query!(
        "insert into idempotency_keys (principal, key, fingerprint, action_id, status, decision_id, keep_until) \
         values ($1, $2, $3, $4, $5, $6, $8) \
         on conflict (principal, key) do update set fingerprint = excluded.fingerprint, \
             action_id = excluded.action_id, status = excluded.status, decision_id = excluded.decision_id, \
             keep_until = excluded.keep_until \
         where idempotency_keys.keep_until <= $7",
        principal,
        key,
        known.fingerprint.to_string(),
        known.action_id.0,
        known.status,
        known.decision_id.0,
        Stored::from(now) as _,
        Stored::from(keep_until) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets what the first answer was.
pub async fn complete(
    conn: &mut PgConnection,
    principal: &str,
    key: &str,
    status: i16,
    decision_id: DecisionId,
) -> Result<(), Error> {
    sqlx::query!(
        "update idempotency_keys set status = $3, decision_id = $4 where principal = $1 and key = $2",
        principal,
        key,
        status,
        decision_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets keys past their time.
pub async fn forget(conn: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from idempotency_keys where keep_until <= $1", Stored::from(now) as _)
        .execute(conn)
        .await?;
    Ok(())
}
