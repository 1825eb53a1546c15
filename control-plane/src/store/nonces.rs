//! Nonces that signed requests have used up.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;
use crate::principal::Nonce;

/// Uses a nonce up; false when it was used before. Waits for a request in flight with the same one.
pub async fn spend(conn: &mut PgConnection, nonce: &Nonce) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into nonces (key_id, nonce, keep_until) values ($1, $2, $3) on conflict do nothing",
        nonce.key_id,
        nonce.nonce,
        Stored::from(nonce.keep_until) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Uses nonces up, in one order for everybody; those that were not used before. Waits as [`spend`] does.
pub async fn spend_all(conn: &mut PgConnection, nonces: &[&Nonce]) -> Result<Vec<(String, String)>, Error> {
    let key_ids: Vec<&str> = nonces.iter().map(|nonce| nonce.key_id.as_str()).collect();
    let texts: Vec<&str> = nonces.iter().map(|nonce| nonce.nonce.as_str()).collect();
    let until: Vec<Stored> = nonces.iter().map(|nonce| nonce.keep_until.into()).collect();
    let spent = sqlx::query!(
        "insert into nonces (key_id, nonce, keep_until) \
         select * from unnest($1::text[], $2::text[], $3::timestamptz[]) as new (key_id, nonce, keep_until) \
         order by key_id, nonce on conflict do nothing returning key_id, nonce",
        &key_ids as _,
        &texts as _,
        &until as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(spent.into_iter().map(|row| (row.key_id, row.nonce)).collect())
}

/// Whether a nonce was used before.
pub async fn is_spent(conn: &mut PgConnection, nonce: &Nonce) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        "select exists (select 1 from nonces where key_id = $1 and nonce = $2) as \"spent!\"",
        nonce.key_id,
        nonce.nonce,
    )
    .fetch_one(conn)
    .await?)
}

/// Forgets those that could not be used again anyway.
pub async fn forget(conn: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from nonces where keep_until < $1", Stored::from(now) as _).execute(conn).await?;
    Ok(())
}
