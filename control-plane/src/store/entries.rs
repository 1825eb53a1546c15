//! The audit entries and the texts beside them. Only `audit::append` writes here.

use aegis_contract::ids::{ActionId, EntryId};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// An entry to insert.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Its id.
    pub id: EntryId,
    /// What happened.
    pub kind: &'a str,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub principal: &'a str,
    /// The action it belongs to.
    pub action_id: Option<ActionId>,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// The canonical bytes of the whole entry.
    pub body: &'a [u8],
}

/// Inserts one entry.
pub async fn insert(conn: &mut PgConnection, entry: NewEntry<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into audit.pending (id, kind, at, principal, action_id, request_id, body) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        entry.id.0,
        entry.kind,
        Stored::from(entry.at) as _,
        entry.principal,
        entry.action_id.map(|id| id.0),
        entry.request_id,
        entry.body,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Inserts entries by one statement, however many they are.
pub async fn insert_all(conn: &mut PgConnection, new: &[NewEntry<'_>]) -> Result<(), Error> {
    let ids: Vec<Uuid> = new.iter().map(|entry| entry.id.0).collect();
    let kinds: Vec<&str> = new.iter().map(|entry| entry.kind).collect();
    let times: Vec<Stored> = new.iter().map(|entry| entry.at.into()).collect();
    let principals: Vec<&str> = new.iter().map(|entry| entry.principal).collect();
    let action_ids: Vec<Option<Uuid>> = new.iter().map(|entry| entry.action_id.map(|id| id.0)).collect();
    let request_ids: Vec<Option<&str>> = new.iter().map(|entry| entry.request_id).collect();
    let bodies: Vec<&[u8]> = new.iter().map(|entry| entry.body).collect();
    sqlx::query!(
        "insert into audit.pending (id, kind, at, principal, action_id, request_id, body) \
         select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::uuid[], $6::text[], \
             $7::bytea[])",
        &ids,
        &kinds as _,
        &times as _,
        &principals as _,
        &action_ids as _,
        &request_ids as _,
        &bodies as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores a text from a person.
pub async fn insert_text(conn: &mut PgConnection, id: Uuid, text: &str) -> Result<(), Error> {
    sqlx::query!("insert into audit.texts (id, body) values ($1, $2)", id, text).execute(conn).await?;
    Ok(())
}

/// A text from a person, unless it was erased.
pub async fn find_text(conn: &mut PgConnection, id: Uuid) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!("select body from audit.texts where id = $1", id).fetch_optional(conn).await?)
}

/// What to look for in the log, as far as columns say it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Entries of this action.
    pub action_id: Option<ActionId>,
    /// Entries of this kind.
    pub kind: Option<String>,
    /// Entries of this principal.
    pub principal: Option<String>,
    /// Entries caused by this request.
    pub request_id: Option<String>,
    /// Entries at or after this time.
    pub from: Option<Timestamp>,
    /// Entries before this time.
    pub to: Option<Timestamp>,
}

/// What must be so of an entry's row for it to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Sieve {
    /// It is at or after this time.
    pub from: Option<Timestamp>,
    /// It is before this time.
    pub to: Option<Timestamp>,
    /// Its bytes hold all of these.
    pub needles: Vec<Vec<u8>>,
    /// Its bytes hold this: a character for each byte, and no capitals of ASCII.
    pub lowered: Option<String>,
}

/// An entry as stored.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Its place; none while it waits for one.
    pub index: Option<u64>,
    /// Its id.
    pub id: EntryId,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

// To times nothing is added, so that no index of them is a reason to look anywhere but at these places.

/// Entries at the places from `first` to before `end` that pass the sieve, in their order.
pub async fn window(
    conn: &mut PgConnection,
    sieve: &Sieve,
    first: u64,
    end: u64,
) -> Result<Vec<StoredEntry>, Error> {
    let rows = sqlx::query!(
        r#"select index as "index!", id as "id!", body as "body!" from audit.recorded
           where index >= $1 and index < $2
               and ($3::timestamptz is null or at + '0'::interval >= $3)
               and ($4::timestamptz is null or at + '0'::interval < $4)
               and not exists (select from unnest($5::bytea[]) needle where position(needle in body) = 0)
               and ($6::text is null or audit.holds(body, $6))
           order by index"#,
        first.cast_signed(),
        end.cast_signed(),
        sieve.from.map(Stored::from) as _,
        sieve.to.map(Stored::from) as _,
        &sieve.needles,
        sieve.lowered,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| placed(row.index, row.id, row.body)).collect())
}

/// Those at these places that pass the sieve, but for its needles, in their order.
pub async fn at_places(
    conn: &mut PgConnection,
    sieve: &Sieve,
    places: &[u64],
) -> Result<Vec<StoredEntry>, Error> {
    let places: Vec<i64> = places.iter().map(|place| place.cast_signed()).collect();
    let rows = sqlx::query!(
        r#"select index as "index!", id as "id!", body as "body!" from audit.recorded
           where index = any($1) and index >= $2 and index <= $3
               and ($4::timestamptz is null or at + '0'::interval >= $4)
               and ($5::timestamptz is null or at + '0'::interval < $5)
               and ($6::text is null or audit.holds(body, $6))
           order by index"#,
        &places,
        places.iter().min(),
        places.iter().max(),
        sieve.from.map(Stored::from) as _,
        sieve.to.map(Stored::from) as _,
        sieve.lowered,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| placed(row.index, row.id, row.body)).collect())
}

