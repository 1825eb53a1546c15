//! What people choose their first password with.

use aegis_contract::digest::Digest;
use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Invites a person, in place of any invitation before.
pub async fn put(
    conn: &mut PgConnection,
    user: UserId,
    hash: Digest,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into invitations (user_id, hash, expires_at) values ($1, $2, $3) \
         on conflict (user_id) do update set hash = excluded.hash, expires_at = excluded.expires_at",
        user.0,
        hash.as_bytes().as_slice(),
        Stored::from(expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whom an invitation is for, while it is good.
pub async fn find(conn: &mut PgConnection, hash: Digest) -> Result<Option<UserId>, Error> {
    let user = sqlx::query_scalar!(
        "select user_id from invitations where hash = $1 and expires_at > clock_timestamp()",
        hash.as_bytes().as_slice(),
    );
    Ok(user.fetch_optional(conn).await?.map(UserId))
}

/// Uses up an invitation; false when it is not good, or not any more.
pub async fn take(conn: &mut PgConnection, hash: Digest) -> Result<bool, Error> {
    let done = sqlx::query!(
        "delete from invitations where hash = $1 and expires_at > clock_timestamp()",
        hash.as_bytes().as_slice(),
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}
