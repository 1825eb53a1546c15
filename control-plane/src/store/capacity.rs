//! How much room is taken.

use sqlx::PgConnection;

use crate::error::Error;

/// The size of the whole database on disk. Postgres looks at every file: ask seldom.
///
/// # Errors
/// Those of the database.
pub async fn database_bytes(conn: &mut PgConnection) -> Result<u64, Error> {
    let bytes = sqlx::query_scalar!(r#"select pg_database_size(current_database()) as "bytes!""#)
        .fetch_one(conn)
        .await?;
    u64::try_from(bytes).map_err(Error::internal)
}
