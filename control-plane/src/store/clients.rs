//! Automation and its keys.

use std::collections::HashMap;

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// Name of the client it belongs to.
    pub client: String,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: String,
    /// The secret, or the public key, as sealed.
    pub sealed_key: Vec<u8>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A key to add.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    /// Its id.
    pub id: &'a str,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: &'static str,
    /// The secret, or the public key, as sealed.
    pub sealed_key: &'a [u8],
}

/// Adds a client; false when the name is taken.
pub async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    name: &str,
    owner: UserId,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into clients (id, name, owner_id, created_at) values ($1, $2, $3, $4) on conflict do nothing",
        id,
        name,
        owner.0,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The names of all clients, at most `limit` of them.
pub async fn names(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!("select name from clients order by name limit $1", limit).fetch_all(conn).await?)
}

/// The client of a name, locked so that its keys are counted one change at a time.
pub async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!("select id from clients where name = $1 for update", name)
        .fetch_optional(conn)
        .await?)
}

/// The person who answers for a client.
pub async fn owner(conn: &mut PgConnection, name: &str) -> Result<Option<UserId>, Error> {
    let id = sqlx::query_scalar!("select owner_id from clients where name = $1", name);
    Ok(id.fetch_optional(conn).await?.map(UserId))
}

/// How many keys of a client are not revoked.
pub async fn count_live_keys(conn: &mut PgConnection, client_id: Uuid) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        "select count(*) as \"count!\" from client_keys where client_id = $1 and revoked_at is null",
        client_id
    )
    .fetch_one(conn)
    .await?)
}

/// Adds a key; false when the id is taken.
pub async fn insert_key(
    conn: &mut PgConnection,
    client_id: Uuid,
    key: NewKey<'_>,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into client_keys (id, client_id, algorithm, sealed_key, created_at) values ($1, $2, $3, $4, $5) \
         on conflict do nothing",
        key.id,
        client_id,
        key.algorithm,
        key.sealed_key,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes a key; the name of its client, or `None` when there is no such live key.
pub async fn revoke_key(conn: &mut PgConnection, id: &str, at: Timestamp) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "update client_keys set revoked_at = $2 from clients \
         where client_keys.id = $1 and revoked_at is null and clients.id = client_keys.client_id \
         returning clients.name",
        id,
        Stored::from(at) as _,
    )
    .fetch_optional(conn)
    .await?)
}

/// Keys by their ids, revoked ones too.
pub async fn find_keys(conn: &mut PgConnection, ids: &[&str]) -> Result<HashMap<String, ClientKey>, Error> {
    let rows = sqlx::query!(
        r#"select client_keys.id, clients.name as client, algorithm, sealed_key,
               revoked_at is not null as "revoked!"
           from client_keys join clients on clients.id = client_keys.client_id
           where client_keys.id = any($1)"#,
        ids as _
    )
    .fetch_all(conn)
    .await?;
    let key = |client, algorithm, sealed_key, revoked| ClientKey { client, algorithm, sealed_key, revoked };
    Ok(rows
        .into_iter()
        .map(|row| (row.id, key(row.client, row.algorithm, row.sealed_key, row.revoked)))
        .collect())
}

/// The sealed secrets of all live keys that are shared secrets.
pub async fn sealed_secrets(conn: &mut PgConnection) -> Result<Vec<Vec<u8>>, Error> {
    Ok(sqlx::query_scalar!(
        "select sealed_key from client_keys where revoked_at is null and algorithm = 'hmac-sha256'"
    )
    .fetch_all(conn)
    .await?)
}
