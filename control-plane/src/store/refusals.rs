//! What was already recorded once in a minute and is only counted after that: refused requests,
//! failed sign-ins, readings of the log.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Notes the first of its kind in a minute; false when it is not the first.
pub async fn note(
    conn: &mut PgConnection,
    reason: &str,
    key_id: &str,
    minute: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into refusals (reason, key_id, minute) values ($1, $2, $3) on conflict do nothing",
        reason,
        key_id,
        Stored::from(minute) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets minutes before `before`.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from refusals where minute < $1", Stored::from(before) as _).execute(conn).await?;
    Ok(())
}
