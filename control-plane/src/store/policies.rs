//! Policies, their versions, and the set of those that are active.

use aegis_contract::ids::EntryId;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A policy as it stands.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub latest_version: i32,
    /// The version that is active, if any.
    pub active_version: Option<i32>,
    /// The version that was active before the present state.
    pub previous_version: Option<i32>,
    /// The sync it belongs to, if any.
    pub managed_by: Option<String>,
    /// When it was first stored.
    pub created_at: Stored,
    /// When a version was stored, or it was activated or deactivated.
    pub updated_at: Stored,
}

/// One version of a policy.
#[derive(Clone, Debug)]
pub struct Version {
    /// The policy's name.
    pub name: String,
    /// Its number, from 1.
    pub version: i32,
    /// The document as canonical JSON.
    pub document: String,
    /// Digest of the document.
    pub digest: String,
    /// Who stored it.
    pub created_by: String,
    /// When it was stored.
    pub created_at: Stored,
}

/// An active version, with the audit entry that says so.
#[derive(Clone, Debug)]
pub struct ActiveVersion {
    /// The policy's name.
    pub name: String,
    /// Its number, from 1.
    pub version: i32,
    /// The document as canonical JSON.
    pub document: String,
    /// Digest of the document.
    pub digest: String,
    /// The bytes of the entry that recorded it.
    pub entry: Vec<u8>,
}

/// What Postgres says of an active version and its entry, without sending them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivePrint {
    /// The policy's name.
    pub name: String,
    /// Its number, from 1.
    pub version: i32,
    /// Digest of the document, as it was stored.
    pub digest: String,
    /// SHA-256 of the document as it lies there now.
    pub document: Vec<u8>,
    /// SHA-256 of the entry as it lies there now.
    pub entry: Vec<u8>,
}

