//! How long sign-ins wait, and the addresses that people are known to sign in from. Counters and addresses are keyed
//! hashes.

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Passwords that were wrong lately, or are not judged yet.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// How many.
    pub failures: u32,
    /// Nobody may try before.
    pub free_at: Timestamp,
}

/// Counters as they stand, in the order of their names, locked: whoever counts the same waits. `names` must be sorted,
/// so that no two wait for each other.
pub async fn lock(conn: &mut PgConnection, names: &[String], now: Timestamp) -> Result<Vec<Count>, Error> {
    let mut counts = Vec::with_capacity(names.len());
    for name in names {
        // The update changes nothing, and locks.
        let row = sqlx::query!(
            r#"insert into sign_in_delays as found (counter, failures, free_at) values ($1, 0, $2)
               on conflict (counter) do update set failures = found.failures
               returning failures, free_at as "free_at: Stored""#,
            name,
            Stored::from(now) as _,
        )
        .fetch_one(&mut *conn)
        .await?;
        counts.push(Count { failures: row.failures.cast_unsigned(), free_at: row.free_at.to_jiff() });
    }
    Ok(counts)
}

/// Says how a counter stands.
pub async fn set(conn: &mut PgConnection, name: &str, count: Count) -> Result<(), Error> {
    sqlx::query!(
        "update sign_in_delays set failures = $2, free_at = $3 where counter = $1",
        name,
        count.failures.cast_signed(),
        Stored::from(count.free_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes one failure back that was none.
pub async fn take_back(conn: &mut PgConnection, names: &[String]) -> Result<(), Error> {
    for name in names {
        sqlx::query!(
            "update sign_in_delays set failures = greatest(failures - 1, 0), \
                 free_at = least(free_at, clock_timestamp()) where counter = $1",
            name,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Forgets a counter.
pub async fn clear(conn: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("delete from sign_in_delays where counter = $1", name).execute(conn).await?;
    Ok(())
}

/// Whether a person has signed in from an address; asked in the same way where there is no such person.
pub async fn is_known(conn: &mut PgConnection, user: Option<UserId>, address: &str) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "select user_id from known_addresses where user_id = $1 and address = $2",
        user.map(|user| user.0).unwrap_or_default(),
        address,
    );
    Ok(found.fetch_optional(conn).await?.is_some())
}

/// Remembers that a person has signed in from an address.
pub async fn note_known(
    conn: &mut PgConnection,
    user: UserId,
    address: &str,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into known_addresses (user_id, address, seen_at) values ($1, $2, $3) \
         on conflict (user_id, address) do update set seen_at = excluded.seen_at",
        user.0,
        address,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets where a person has signed in from.
pub async fn forget_known(conn: &mut PgConnection, user: UserId) -> Result<(), Error> {
    sqlx::query!("delete from known_addresses where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}

/// Forgets counters that were free before `counted_before`, and addresses not seen since `seen_before`.
pub async fn forget(
    conn: &mut PgConnection,
    counted_before: Timestamp,
    seen_before: Timestamp,
) -> Result<(), Error> {
    sqlx::query!("delete from sign_in_delays where free_at < $1", Stored::from(counted_before) as _)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("delete from known_addresses where seen_at < $1", Stored::from(seen_before) as _)
        .execute(conn)
        .await?;
    Ok(())
}
