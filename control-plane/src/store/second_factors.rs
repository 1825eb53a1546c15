//! Second factors of people, and the codes that stand in for a lost one.

use aegis_contract::ids::UserId;
use sqlx::PgConnection;

use crate::error::Error;

/// A second factor.
#[derive(Clone, Debug)]
pub struct SecondFactor {
    /// Its secret, as sealed.
    pub sealed_secret: Vec<u8>,
    /// Whether it counts.
    pub is_confirmed: bool,
    /// The step whose code was used last.
    pub last_step: i64,
}

/// The second factor of a person, also one that does not count yet.
pub async fn find(conn: &mut PgConnection, user: UserId) -> Result<Option<SecondFactor>, Error> {
    Ok(sqlx::query_as!(
        SecondFactor,
        r#"select sealed_secret, confirmed_at is not null as "is_confirmed!", last_step
           from second_factors where user_id = $1"#,
        user.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// Gives a person a secret that does not count yet, in place of another such; false when they have one that counts.
pub async fn put(conn: &mut PgConnection, user: UserId, sealed_secret: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into second_factors (user_id, sealed_secret) values ($1, $2) \
         on conflict (user_id) do update set sealed_secret = excluded.sealed_secret \
             where second_factors.confirmed_at is null",
        user.0,
        sealed_secret,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Has a secret count, whose code of `step` was shown; false when it was replaced meanwhile, or counts already.
pub async fn confirm(
    conn: &mut PgConnection,
    user: UserId,
    sealed_secret: &[u8],
    step: i64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update second_factors set confirmed_at = clock_timestamp(), last_step = $3 \
         where user_id = $1 and sealed_secret = $2 and confirmed_at is null",
        user.0,
        sealed_secret,
        step,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Uses up the code of a step and all before it; false when that was done already, or the secret counts no more.
pub async fn use_step(
    conn: &mut PgConnection,
    user: UserId,
    sealed_secret: &[u8],
    step: i64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update second_factors set last_step = $3 \
         where user_id = $1 and sealed_secret = $2 and confirmed_at is not null and last_step < $3",
        user.0,
        sealed_secret,
        step,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Takes a second factor that counts away, with its recovery codes; false where there is none.
pub async fn delete(conn: &mut PgConnection, user: UserId) -> Result<bool, Error> {
    let done =
        sqlx::query!("delete from second_factors where user_id = $1 and confirmed_at is not null", user.0);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Adds recovery codes.
pub async fn insert_recovery_codes(
    conn: &mut PgConnection,
    user: UserId,
    hashes: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "insert into recovery_codes (user_id, hash) select $1, * from unnest($2::text[])",
        user.0,
        hashes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses up a recovery code; false when there is none such, or not any more.
pub async fn take_recovery_code(conn: &mut PgConnection, user: UserId, hash: &str) -> Result<bool, Error> {
    let done = sqlx::query!("delete from recovery_codes where user_id = $1 and hash = $2", user.0, hash);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// How many recovery codes a person has left.
pub async fn count_recovery_codes(conn: &mut PgConnection, user: UserId) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"select count(*) as "count!" from recovery_codes where user_id = $1"#, user.0)
        .fetch_one(conn)
        .await?)
}
