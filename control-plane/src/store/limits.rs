//! What limits count: the actions that were let go ahead, by what they share.

use aegis_contract::ids::ActionId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// What counted actions share; what is absent may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared<'a> {
    /// The type.
    pub action_type: Option<&'a str>,
    /// The principal who asked.
    pub requested_by: Option<&'a str>,
    /// The cluster.
    pub cluster: Option<&'a str>,
    /// The namespace of the cluster.
    pub namespace: Option<&'a str>,
    /// Kind and name of the object in the namespace.
    pub object: Option<(&'a str, &'a str)>,
}

/// The action it is counted for: it does not count itself, and once it was let go ahead, only those are
/// counted that were so before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountedFor {
    /// Its id; absent where nothing is to be done.
    pub id: Option<ActionId>,
    /// When it was let go ahead.
    pub reserved_at: Option<Timestamp>,
}

/// A lock that no other transaction may hold, or none but those that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyLock {
    /// What the key was hashed to.
    pub id: i64,
    /// Whether others may share it.
    pub exclusive: bool,
}

/// Takes locks in the given order, and holds them until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, locks: &[KeyLock]) -> Result<(), Error> {
    let ids: Vec<i64> = locks.iter().map(|lock| lock.id).collect();
    let exclusive: Vec<bool> = locks.iter().map(|lock| lock.exclusive).collect();
    sqlx::query!(
        "select case when k.exclusive then pg_advisory_xact_lock(k.id) \
                else pg_advisory_xact_lock_shared(k.id) end as locked \
         from unnest($1::bigint[], $2::boolean[]) as k (id, exclusive)",
        &ids,
        &exclusive,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many actions were let go ahead after `since`, and when the oldest of those was; beyond `most`
/// the older ones are not looked at.
pub async fn count_since(
    conn: &mut PgConnection,
    shared: Shared<'_>,
    since: Timestamp,
    most: u32,
    counted_for: CountedFor,
) -> Result<(u32, Option<Timestamp>), Error> {
    let row = sqlx::query!(
        r#"select count(*) as "actions!", min(reserved_at) as "oldest_at: Stored" from (
               select reserved_at from actions
               where reserved_at > $1 and state not in ('denied', 'refused', 'cancelled', 'expired')
                 and ($2::text is null or type = $2) and ($3::text is null or requested_by = $3)
                 and ($4::text is null or cluster = $4) and ($5::text is null or namespace = $5)
                 and ($6::text is null or kind = $6) and ($7::text is null or name = $7)
                 and ($8::uuid is null or id <> $8)
                 and ($9::timestamptz is null or (reserved_at, id) < ($9, $8))
               order by reserved_at desc limit $10) counted"#,
        Stored::from(since) as _,
        shared.action_type,
        shared.requested_by,
        shared.cluster,
        shared.namespace,
        shared.object.map(|(kind, _)| kind),
        shared.object.map(|(_, name)| name),
        counted_for.id.map(|id| id.0),
        counted_for.reserved_at.map(Stored::from) as _,
        i64::from(most),
    )
    .fetch_one(conn)
    .await?;
    Ok((u32::try_from(row.actions).unwrap_or(u32::MAX), row.oldest_at.map(|at| at.to_jiff())))
}

/// How many actions were let go ahead and have not ended; not counted beyond `most`.
pub async fn count_under_way(
    conn: &mut PgConnection,
    shared: Shared<'_>,
    most: u32,
    counted_for: CountedFor,
) -> Result<u32, Error> {
    let actions = sqlx::query_scalar!(
        r#"select count(*) as "actions!" from (
               select from actions
               where state in ('queued', 'running', 'unknown') and reserved_at is not null
                 and ($1::text is null or type = $1) and ($2::text is null or requested_by = $2)
                 and ($3::text is null or cluster = $3) and ($4::text is null or namespace = $4)
                 and ($5::text is null or kind = $5) and ($6::text is null or name = $6)
                 and ($7::uuid is null or id <> $7)
                 and ($8::timestamptz is null or (reserved_at, id) < ($8, $7))
               limit $9) counted"#,
        shared.action_type,
        shared.requested_by,
        shared.cluster,
        shared.namespace,
        shared.object.map(|(kind, _)| kind),
        shared.object.map(|(_, name)| name),
        counted_for.id.map(|id| id.0),
        counted_for.reserved_at.map(Stored::from) as _,
        i64::from(most),
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(actions).unwrap_or(u32::MAX))
}

/// When the newest failure ended, after `since`, that was the last of so many within `seconds`.
pub async fn last_opening(
    conn: &mut PgConnection,
    shared: Shared<'_>,
    failures: u32,
    seconds: u32,
    since: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let opened_at = sqlx::query_scalar!(
        r#"select max(updated_at) as "at: Stored" from (
               select updated_at, lag(updated_at, $1::int) over (order by updated_at, id) as first_at from actions
               where state in ('failed', 'returned') and reserved_at is not null
                 and updated_at > $2::timestamptz - make_interval(secs => $3)
                 and ($4::text is null or type = $4) and ($5::text is null or requested_by = $5)
                 and ($6::text is null or cluster = $6) and ($7::text is null or namespace = $7)
                 and ($8::text is null or kind = $8) and ($9::text is null or name = $9)) failed
           where updated_at > $2 and first_at > updated_at - make_interval(secs => $3)"#,
        failures.saturating_sub(1).cast_signed(),
        Stored::from(since) as _,
        f64::from(seconds),
        shared.action_type,
        shared.requested_by,
        shared.cluster,
        shared.namespace,
        shared.object.map(|(kind, _)| kind),
        shared.object.map(|(_, name)| name),
    )
    .fetch_one(conn)
    .await?;
    Ok(opened_at.map(|at| at.to_jiff()))
}
