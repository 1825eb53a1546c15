//! Alert sources, and what they prove themselves with.

use std::collections::HashMap;

use aegis_contract::digest::Digest;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// An alert source as it is shown.
#[derive(Clone, Debug)]
pub struct AlertSource {
    /// Its unique name.
    pub name: String,
    /// Since when it is known.
    pub created_at: Timestamp,
    /// When it was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// Its credentials, the newest first, revoked ones too.
    pub credentials: Vec<Credential>,
}

/// A credential as it is shown.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// `bearer` or `basic`.
    pub kind: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A credential that a request presents, also one that is good no more.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub alert_source: String,
    /// `bearer` or `basic`.
    pub kind: String,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// Whether its source was disabled.
    pub is_disabled: bool,
    /// Whether it was used within the last minute, as far as that is noted.
    pub is_use_noted: bool,
}

/// Adds an alert source; false when the name is taken.
pub async fn insert(conn: &mut PgConnection, name: &str, at: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into alert_sources (name, created_at) values ($1, $2) on conflict do nothing",
        name,
        Stored::from(at) as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Adds a credential.
pub async fn insert_credential(
    conn: &mut PgConnection,
    alert_source: &str,
    id: Uuid,
    kind: &str,
    hash: Digest,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into alert_source_credentials (id, alert_source, kind, hash, created_at) values ($1, $2, $3, $4, $5)",
        id,
        alert_source,
        kind,
        hash.as_bytes().as_slice(),
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks an alert source, so that it changes once at a time; whether it is disabled.
pub async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<bool>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select disabled_at is not null as "is_disabled!" from alert_sources where name = $1 for update"#,
        name
    )
    .fetch_optional(conn)
    .await?)
}

/// How many credentials of an alert source are not revoked.
pub async fn count_live(conn: &mut PgConnection, name: &str) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from alert_source_credentials where alert_source = $1 and revoked_at is null"#,
        name
    )
    .fetch_one(conn)
    .await?)
}

/// Alert sources by name, those after `after`.
pub async fn list(
    conn: &mut PgConnection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<AlertSource>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select name, created_at as "created_at: Stored", disabled_at as "disabled_at: Stored"
           from alert_sources where $1::text is null or name > $1 order by name limit $2"#,
        after,
        limit,
    )
    .fetch_all(&mut *conn)
    .await?;
    with_credentials(conn, rows).await
}

/// One alert source.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<AlertSource>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select name, created_at as "created_at: Stored", disabled_at as "disabled_at: Stored"
           from alert_sources where name = $1"#,
        name,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(with_credentials(conn, rows).await?.pop())
}

struct Row {
    name: String,
    created_at: Stored,
    disabled_at: Option<Stored>,
}

async fn with_credentials(conn: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<AlertSource>, Error> {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let credentials = sqlx::query!(
        r#"select id, alert_source, kind, created_at as "created_at: Stored",
                  last_used_at as "last_used_at: Stored", revoked_at as "revoked_at: Stored"
           from alert_source_credentials where alert_source = any($1) order by created_at desc, id desc"#,
        &names,
    )
    .fetch_all(conn)
    .await?;
    let mut of_source: HashMap<String, Vec<Credential>> = HashMap::new();
    for row in credentials {
        of_source.entry(row.alert_source).or_default().push(Credential {
            id: row.id,
            kind: row.kind,
            created_at: row.created_at.to_jiff(),
            last_used_at: row.last_used_at.map(Stored::to_jiff),
            revoked_at: row.revoked_at.map(Stored::to_jiff),
        });
    }
    let sources = rows.into_iter().map(|row| AlertSource {
        credentials: of_source.remove(&row.name).unwrap_or_default(),
        name: row.name,
        created_at: row.created_at.to_jiff(),
        disabled_at: row.disabled_at.map(Stored::to_jiff),
    });
    Ok(sources.collect())
}

/// Disables an alert source, or enables it where there is no time.
pub async fn set_disabled(conn: &mut PgConnection, name: &str, at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query!(
        "update alert_sources set disabled_at = $2 where name = $1",
        name,
        at.map(Stored::from) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes an alert source with its credentials; false when there is none.
pub async fn delete(conn: &mut PgConnection, name: &str) -> Result<bool, Error> {
    let done = sqlx::query!("delete from alert_sources where name = $1", name);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Revokes a credential; false when the source has none of that id that is not revoked.
pub async fn revoke(conn: &mut PgConnection, name: &str, id: Uuid, at: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update alert_source_credentials set revoked_at = $3 \
         where id = $2 and alert_source = $1 and revoked_at is null",
        name,
        id,
        Stored::from(at) as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// The credential of a secret, also one that is good no more.
pub async fn present(conn: &mut PgConnection, hash: Digest) -> Result<Option<Presented>, Error> {
    Ok(sqlx::query_as!(
        Presented,
        r#"select id, alert_source, kind, revoked_at is not null as "is_revoked!",
                  disabled_at is not null as "is_disabled!",
                  coalesce(last_used_at > clock_timestamp() - interval '1 minute', false) as "is_use_noted!"
           from alert_source_credentials join alert_sources on name = alert_source where hash = $1"#,
        hash.as_bytes().as_slice(),
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes that a credential was used.
pub async fn note_use(conn: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    sqlx::query!("update alert_source_credentials set last_used_at = clock_timestamp() where id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}
