//! The log in its order: what waits for its place, tiles and checkpoints, and whose turn it is to add.

use std::collections::BTreeMap;

use aegis_contract::ids::EntryId;
use aegis_evidence::{Hash, Head, Tile, TileGrowth};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// Names the lock of the session that holds the turn, among all locks of this kind in the database.
const TURN: i64 = 0x6165_6769_735f_6c6f;

/// Takes the turn for the session of `conn`, until it ends; false when another session has it.
pub async fn take_turn(conn: &mut PgConnection) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "taken!""#, TURN).fetch_one(conn).await?)
}

/// Ends the session that has the turn.
pub async fn end_turn(conn: &mut PgConnection) -> Result<(), Error> {
    // `objsubid` 1 says that the lock is named by one number of 64 bits, in two halves.
    sqlx::query!(
        "select pg_terminate_backend(pid) from pg_locks \
         where locktype = 'advisory' and granted and objsubid = 1 \
           and database = (select oid from pg_database where datname = current_database()) \
           and (classid::bigint << 32) | objid::bigint = $1",
        TURN,
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Begins the turn: its number, and the size of the log. Earlier turns add nothing from here on. The session may do
/// nothing else afterwards.
pub async fn begin_epoch(conn: &mut PgConnection) -> Result<(i64, u64), Error> {
    sqlx::query!("set role aegis_sequencer").execute(&mut *conn).await?;
    let begun = sqlx::query!(r#"select epoch as "epoch!", size as "size!" from audit.begin_epoch()"#)
        .fetch_one(conn)
        .await?;
    Ok((begun.epoch, begun.size.cast_unsigned()))
}

/// The entry that waits for its place longest, if any does.
pub async fn first_waiting(conn: &mut PgConnection) -> Result<Option<EntryId>, Error> {
    let first = sqlx::query_scalar!(r#"select id as "id!" from audit.waiting order by id limit 1"#);
    Ok(first.fetch_optional(conn).await?.map(EntryId))
}

/// An entry that waits for its place.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// The entry.
    pub id: Uuid,
    /// The hash of its bytes.
    pub leaf: Hash,
}

/// Those that wait and come after `after`, the oldest first, at most `limit`.
pub async fn waiting(conn: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query!(
        r#"select id as "id!", leaf as "leaf!" from audit.waiting where id > $1 order by id limit $2"#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok(Waiting { id: row.id, leaf: hash(&row.leaf)? })).collect()
}

/// Entries in their places, with all that proves it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The turn it is part of.
    pub epoch: i64,
    /// The place of its first entry.
    pub first: u64,
    /// Its entries in their order.
    pub entries: &'a [Waiting],
    /// What it adds to the tree's tiles.
    pub growth: &'a [TileGrowth],
    /// The head that comes of it, signed.
    pub checkpoint: &'a str,
}

/// Gives the entries of a batch their places, all or none of them.
///
/// # Errors
/// When the turn is over, the log has another size, or an entry is not as it was hashed; those of the
/// database.
pub async fn integrate(conn: &mut PgConnection, batch: Batch<'_>) -> Result<(), Error> {
    let Batch { epoch, first, entries, growth, checkpoint } = batch;
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
    let leaves: Vec<&[u8]> = entries.iter().map(|entry| entry.leaf.as_bytes().as_slice()).collect();
    let levels: Vec<i16> = growth.iter().map(|tile| tile.level.into()).collect();
    let indexes: Vec<i64> = growth.iter().map(|tile| tile.index.cast_signed()).collect();
    let starts: Vec<i16> = growth.iter().map(|tile| tile.offset.cast_signed()).collect();
    let hashes: Vec<Vec<u8>> = growth.iter().map(|tile| bytes(&tile.hashes)).collect();
    sqlx::query!(
        "select audit.integrate($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        epoch,
        first.cast_signed(),
        &ids,
        &leaves as _,
        &levels,
        &indexes,
        &starts,
        &hashes,
        checkpoint,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// The first checkpoint of a log of at least `size` entries.
#[derive(Clone, Debug)]
pub struct StoredCheckpoint {
    /// Entries of the log.
    pub size: u64,
    /// When it was stored, by the database's clock.
    pub at: Timestamp,
    /// The signed note.
    pub note: String,
}

/// The newest checkpoint; none while the log is empty.
pub async fn newest_checkpoint(conn: &mut PgConnection) -> Result<Option<StoredCheckpoint>, Error> {
    let row = sqlx::query!(
        r#"select size, at as "at: Stored", note from audit.checkpoints order by size desc limit 1"#
    );
    let row = row.fetch_optional(conn).await?;
    let stored =
        |size: i64, at: Stored, note| StoredCheckpoint { size: size.cast_unsigned(), at: at.to_jiff(), note };
    Ok(row.map(|row| stored(row.size, row.at, row.note)))
}

/// The checkpoint of a log of exactly `size` entries; none where a batch did not end there.
pub async fn checkpoint(conn: &mut PgConnection, size: u64) -> Result<Option<String>, Error> {
    let note = sqlx::query_scalar!("select note from audit.checkpoints where size = $1", size.cast_signed());
    Ok(note.fetch_optional(conn).await?)
}

/// When the entry at `index` came under a checkpoint, by the database's clock.
pub async fn covered_at(conn: &mut PgConnection, index: u64) -> Result<Option<Timestamp>, Error> {
    let at = sqlx::query_scalar!(
        r#"select at as "at: Stored" from audit.checkpoints where size > $1 order by size limit 1"#,
        index.cast_signed(),
    );
    Ok(at.fetch_optional(conn).await?.map(|at| at.to_jiff()))
}

/// The hashes of each of these tiles, one after the other; all that are stored, which may be more than
/// the tile's width. A tile that is not there, or has a gap, is left out.
pub async fn tiles(
    conn: &mut PgConnection,
    wanted: impl IntoIterator<Item = Tile>,
) -> Result<BTreeMap<Tile, Vec<u8>>, Error> {
    let wanted: Vec<Tile> = wanted.into_iter().collect();
    let levels: Vec<i16> = wanted.iter().map(|tile| tile.level().into()).collect();
    let indexes: Vec<i64> = wanted.iter().map(|tile| tile.index().cast_signed()).collect();
    let rows = sqlx::query!(
        r#"select w.place as "place!", string_agg(t.hashes, ''::bytea order by t.start) as "hashes!",
               array_agg(t.start order by t.start) as "starts!",
               array_agg(octet_length(t.hashes) order by t.start) as "lengths!"
           from unnest($1::smallint[], $2::bigint[]) with ordinality as w (level, index, place)
               join audit.tiles t on t.level = w.level and t.index = w.index
           group by w.place"#,
        &levels,
        &indexes,
    )
    .fetch_all(conn)
    .await?;
    let place = |place: i64| usize::try_from(place - 1).ok().and_then(|place| wanted.get(place).copied());
    let whole = rows.into_iter().filter(|row| is_gapless(&row.starts, &row.lengths));
    Ok(whole.filter_map(|row| Some((place(row.place)?, row.hashes))).collect())
}

/// Whether parts of a tile, so many bytes long, begin where the ones before end.
fn is_gapless(starts: &[i16], lengths: &[i32]) -> bool {
    let mut bytes = 0;
    starts.iter().zip(lengths).all(|(start, length)| {
        let begins = i64::from(*start) * 32 == bytes;
        bytes += i64::from(*length);
        begins
    })
}

/// Where the oldest partition begins and ends; none while it is the one that is being filled. Only the owner may ask.
pub async fn oldest_partition(conn: &mut PgConnection) -> Result<Option<(u64, u64)>, Error> {
    let begins =
        sqlx::query_scalar!(r#"select audit.partitions() as "first!" limit 2"#).fetch_all(conn).await?;
    Ok(match *begins {
        [first, next] => Some((first.cast_unsigned(), next.cast_unsigned())),
        _ => None,
    })
}

/// A partition that is a table of its own now.
#[derive(Clone, Debug)]
pub struct DetachedPartition {
    /// The table's name.
    pub table: String,
    /// Entries that stay, because something rests on them.
    pub kept: i64,
}

/// Takes the partition that begins at `first` out of the log's table. Only the owner may.
pub async fn detach_partition(conn: &mut PgConnection, first: u64) -> Result<DetachedPartition, Error> {
    Ok(sqlx::query_as!(
        DetachedPartition,
        r#"select name as "table!", kept as "kept!" from audit.detach_partition($1)"#,
        first.cast_signed()
    )
    .fetch_one(conn)
    .await?)
}

/// Notes that a cluster's executor holds a head that the log `origin` never had.
pub async fn insert_fork(
    conn: &mut PgConnection,
    origin: &str,
    cluster: &str,
    held: Option<Head>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into audit.forks (origin, cluster, held_size, held_root, note) \
         values ($1, $2, $3, $4, (select note from audit.checkpoints order by size desc limit 1))",
        origin,
        cluster,
        held.map(|head| head.size.cast_signed()),
        held.map(|head| head.root.as_bytes().to_vec()),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether an executor was found to hold a head that the log `origin` never had.
pub async fn is_forked(conn: &mut PgConnection, origin: &str) -> Result<bool, Error> {
    let found =
        sqlx::query_scalar!(r#"select exists (select from audit.forks where origin = $1) as "is!""#, origin);
    Ok(found.fetch_one(conn).await?)
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn hash(bytes: &[u8]) -> Result<Hash, Error> {
    bytes.try_into().map(Hash::from_bytes).map_err(Error::internal)
}
