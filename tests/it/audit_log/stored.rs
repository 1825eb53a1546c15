//! The log as it is stored, and what somebody can tell of it who has the log's public key and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use aegis_evidence::{Hash, Head, LogKeys, Plan, RightEdge, Tile, proof};
use aegis_tests::stack::Stack;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

/// A verifier of what the control plane's own command prints.
pub(super) async fn log_keys(stack: &Stack) -> Result<LogKeys> {
    let printed: Value = serde_json::from_str(&stack.command(["log-key"]).await?)?;
    let key = printed["key"].as_str().context("a key is printed")?;
    Ok(LogKeys::new(vec![key.parse()?])?)
}

/// Everything that is stored of a log.
pub(super) struct StoredLog {
    /// Place, id and bytes of each entry.
    pub(super) entries: Vec<(i64, String, Vec<u8>)>,
    /// Level, index, start and hashes.
    tiles: Vec<(i16, i64, i16, Vec<u8>)>,
    /// Size, turn and note of each checkpoint.
    pub(super) checkpoints: Vec<(i64, i64, String)>,
    /// Entries without a place.
    pub(super) pending: i64,
}

impl StoredLog {
    pub(super) async fn of(stack: &Stack) -> Result<Self> {
        let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
        // One snapshot.
        raw_sql("begin isolation level repeatable read").execute(&mut conn).await?;
        let log = Self::read(&mut conn).await?;
        conn.close().await?;
        Ok(log)
    }

    pub(super) async fn read(conn: &mut PgConnection) -> Result<Self> {
        let rows = select(conn, "select index, id::text, body from audit.entries order by index").await?;
        let entries = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        let entries = entries.collect::<Result<_>>()?;
        let rows =
            select(conn, "select level, index, start, hashes from audit.tiles order by 1, 2, 3").await?;
        let tiles =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
        let tiles = tiles.collect::<Result<_>>()?;
        let rows = select(conn, "select size, epoch, note from audit.checkpoints order by size").await?;
        let checkpoints = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        let checkpoints = checkpoints.collect::<Result<_>>()?;
        let rows = select(conn, "select count(*) from audit.pending").await?;
        let pending = rows.first().context("a count")?.try_get(0)?;
        Ok(Self { entries, tiles, checkpoints, pending })
    }

    /// Whether all of it fits together: every place is taken by one entry, every checkpoint has the root of the
    /// entries before it and grows from the one before, and the tiles hold the hashes of the tree and no others.
    pub(super) fn verify(&self, keys: &LogKeys) -> Result<()> {
        let mut edge = RightEdge::EMPTY;
        let mut tiles: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
        let mut checkpoints = self.checkpoints.iter().peekable();
        let mut ids = BTreeSet::new();
        let mut heads: Vec<Head> = Vec::new();
        for (place, (index, id, body)) in self.entries.iter().enumerate() {
            ensure!(usize::try_from(*index)? == place, "entry {place} is missing, or another is there twice");
            let named: Value = serde_json::from_slice(body)?;
            ensure!(named["id"] == **id, "entry {place} is called {id} and calls itself {}", named["id"]);
            ensure!(ids.insert(id), "entry {id} has two places");
            for growth in edge.append_batch(&[Hash::leaf(body)]) {
                let tile = tiles.entry((growth.level, growth.index)).or_default();
                tile.extend(growth.hashes.iter().flat_map(|hash| *hash.as_bytes()));
            }
            if let Some((size, _, note)) =
                checkpoints.next_if(|(size, ..)| size.cast_unsigned() == edge.size())
            {
                let head = keys.open(note.as_bytes())?.head;
                ensure!(head == edge.head(), "the checkpoint of {size} entries has another root");
                heads.push(head);
            }
        }
        ensure!(checkpoints.next().is_none(), "there is a checkpoint of entries that are not there");
        ensure!(heads.last().is_none_or(|head| head.size == edge.size()), "entries are under no checkpoint");
        ensure!(!heads.is_empty() || self.entries.is_empty(), "there is no checkpoint");
        let stored = self.tiles()?;
        ensure!(stored == tiles, "the stored hashes are not those of the entries");
        heads.windows(2).try_for_each(|pair| grows(&stored, &pair[0], &pair[1]))
    }

    /// The hashes of each tile, put together from what the batches added.
    fn tiles(&self) -> Result<BTreeMap<(u8, u64), Vec<u8>>> {
        let mut tiles: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
        for (level, index, start, hashes) in &self.tiles {
            let tile = tiles.entry((u8::try_from(*level)?, index.cast_unsigned())).or_default();
            ensure!(tile.len() == usize::try_from(*start)? * Hash::LENGTH, "a tile has a gap at {start}");
            tile.extend(hashes);
        }
        Ok(tiles)
    }

    /// How often each entry of a kind says this under a name in its data.
    pub(super) fn said(&self, kind: &str, name: &str) -> Result<BTreeMap<String, usize>> {
        let mut said = BTreeMap::new();
        for (_, _, body) in &self.entries {
            let entry: Value = serde_json::from_slice(body)?;
            if let (true, Some(value)) = (entry["kind"] == kind, entry["data"][name].as_str()) {
                *said.entry(value.to_owned()).or_default() += 1;
            }
        }
        Ok(said)
    }
}

async fn select(conn: &mut PgConnection, sql: &str) -> Result<Vec<sqlx::postgres::PgRow>> {
    Ok(raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(conn).await?)
}

/// Whether a proof from the stored hashes shows that one head is the beginning of another.
fn grows(tiles: &BTreeMap<(u8, u64), Vec<u8>>, old: &Head, new: &Head) -> Result<()> {
    let plan = Plan::consistency(old.size, new.size)?;
    let read = |tile: Tile| tiles.get(&(tile.level(), tile.index())).map(Vec::as_slice);
    match plan.hashes(read) {
        Ok(hashes) => Ok(proof::verify_consistency(old, new, &hashes)?),
        Err(missing) => bail!("{missing}"),
    }
}
