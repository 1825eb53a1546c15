//! The key that everything stored is encrypted under, itself encrypted under the master key.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// The sealed key; `None` while the master key was never changed.
pub async fn find(conn: &mut PgConnection) -> Result<Option<Vec<u8>>, Error> {
    Ok(sqlx::query_scalar!("select sealed_key from root_key").fetch_optional(conn).await?)
}

/// Puts a sealed key in the place of `before`; false when that is not the present one.
pub async fn replace(
    conn: &mut PgConnection,
    before: Option<&[u8]>,
    sealed_key: &[u8],
    at: Timestamp,
) -> Result<bool, Error> {
    let at = Stored::from(at);
    let done = match before {
        None => {
            sqlx::query!(
                "insert into root_key (sealed_key, changed_at) values ($1, $2) on conflict do nothing",
                sealed_key,
                at as _,
            )
            .execute(conn)
            .await?
        }
        Some(before) => {
            sqlx::query!(
                "update root_key set sealed_key = $2, changed_at = $3 where sealed_key = $1",
                before,
                sealed_key,
                at as _,
            )
            .execute(conn)
            .await?
        }
    };
    Ok(done.rows_affected() == 1)
}
