//! Webhooks: who outside is told of what.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A webhook without its secrets.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where deliveries go.
    pub url: String,
    /// Kinds of entries to tell of; empty: all that are told.
    pub events: Vec<String>,
    /// Principals whose actions to tell of; empty: everybody's.
    pub requested_by: Vec<String>,
    /// Until when the secret before the present one signs too.
    pub previous_secret_until: Option<Stored>,
    /// When it was first stored.
    pub created_at: Stored,
    /// When it last changed.
    pub updated_at: Stored,
}

/// What a writer says of a webhook.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Where deliveries go.
    pub url: &'a str,
    /// Kinds of entries to tell of.
    pub events: &'a [String],
    /// Principals whose actions to tell of.
    pub requested_by: &'a [String],
}

/// Webhooks by name, those after `after`.
pub async fn list(conn: &mut PgConnection, after: Option<&str>, limit: i64) -> Result<Vec<Webhook>, Error> {
    Ok(sqlx::query_as!(
        Webhook,
        "select name, url, events, requested_by, previous_secret_until, created_at, updated_at from webhooks \
         where $1::text is null or name > $1 order by name limit $2",
        after,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// One webhook.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Webhook>, Error> {
    Ok(sqlx::query_as!(
        Webhook,
        "select name, url, events, requested_by, previous_secret_until, created_at, updated_at from webhooks \
         where name = $1",
        name
    )
    .fetch_optional(conn)
    .await?)
}

/// How many there are.
pub async fn count(conn: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!("select count(*) as \"count!\" from webhooks").fetch_one(conn).await?)
}

/// Adds a webhook; false when the name is taken.
pub async fn insert(
    conn: &mut PgConnection,
    name: &str,
    content: Content<'_>,
    sealed_secret: &[u8],
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into webhooks (name, url, events, requested_by, sealed_secret, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $6) on conflict do nothing",
        name,
        content.url,
        content.events,
        content.requested_by,
        sealed_secret,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes a webhook; its secret stays. False when there is none of that name.
pub async fn update(
    conn: &mut PgConnection,
    name: &str,
    content: Content<'_>,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update webhooks set url = $2, events = $3, requested_by = $4, updated_at = $5 where name = $1",
        name,
        content.url,
        content.events,
        content.requested_by,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a webhook another secret; the present one signs too until `previous_until`. False when there
/// is none of that name.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    name: &str,
    sealed_secret: &[u8],
    previous_until: Timestamp,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update webhooks set sealed_previous_secret = sealed_secret, previous_secret_until = $3, \
             sealed_secret = $2, updated_at = $4 where name = $1",
        name,
        sealed_secret,
        Stored::from(previous_until) as _,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a webhook with everything that was sent to it; false when there is none of that name.
pub async fn delete(conn: &mut PgConnection, name: &str) -> Result<bool, Error> {
    let done = sqlx::query!("delete from webhooks where name = $1", name).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}