fn placed(index: i64, id: Uuid, body: Vec<u8>) -> StoredEntry {
    StoredEntry { index: Some(index.cast_unsigned()), id: EntryId(id), body }
}

/// Entries that wait for their place and pass the sieve, but for its text: at most `limit` after `after`, the oldest
/// first.
pub async fn unplaced(
    conn: &mut PgConnection,
    sieve: &Sieve,
    after: Uuid,
    limit: i64,
) -> Result<Vec<StoredEntry>, Error> {
    let rows = sqlx::query!(
        r#"select id as "id!", body as "body!" from audit.unplaced
           where id > $1
               and ($2::timestamptz is null or at >= $2)
               and ($3::timestamptz is null or at < $3)
               and not exists (select from unnest($4::bytea[]) needle where position(needle in body) = 0)
           order by id limit $5"#,
        after,
        sieve.from.map(Stored::from) as _,
        sieve.to.map(Stored::from) as _,
        &sieve.needles,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let waiting = |id, body| StoredEntry { index: None, id: EntryId(id), body };
    Ok(rows.into_iter().map(|row| waiting(row.id, row.body)).collect())
}

/// The bytes of the newest entry of a kind.
pub async fn newest_of_kind(conn: &mut PgConnection, kind: &str) -> Result<Option<Vec<u8>>, Error> {
    let body = sqlx::query_scalar!(
        r#"select body as "body!" from audit.recorded where kind = $1 order by id desc limit 1"#,
        kind
    );
    Ok(body.fetch_optional(conn).await?)
}

/// An entry in its place, and what it is filed under.
#[derive(Clone, Debug)]
pub struct Filed {
    /// Its place.
    pub index: u64,
    /// The canonical bytes: what is proven.
    pub body: Vec<u8>,
    /// Its id.
    pub id: EntryId,
    /// What happened.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub principal: String,
    /// The action it belongs to.
    pub action_id: Option<ActionId>,
    /// The request that caused it.
    pub request_id: Option<String>,
}

/// What is filed under `filter` at the places from `first` to before `end`, in their order, and the place to go on
/// from: `end`, or behind the entry with which there are `bytes_max` bytes.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    first: u64,
    end: u64,
    bytes_max: i64,
) -> Result<(Vec<Filed>, u64), Error> {
    let rows = sqlx::query!(
        r#"select index as "index!", id as "id!", kind as "kind!", at as "at!: Stored",
               principal as "principal!", action_id, request_id, body as "body!"
           from (
               select *, sum(octet_length(body)) over (order by index) - octet_length(body) as bytes_before
               from audit.recorded
               where index >= $1 and index < $2
                   and ($3::uuid is null or action_id = $3)
                   and ($4::text is null or kind = $4)
                   and ($5::text is null or principal = $5)
                   and ($6::text is null or request_id = $6)
                   and ($7::timestamptz is null or at >= $7)
                   and ($8::timestamptz is null or at < $8)
           ) filed
           where bytes_before < $9
           order by index"#,
        first.cast_signed(),
        end.cast_signed(),
        filter.action_id.map(|id| id.0),
        filter.kind.as_deref(),
        filter.principal.as_deref(),
        filter.request_id.as_deref(),
        filter.from.map(Stored::from) as _,
        filter.to.map(Stored::from) as _,
        bytes_max,
    )
    .fetch_all(conn)
    .await?;
    let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
    let is_cut = i64::try_from(bytes).is_ok_and(|bytes| bytes >= bytes_max);
    let next = match rows.last() {
        Some(last) if is_cut => last.index.cast_unsigned() + 1,
        _ => end,
    };
    let filed = rows.into_iter().map(|row| Filed {
        index: row.index.cast_unsigned(),
        body: row.body,
        id: EntryId(row.id),
        kind: row.kind,
        at: row.at.to_jiff(),
        principal: row.principal,
        action_id: row.action_id.map(ActionId),
        request_id: row.request_id,
    });
    Ok((filed.collect(), next))
}

/// One entry's bytes.
pub async fn find(conn: &mut PgConnection, id: EntryId) -> Result<Option<Vec<u8>>, Error> {
    Ok(sqlx::query_scalar!(r#"select body as "body!" from audit.recorded where id = $1"#, id.0)
        .fetch_optional(conn)
        .await?)
}

/// An entry's place in the log; within, nothing while it waits for it.
pub async fn place(conn: &mut PgConnection, id: EntryId) -> Result<Option<Option<u64>>, Error> {
    let index = sqlx::query_scalar!("select index from audit.recorded where id = $1", id.0);
    Ok(index.fetch_optional(conn).await?.map(|index| index.map(i64::cast_unsigned)))
}
