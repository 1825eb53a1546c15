//! The keys that sign the log's checkpoints, besides its first one.

use aegis_contract::ids::EntryId;
use sqlx::PgConnection;

use crate::error::Error;

/// A key of the log.
#[derive(Clone, Debug)]
pub struct LogKey {
    /// The public key, as verifiers of signed notes take it.
    pub key: String,
    /// The private key's seed, as sealed.
    pub sealed_seed: Vec<u8>,
    /// The note by which the key before vouches for it.
    pub endorsement: String,
}

/// Every key that was added to the log `origin`, oldest first.
pub async fn list(conn: &mut PgConnection, origin: &str) -> Result<Vec<LogKey>, Error> {
    Ok(sqlx::query_as!(
        LogKey,
        "select key, sealed_seed, endorsement from audit.log_keys where origin = $1 order by number",
        origin
    )
    .fetch_all(conn)
    .await?)
}

/// Adds a key to the log `origin`.
pub async fn insert(
    conn: &mut PgConnection,
    origin: &str,
    new: &LogKey,
    entry_id: EntryId,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into audit.log_keys (origin, key, sealed_seed, endorsement, entry_id) values ($1, $2, $3, $4, $5)",
        origin,
        new.key,
        new.sealed_seed,
        new.endorsement,
        entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The keys of the log `origin` that sign no more.
pub async fn retired(conn: &mut PgConnection, origin: &str) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!("select key from audit.retired_log_keys where origin = $1", origin)
        .fetch_all(conn)
        .await?)
}

/// Lets a key of the log `origin` sign no more.
pub async fn retire(
    conn: &mut PgConnection,
    origin: &str,
    key: &str,
    entry_id: EntryId,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into audit.retired_log_keys (key, origin, entry_id) values ($1, $2, $3)",
        key,
        origin,
        entry_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}
