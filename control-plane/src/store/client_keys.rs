//! The keys that automation signs its requests with.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;
use crate::scope::Scope;

/// A key that a request names, with what is to be known of its client.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// Name of the client it belongs to.
    pub client: String,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: String,
    /// The secret, or the public key, as sealed.
    pub sealed_key: Vec<u8>,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// Whether its time is over.
    pub is_expired: bool,
    /// Whether its client was disabled, or whose client it is.
    pub is_client_disabled: bool,
    /// Whether its client's time is over.
    pub is_client_expired: bool,
    /// What the client may ask for at most.
    pub scope: Scope,
    /// How many requests a minute the client may send at most, if that is bounded.
    pub requests_per_minute: Option<u32>,
    /// Whether it was used within the last minute, as far as that is noted.
    pub is_use_noted: bool,
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
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
}

/// How many keys of a client can be used.
pub async fn count_live(conn: &mut PgConnection, client_id: Uuid) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        "select count(*) as \"count!\" from client_keys where client_id = $1 and revoked_at is null \
         and (expires_at is null or expires_at > clock_timestamp())",
        client_id
    )
    .fetch_one(conn)
    .await?)
}

/// Adds a key; false when the id is taken.
pub async fn insert(
    conn: &mut PgConnection,
    client_id: Uuid,
    key: NewKey<'_>,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into client_keys (id, client_id, algorithm, sealed_key, created_at, expires_at) \
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        key.id,
        client_id,
        key.algorithm,
        key.sealed_key,
        Stored::from(at) as _,
        key.expires_at.map(Stored::from) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes a key, if `client` is its client or is not given; the name of its client, or `None` when there is no such
/// key that is not revoked.
pub async fn revoke(
    conn: &mut PgConnection,
    client: Option<&str>,
    id: &str,
    at: Timestamp,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "update client_keys set revoked_at = $2 from clients \
         where client_keys.id = $1 and revoked_at is null and clients.id = client_keys.client_id \
             and ($3::text is null or clients.name = $3) \
         returning clients.name",
        id,
        Stored::from(at) as _,
        client,
    )
    .fetch_optional(conn)
    .await?)
}

/// Keys by their ids, also those that are good no more.
pub async fn find(conn: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, ClientKey>, Error> {
    let rows = sqlx::query!(
        r#"select client_keys.id, clients.name as client, algorithm, sealed_key, scope_actions, scope_namespaces,
               revoked_at is not null as "is_revoked!",
               coalesce(client_keys.expires_at <= clock_timestamp(), false) as "is_expired!",
               (clients.disabled_at is not null or users.disabled_at is not null) as "is_client_disabled!",
               requests_per_minute,
               coalesce(clients.expires_at <= clock_timestamp(), false) as "is_client_expired!",
               coalesce(last_used_at > clock_timestamp() - interval '1 minute', false) as "is_use_noted!"
           from client_keys join clients on clients.id = client_keys.client_id join users on users.id = owner_id
           where client_keys.id = any($1)"#,
        ids as _
    )
    .fetch_all(conn)
    .await?;
    let keys = rows.into_iter().map(|row| {
        let key = ClientKey {
            client: row.client,
            algorithm: row.algorithm,
            sealed_key: row.sealed_key,
            is_revoked: row.is_revoked,
            is_expired: row.is_expired,
            is_client_disabled: row.is_client_disabled,
            is_client_expired: row.is_client_expired,
            requests_per_minute: row.requests_per_minute.map(i32::cast_unsigned),
            scope: Scope { actions: row.scope_actions, namespaces: row.scope_namespaces },
            is_use_noted: row.is_use_noted,
        };
        (row.id, key)
    });
    Ok(keys.collect())
}

/// Notes that keys were used, unless that was noted within the last minute, by another replica too.
pub async fn note_use(conn: &mut PgConnection, ids: &[&str]) -> Result<(), Error> {
    sqlx::query!(
        "update client_keys set last_used_at = clock_timestamp() \
         where id in (select id from client_keys where id = any($1) \
             and (last_used_at is null or last_used_at <= clock_timestamp() - interval '1 minute') \
             for update skip locked)",
        ids as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The sealed secrets of all live keys that are shared secrets.
pub async fn sealed_secrets(conn: &mut PgConnection) -> Result<Vec<Vec<u8>>, Error> {
    Ok(sqlx::query_scalar!(
        "select sealed_key from client_keys where revoked_at is null and algorithm = 'hmac-sha256'"
    )
    .fetch_all(conn)
    .await?)
}