/// Policies by name, those after `after`.
pub async fn list(conn: &mut PgConnection, after: Option<&str>, limit: i64) -> Result<Vec<Policy>, Error> {
    Ok(sqlx::query_as!(
        Policy,
        "select name, latest_version, active_version, previous_version, managed_by, created_at, updated_at \
         from policies \
         where $1::text is null or name > $1 order by name limit $2",
        after,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// One policy.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Policy>, Error> {
    Ok(sqlx::query_as!(
        Policy,
        "select name, latest_version, active_version, previous_version, managed_by, created_at, updated_at \
         from policies where name = $1",
        name
    )
    .fetch_optional(conn)
    .await?)
}

/// One policy, locked until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<Policy>, Error> {
    Ok(sqlx::query_as!(
        Policy,
        "select name, latest_version, active_version, previous_version, managed_by, created_at, updated_at \
         from policies where name = $1 for update",
        name
    )
    .fetch_optional(conn)
    .await?)
}

/// One version of a policy.
pub async fn find_version(
    conn: &mut PgConnection,
    name: &str,
    version: i32,
) -> Result<Option<Version>, Error> {
    Ok(sqlx::query_as!(
        Version,
        "select name, version, document, digest, created_by, created_at from policy_versions \
         where name = $1 and version = $2",
        name,
        version,
    )
    .fetch_optional(conn)
    .await?)
}

/// The body of the entry that a version was stored with.
pub async fn find_version_entry(
    conn: &mut PgConnection,
    name: &str,
    version: i32,
) -> Result<Option<Vec<u8>>, Error> {
    Ok(sqlx::query_scalar!(
        "select e.body as \"body!\" from policy_versions v join audit.recorded e on e.id = v.entry_id \
         where v.name = $1 and v.version = $2",
        name,
        version,
    )
    .fetch_optional(conn)
    .await?)
}

/// Stores a version.
pub async fn insert_version(
    conn: &mut PgConnection,
    version: &Version,
    entry_id: EntryId,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into policy_versions (name, version, document, digest, created_by, created_at, entry_id) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        version.name,
        version.version,
        version.document,
        version.digest,
        version.created_by,
        version.created_at as _,
        entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds a policy with its first version; false when the name is taken.
pub async fn insert(conn: &mut PgConnection, name: &str, at: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into policies (name, latest_version, created_at, updated_at) values ($1, 1, $2, $2) \
         on conflict do nothing",
        name,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves a policy from one newest version to the next; false when another one was stored meanwhile.
pub async fn set_latest(
    conn: &mut PgConnection,
    name: &str,
    from: i32,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update policies set latest_version = latest_version + 1, updated_at = $3 \
         where name = $1 and latest_version = $2",
        name,
        from,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes a version, or none, the active one.
pub async fn set_active(
    conn: &mut PgConnection,
    name: &str,
    version: Option<i32>,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update policies set previous_version = coalesce(active_version, previous_version), active_version = $2, \
             updated_at = $3 where name = $1",
        name,
        version,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every policy, by name, locked until the end of the transaction.
pub async fn lock_all(conn: &mut PgConnection) -> Result<Vec<Policy>, Error> {
    Ok(sqlx::query_as!(
        Policy,
        "select name, latest_version, active_version, previous_version, managed_by, created_at, updated_at \
         from policies order by name for update"
    )
    .fetch_all(conn)
    .await?)
}

/// Says which sync a policy belongs to from now on, if any.
pub async fn set_managed_by(
    conn: &mut PgConnection,
    name: &str,
    managed_by: Option<&str>,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update policies set managed_by = $2, updated_at = $3 where name = $1",
        name,
        managed_by,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The digest of what is active, without waiting for anybody.
pub async fn active_digest(conn: &mut PgConnection) -> Result<String, Error> {
    Ok(sqlx::query_scalar!("select digest from policy_set").fetch_one(conn).await?)
}

/// The digest of what is active, and the database's time then. Activations wait until the transaction
/// ends.
pub async fn active_digest_for_share(conn: &mut PgConnection) -> Result<(String, Timestamp), Error> {
    let active =
        sqlx::query!(r#"select digest, clock_timestamp() as "now!: Stored" from policy_set for share"#)
            .fetch_one(conn)
            .await?;
    Ok((active.digest, active.now.to_jiff()))
}

/// The digest of what is active. Claims, decisions and other activations wait until the transaction
/// ends.
pub async fn active_digest_for_update(conn: &mut PgConnection) -> Result<String, Error> {
    Ok(sqlx::query_scalar!("select digest from policy_set for update").fetch_one(conn).await?)
}

/// The digest of the set that was activated last, with its members as they were kept then.
pub async fn activated(conn: &mut PgConnection) -> Result<(String, Value), Error> {
    let row = sqlx::query!(
        "select s.digest, s.members from policy_set p join policy_sets s on s.digest = p.digest"
    )
    .fetch_one(conn)
    .await?;
    Ok((row.digest, row.members))
}

/// Every active version, by name.
pub async fn active_versions(conn: &mut PgConnection) -> Result<Vec<ActiveVersion>, Error> {
    Ok(sqlx::query_as!(
        ActiveVersion,
        "select v.name, v.version, v.document, v.digest, e.body as \"entry!\" from policies p \
         join policy_versions v on v.name = p.name and v.version = p.active_version \
         join audit.recorded e on e.id = v.entry_id order by v.name"
    )
    .fetch_all(conn)
    .await?)
}

/// What [`active_versions`] would give, to be compared with what was read before.
pub async fn active_prints(conn: &mut PgConnection) -> Result<Vec<ActivePrint>, Error> {
    Ok(sqlx::query_as!(
        ActivePrint,
        "select v.name, v.version, v.digest, \
                sha256(convert_to(v.document, 'UTF8')) as \"document!\", sha256(e.body) as \"entry!\" \
         from policies p \
         join policy_versions v on v.name = p.name and v.version = p.active_version \
         join audit.recorded e on e.id = v.entry_id order by v.name"
    )
    .fetch_all(conn)
    .await?)
}

/// Names the set that is active from now on, and keeps its members for deciding again later.
pub async fn set_digest(
    conn: &mut PgConnection,
    digest: &str,
    members: &Value,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!("update policy_set set digest = $1, activated_at = $2", digest, Stored::from(at) as _)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "insert into policy_sets (digest, members, first_active_at) values ($1, $2, $3) on conflict do nothing",
        digest,
        members,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
