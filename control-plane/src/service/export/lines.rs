//! Entries as the lines of an export.

use std::collections::BTreeMap;

use aegis_contract::intent::Entry;
use aegis_evidence::bundle::{Block, Line, Single};
use aegis_evidence::{Hash, Plan, TILE_WIDTH, Tile};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use crate::error::Error;
use crate::service::log::hashes_from;
use crate::store::entries::Filed;
use crate::store::log;

/// The first line of a table.
pub(super) const CSV_TITLES: &[u8] = b"index,id,kind,at,principal,actionId,requestId,data\r\n";

/// The bytes of entries and nothing else.
pub(super) fn plain(found: &[Filed]) -> Vec<u8> {
    let mut lines = Vec::new();
    for filed in found {
        add_line(&mut lines, &filed.body);
    }
    lines
}

/// Entries of one tile with its hashes, a block for each run of neighbours: what is missing in between is missing
/// in the bundle.
pub(super) async fn blocks(conn: &mut PgConnection, found: &[Filed], size: u64) -> Result<Vec<u8>, Error> {
    let Some(first) = found.first() else { return Ok(Vec::new()) };
    let index = first.index / u64::from(TILE_WIDTH);
    let plan = Plan::block(index, size).map_err(Error::internal)?;
    let tile =
        Tile::in_tree(0, index, size).ok_or_else(|| Error::internal(anyhow::anyhow!("no such tile")))?;
    let tiles = log::tiles(conn, plan.tiles().into_iter().chain([tile])).await?;
    let proof = hashes_from(&plan, &tiles)?;
    let leaves = Block::leaves_text(&leaves_of(tile, &tiles)?);
    let mut lines = Vec::new();
    for run in found.chunk_by(|left, right| left.index + 1 == right.index) {
        let count = u16::try_from(run.len()).map_err(Error::internal)?;
        let (leaves, proof) = (leaves.clone(), proof.clone());
        let block = Block { tile: index, first: run[0].index, count, leaves, proof };
        lines.extend(Line::Block(block).to_bytes());
        run.iter().for_each(|filed| add_line(&mut lines, &filed.body));
    }
    Ok(lines)
}

fn leaves_of(tile: Tile, tiles: &BTreeMap<Tile, Vec<u8>>) -> Result<Vec<Hash>, Error> {
    let bytes = tiles.get(&tile).and_then(|bytes| bytes.get(..usize::from(tile.width()) * Hash::LENGTH));
    bytes.and_then(Hash::sequence).ok_or_else(|| {
        tracing::error!(%tile, "the audit log's hashes are incomplete");
        Error::StateNotInLog { what: "the audit log".to_owned() }
    })
}

/// Entries each with its own proof.
pub(super) async fn singles(conn: &mut PgConnection, found: &[Filed], size: u64) -> Result<Vec<u8>, Error> {
    let plans = found.iter().map(|filed| Plan::inclusion(filed.index, size));
    let plans = plans.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
    let mut lines = Vec::new();
    // Entries far from each other need tiles of their own.
    for (found, plans) in found.chunks(TILES_AT_ONCE).zip(plans.chunks(TILES_AT_ONCE)) {
        let wanted: std::collections::BTreeSet<Tile> = plans.iter().flat_map(Plan::tiles).collect();
        let tiles = log::tiles(conn, wanted).await?;
        for (filed, plan) in found.iter().zip(plans) {
            let proof = hashes_from(plan, &tiles)?;
            lines.extend(Line::Single(Single { index: filed.index, proof }).to_bytes());
            add_line(&mut lines, &filed.body);
        }
    }
    Ok(lines)
}

/// Entries whose proofs are read by one statement: their tiles take some megabytes.
const TILES_AT_ONCE: usize = 256;

/// Entries as rows of a table (RFC 4180). All that stands in it is from their bytes.
///
/// # Errors
/// `StateNotInLog` for bytes that are no entry.
pub(super) fn table(found: &[Filed]) -> Result<Vec<u8>, Error> {
    let mut lines = Vec::new();
    for filed in found {
        let entry: Entry<Box<RawValue>> = serde_json::from_slice(&filed.body)
            .map_err(|_| Error::StateNotInLog { what: format!("entry {}", filed.index) })?;
        let texts = [
            filed.index.to_string(),
            entry.id.to_string(),
            entry.kind,
            entry.at.to_string(),
            entry.principal,
            entry.action_id.map(|id| id.to_string()).unwrap_or_default(),
            entry.request_id.unwrap_or_default(),
            entry.data.get().to_owned(),
        ];
        let cells: Vec<String> = texts.iter().map(|text| cell(text)).collect();
        lines.extend(cells.join(",").into_bytes());
        lines.extend(b"\r\n");
    }
    Ok(lines)
}

fn cell(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Whether the columns by which entries are found say what the entry's bytes say.
pub(super) fn is_filed_as_it_says(filed: &Filed) -> bool {
    let Ok(entry) = serde_json::from_slice::<Entry<IgnoredAny>>(&filed.body) else { return false };
    entry.id == filed.id
        && entry.kind == filed.kind
        && entry.at == filed.at
        && entry.principal == filed.principal
        && entry.action_id == filed.action_id
        && entry.request_id == filed.request_id
}

fn add_line(lines: &mut Vec<u8>, entry: &[u8]) {
    lines.extend(entry);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use aegis_contract::ids::EntryId;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn filed() -> Filed {
        let body = br#"{"at":"2026-11-23T12:00:00.000001Z","data":{"a":"x, \"y\""},"id":"019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90","kind":"user.created","principal":"operator:command-line","schema":"aegis.entry/v1"}"#;
        Filed {
            index: 7,
            body: body.to_vec(),
            id: EntryId("019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90".parse().unwrap()),
            kind: "user.created".to_owned(),
            at: "2026-11-23T12:00:00.000001Z".parse().unwrap(),
            principal: "operator:command-line".to_owned(),
            action_id: None,
            request_id: None,
        }
    }

    #[test]
    fn an_entry_is_filed_as_it_says_only_if_all_columns_say_the_same() {
        assert!(is_filed_as_it_says(&filed()));
        let changes: [fn(&mut Filed); 7] = [
            |filed| filed.id = EntryId(Uuid::nil()),
            |filed| filed.kind = "user.deleted".to_owned(),
            |filed| filed.at = Timestamp::UNIX_EPOCH,
            |filed| filed.principal.push(' '),
            |filed| filed.action_id = Some(aegis_contract::ids::ActionId(Uuid::nil())),
            |filed| filed.request_id = Some(String::new()),
            |filed| filed.body = b"{}".to_vec(),
        ];
        for change in changes {
            let mut filed = filed();
            change(&mut filed);
            assert!(!is_filed_as_it_says(&filed), "{filed:?}");
        }
    }

    #[test]
    fn a_table_holds_any_entry_in_one_row() {
        let row = String::from_utf8(table(&[filed()]).unwrap()).unwrap();
        assert_eq!(
            row,
            "7,019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90,user.created,2026-11-23T12:00:00.000001Z,\
             operator:command-line,,,\"{\"\"a\"\":\"\"x, \\\"\"y\\\"\"\"\"}\"\r\n"
        );
    }
}
