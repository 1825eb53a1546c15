//! Where to look for entries of the log: what each block of neighbours says, and where. Filled by
//! `service::filing`, which also says what a block is.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// Names the lock of whoever files, among all locks of this kind in the database.
const FILING: i64 = 0x6165_6769_735f_6669;

/// Blocks that are filed: all before this number.
pub async fn count(conn: &mut PgConnection) -> Result<u32, Error> {
    let count = sqlx::query_scalar!(r#"select coalesce(max(block) + 1, 0) as "count!" from audit.blocks"#);
    Ok(count.fetch_one(conn).await?.cast_unsigned())
}

/// Keeps all others from filing until the transaction ends; false when another does.
pub async fn lock(conn: &mut PgConnection) -> Result<bool, Error> {
    let taken = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "taken!""#, FILING);
    Ok(taken.fetch_one(conn).await?)
}

/// A block to file.
#[derive(Clone, Copy, Debug)]
pub struct NewBlock<'a> {
    /// Its number.
    pub block: u32,
    /// Time of its oldest entry, which need not be its first.
    pub oldest: Timestamp,
    /// Time of its newest.
    pub newest: Timestamp,
    /// What its entries say …
    pub terms: &'a [i64],
    /// … and which of them, for each term.
    pub places: &'a [Vec<u8>],
}

/// Files a block.
pub async fn insert(conn: &mut PgConnection, new: NewBlock<'_>) -> Result<(), Error> {
    let block = new.block.cast_signed();
    sqlx::query!(
        "insert into audit.blocks (block, oldest, newest) values ($1, $2, $3)",
        block,
        Stored::from(new.oldest) as _,
        Stored::from(new.newest) as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into audit.postings (term, block, places) \
         select term, $1, places from unnest($2::bigint[], $3::bytea[]) as filed (term, places)",
        block,
        new.terms,
        new.places,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which entries of a block say something.
#[derive(Clone, Debug)]
pub struct Posting {
    /// The block.
    pub block: u32,
    /// What they say.
    pub term: i64,
    /// Which they are.
    pub places: Vec<u8>,
}

/// What is filed under these terms in the blocks from `first` to before `end`.
pub async fn postings(
    conn: &mut PgConnection,
    terms: &[i64],
    first: u32,
    end: u32,
) -> Result<Vec<Posting>, Error> {
    let rows = sqlx::query!(
        "select term, block, places from audit.postings where term = any($1) and block >= $2 and block < $3",
        terms,
        first.cast_signed(),
        end.cast_signed(),
    )
    .fetch_all(conn)
    .await?;
    let posting = |block: i32, term, places| Posting { block: block.cast_unsigned(), term, places };
    Ok(rows.into_iter().map(|row| posting(row.block, row.term, row.places)).collect())
}

/// The times of a filed block: of its oldest entry and its newest.
pub async fn times(conn: &mut PgConnection, block: u32) -> Result<Option<(Timestamp, Timestamp)>, Error> {
    let row = sqlx::query!(
        r#"select oldest as "oldest: Stored", newest as "newest: Stored" from audit.blocks where block = $1"#,
        block.cast_signed(),
    );
    Ok(row.fetch_optional(conn).await?.map(|row| (row.oldest.to_jiff(), row.newest.to_jiff())))
}

/// The first and the last filed block that may hold entries from `from` on and before `to`.
pub async fn between(
    conn: &mut PgConnection,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Option<(u32, u32)>, Error> {
    let row = sqlx::query!(
        "select min(block) as first, max(block) as last from audit.blocks \
         where ($1::timestamptz is null or newest >= $1) and ($2::timestamptz is null or oldest < $2)",
        from.map(Stored::from) as _,
        to.map(Stored::from) as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(row.first.zip(row.last).map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned())))
}
