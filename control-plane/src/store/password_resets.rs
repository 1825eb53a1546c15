//! What people who forgot their password choose another one with.

use aegis_contract::digest::Digest;
use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Lets a person choose another password, besides whatever they may do so with already.
pub async fn insert(
    conn: &mut PgConnection,
    user: UserId,
    hash: Digest,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into password_resets (hash, user_id, expires_at) values ($1, $2, $3)",
        hash.as_bytes().as_slice(),
        user.0,
        Stored::from(expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Who may choose another password with it, while it is good and they may sign in.
pub async fn find(conn: &mut PgConnection, hash: Digest) -> Result<Option<UserId>, Error> {
    let user = sqlx::query_scalar!(
        "select user_id from password_resets join users on users.id = user_id \
         where hash = $1 and expires_at > clock_timestamp() and disabled_at is null",
        hash.as_bytes().as_slice(),
    );
    Ok(user.fetch_optional(conn).await?.map(UserId))
}

/// Uses one up; false when it is not good, or not any more.
pub async fn take(conn: &mut PgConnection, hash: Digest) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from password_resets where hash = $1 and expires_at > clock_timestamp()",
        hash.as_bytes().as_slice(),
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Uses up all of a person's.
pub async fn withdraw(conn: &mut PgConnection, user: UserId) -> Result<(), Error> {
    sqlx::query!("delete from password_resets where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}

/// Forgets those that were over before.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from password_resets where expires_at < $1", Stored::from(before) as _)
        .execute(conn)
        .await?;
    Ok(())
}
