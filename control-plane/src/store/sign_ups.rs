//! What people who signed up choose their first password with.

use aegis_contract::digest::Digest;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Lets somebody who reads the mail of an address choose a password for it.
pub async fn insert(
    conn: &mut PgConnection,
    email: &str,
    hash: Digest,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into sign_ups (hash, email, expires_at) values ($1, $2, $3)",
        hash.as_bytes().as_slice(),
        email,
        Stored::from(expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The address that it is for, while it is good.
pub async fn find(conn: &mut PgConnection, hash: Digest) -> Result<Option<String>, Error> {
    let email = sqlx::query_scalar!(
        "select email from sign_ups where hash = $1 and expires_at > clock_timestamp()",
        hash.as_bytes().as_slice(),
    );
    Ok(email.fetch_optional(conn).await?)
}

/// Uses up all of an address.
pub async fn withdraw(conn: &mut PgConnection, email: &str) -> Result<(), Error> {
    sqlx::query!("delete from sign_ups where lower(email) = lower($1)", email).execute(conn).await?;
    Ok(())
}

/// Forgets those that were over before.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from sign_ups where expires_at < $1", Stored::from(before) as _)
        .execute(conn)
        .await?;
    Ok(())
}
