//! Entries of one kind up to a time, for asking what held then.

use aegis_contract::ids::EntryId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use super::stories::Placed;
use crate::error::Error;

/// Which entries.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of this kind.
    pub kind: &'static str,
    /// Up to this time, which is in it.
    pub until: Timestamp,
    /// Those that come before, or after, this one.
    pub beyond: Option<EntryId>,
}

/// The newest ones first.
pub async fn newest(conn: &mut PgConnection, wanted: Wanted, limit: i64) -> Result<Vec<Placed>, Error> {
    let rows = sqlx::query!(
        r#"select index, body as "body!" from audit.recorded
           where kind = $1 and at <= $2 and ($3::uuid is null or id < $3) order by id desc limit $4"#,
        wanted.kind,
        Stored::from(wanted.until) as _,
        wanted.beyond.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Placed::of(row.index, row.body)).collect())
}

/// The oldest ones first.
pub async fn oldest(conn: &mut PgConnection, wanted: Wanted, limit: i64) -> Result<Vec<Placed>, Error> {
    let rows = sqlx::query!(
        r#"select index, body as "body!" from audit.recorded
           where kind = $1 and at <= $2 and ($3::uuid is null or id > $3) order by id limit $4"#,
        wanted.kind,
        Stored::from(wanted.until) as _,
        wanted.beyond.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Placed::of(row.index, row.body)).collect())
}
