//! Automation, and what bounds it.

use std::collections::HashMap;

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;
use crate::scope::Scope;

/// What bounds a client. What is absent is not bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// What it may ask for at most.
    pub scope: Scope,
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
    /// How many requests it may send each minute.
    pub requests_per_minute: Option<u32>,
}

/// A client as it is shown.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its unique name.
    pub name: String,
    /// The person who answers for it.
    pub owner: UserId,
    /// Their e-mail address.
    pub owner_email: String,
    /// What bounds it.
    pub bounds: Bounds,
    /// When it was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// Since when it is known.
    pub created_at: Timestamp,
    /// Its keys, the newest first, revoked ones too.
    pub keys: Vec<Key>,
}

/// A key as it is shown.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A client that nobody else changes before the end of the transaction.
#[derive(Clone, Debug)]
pub struct Locked {
    /// Its id.
    pub id: Uuid,
    /// What bounds it.
    pub bounds: Bounds,
    /// Whether it was disabled.
    pub is_disabled: bool,
}

/// Adds a client; false when the name is taken.
pub async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    name: &str,
    owner: UserId,
    bounds: &Bounds,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into clients (id, name, owner_id, created_at, scope_actions, scope_namespaces, expires_at, \
             requests_per_minute) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        id,
        name,
        owner.0,
        Stored::from(at) as _,
        bounds.scope.actions.as_deref(),
        bounds.scope.namespaces.as_deref(),
        bounds.expires_at.map(Stored::from) as _,
        bounds.requests_per_minute.map(u32::cast_signed),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Clients by name, those after `after`.
pub async fn list(conn: &mut PgConnection, after: Option<&str>, limit: i64) -> Result<Vec<Client>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select clients.id, clients.name, owner_id, email as owner_email, scope_actions, scope_namespaces, \
             expires_at, requests_per_minute, clients.disabled_at, clients.created_at \
         from clients join users on users.id = owner_id \
         where $1::text is null or clients.name > $1 order by clients.name limit $2",
        after,
        limit,
    )
    .fetch_all(&mut *conn)
    .await?;
    with_keys(conn, rows).await
}

/// One client.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Client>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select clients.id, clients.name, owner_id, email as owner_email, scope_actions, scope_namespaces, \
             expires_at, requests_per_minute, clients.disabled_at, clients.created_at \
         from clients join users on users.id = owner_id where clients.name = $1",
        name
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(with_keys(conn, rows).await?.pop())
}

struct Row {
    id: Uuid,
    name: String,
    owner_id: Uuid,
    owner_email: String,
    scope_actions: Option<Vec<String>>,
    scope_namespaces: Option<Vec<String>>,
    expires_at: Option<Stored>,
    requests_per_minute: Option<i32>,
    disabled_at: Option<Stored>,
    created_at: Stored,
}

impl Row {
    fn with(self, keys: Vec<Key>) -> Client {
        Client {
            name: self.name,
            owner: UserId(self.owner_id),
            owner_email: self.owner_email,
            bounds: Bounds {
                scope: Scope { actions: self.scope_actions, namespaces: self.scope_namespaces },
                expires_at: self.expires_at.map(|at| at.to_jiff()),
                requests_per_minute: self.requests_per_minute.map(i32::cast_unsigned),
            },
            disabled_at: self.disabled_at.map(|at| at.to_jiff()),
            created_at: self.created_at.to_jiff(),
            keys,
        }
    }
}

async fn with_keys(conn: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Client>, Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let keys = sqlx::query!(
        r#"select id, client_id, algorithm, created_at as "created_at: Stored", expires_at as "expires_at: Stored",
                  last_used_at as "last_used_at: Stored", revoked_at as "revoked_at: Stored"
           from client_keys where client_id = any($1) order by created_at desc, id"#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let mut of_client: HashMap<Uuid, Vec<Key>> = HashMap::new();
    for key in keys {
        of_client.entry(key.client_id).or_default().push(Key {
            id: key.id,
            algorithm: key.algorithm,
            created_at: key.created_at.to_jiff(),
            expires_at: key.expires_at.map(|at| at.to_jiff()),
            last_used_at: key.last_used_at.map(|at| at.to_jiff()),
            revoked_at: key.revoked_at.map(|at| at.to_jiff()),
        });
    }
    let keys_of = |row: Row| {
        let keys = of_client.remove(&row.id).unwrap_or_default();
        row.with(keys)
    };
    Ok(rows.into_iter().map(keys_of).collect())
}

/// The names of all clients, at most `limit` of them.
pub async fn names(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!("select name from clients order by name limit $1", limit).fetch_all(conn).await?)
}

/// The client of a name, locked so that it changes once at a time, and its keys are counted so.
pub async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<Locked>, Error> {
    let row = sqlx::query!(
        r#"select id, scope_actions, scope_namespaces, expires_at as "expires_at: Stored", requests_per_minute,
                  disabled_at is not null as "is_disabled!"
           from clients where name = $1 for update"#,
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Locked {
        id: row.id,
        bounds: Bounds {
            scope: Scope { actions: row.scope_actions, namespaces: row.scope_namespaces },
            expires_at: row.expires_at.map(|at| at.to_jiff()),
            requests_per_minute: row.requests_per_minute.map(i32::cast_unsigned),
        },
        is_disabled: row.is_disabled,
    }))
}

/// Bounds a client otherwise.
pub async fn set_bounds(conn: &mut PgConnection, id: Uuid, bounds: &Bounds) -> Result<(), Error> {
    sqlx::query!(
        "update clients set scope_actions = $2, scope_namespaces = $3, expires_at = $4, requests_per_minute = $5 \
         where id = $1",
        id,
        bounds.scope.actions.as_deref(),
        bounds.scope.namespaces.as_deref(),
        bounds.expires_at.map(Stored::from) as _,
        bounds.requests_per_minute.map(u32::cast_signed),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Disables a client, or enables it where there is no time.
pub async fn set_disabled(conn: &mut PgConnection, id: Uuid, at: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query!("update clients set disabled_at = $2 where id = $1", id, at.map(Stored::from) as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// The person who answers for a client.
pub async fn owner(conn: &mut PgConnection, name: &str) -> Result<Option<UserId>, Error> {
    let id = sqlx::query_scalar!("select owner_id from clients where name = $1", name);
    Ok(id.fetch_optional(conn).await?.map(UserId))
}
