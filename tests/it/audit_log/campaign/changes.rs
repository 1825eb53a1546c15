//! What a superuser may do to a log.

use crate::chance::Chance;

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: &'static str,
    pub(super) sql: String,
    pub(super) touched: Touched,
}

/// What is wrong afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) enum Touched {
    /// Something that the newest checkpoint proves.
    Log,
    /// The checkpoint of this size.
    Checkpoint(u64),
    /// Where the sequencer goes on.
    Sequencer,
    /// Nothing that has its place.
    Nothing,
}

/// How many kinds of change there are.
const KINDS: u64 = 20;

/// Names a row of `audit.tiles` by its place among all.
const TILE: &str = "(level, index, start) = (select level, index, start from audit.tiles order by level, index, start offset";

impl Change {
    /// Any change to a log of `size` entries with checkpoints of these sizes.
    pub(super) fn by(chance: &mut Chance, size: u64, checkpoints: &[u64]) -> Self {
        let (at, other) = (chance.below(size), chance.below(size - 1));
        // Another one than `at`.
        let other = if other >= at { other + 1 } else { other };
        let until = size.min(at + 1 + chance.below(20));
        let bits = chance.below(1 << 30);
        let newest = checkpoints[checkpoints.len() - 1];
        let checkpoint = checkpoints[usize::try_from(chance.below(checkpoints.len() as u64)).unwrap_or(0)];
        // There are more rows than full tiles, of which there are at least two.
        let tile = chance.below(checkpoints.len() as u64);
        let entry = |what: &str| format!("update audit.entries set {what} where index = {at}");
        let hashes = |what: &str| format!("update audit.tiles set {what} where {TILE} {tile} limit 1)");
        let flip = |column: &str| {
            format!(
                "set_bit({column}, {bits} % (8 * length({column})), 1 - get_bit({column}, {bits} % (8 * length({column}))))"
            )
        };
        let note = |size: u64| {
            format!(
                "update audit.checkpoints set note = overlay(note placing \
                 case substr(note, 1 + {bits} % length(note), 1) when 'A' then 'B' else 'A' end \
                 from 1 + {bits} % length(note)) where size = {size}"
            )
        };
        let log = |name, sql| Self { name, sql, touched: Touched::Log };
        match chance.below(KINDS) {
            0 => log("a bit of an entry", entry(&format!("body = {}", flip("body")))),
            1 => log("bytes behind an entry", entry("body = body || '\\x0a7b7d'")),
            2 => log("an entry cut short", entry(&format!("body = substr(body, 1, {bits} % length(body))"))),
            3 => log(
                "an entry in the place of another as well",
                entry(&format!("body = (select body from audit.entries where index = {other})")),
            ),
            4 => log(
                "two entries in each other's place",
                format!(
                    "update audit.entries set index = 1000000 where index = {at}; \
                     update audit.entries set index = {at} where index = {other}; \
                     update audit.entries set index = {other} where index = 1000000"
                ),
            ),
            5 => log("an entry taken away", format!("delete from audit.entries where index = {at}")),
            6 => log(
                "entries taken away",
                format!("delete from audit.entries where index >= {at} and index < {until}"),
            ),
            7 => log("the end taken away", format!("delete from audit.entries where index >= {at}")),
            8 => log(
                "an entry put in between",
                format!(
                    "update audit.entries set index = index + 500000 where index >= {at}; \
                     update audit.entries set index = index - 499999 where index >= 500000; \
                     insert into audit.entries select {at}, gen_random_uuid(), kind, at, principal, action_id, \
                     request_id, body from audit.entries where index = {}",
                    at + 1
                ),
            ),
            9 => {
                log("a kind", entry("kind = case kind when 'user.created' then 'x' else 'user.created' end"))
            }
            10 => log("a principal", entry("principal = principal || 'x'")),
            11 => log("a time", entry("at = at - interval '1 microsecond'")),
            12 => log(
                "an id, an action or a request",
                match bits % 3 {
                    0 => entry("id = gen_random_uuid()"),
                    1 => entry("action_id = gen_random_uuid()"),
                    _ => entry("request_id = coalesce(request_id, '') || 'x'"),
                },
            ),
            13 => log("a bit of the hashes", hashes(&format!("hashes = {}", flip("hashes")))),
            14 => log(
                "hashes cut short",
                hashes(&format!("hashes = substr(hashes, 1, {bits} % length(hashes))")),
            ),
            15 => log("hashes taken away", format!("delete from audit.tiles where {TILE} {tile} limit 1)")),
            16 => log(
                "hashes elsewhere",
                match bits % 3 {
                    0 => hashes("level = level + 1"),
                    1 => hashes("index = index + 1"),
                    _ => hashes("start = start + 1"),
                },
            ),
            17 => match bits % 4 {
                0 => log("the newest checkpoint", note(newest)),
                1 => log(
                    "the newest checkpoint taken away",
                    format!("delete from audit.checkpoints where size = {newest}"),
                ),
                2 => Self {
                    name: "a checkpoint taken away",
                    sql: format!("delete from audit.checkpoints where size = {checkpoint}"),
                    touched: Touched::Checkpoint(checkpoint),
                },
                _ => Self {
                    name: "a checkpoint",
                    sql: note(checkpoint),
                    touched: Touched::Checkpoint(checkpoint),
                },
            },
            18 => Self {
                name: "the sequencer's size",
                sql: format!("update audit.sequencer set size = {at}"),
                touched: Touched::Sequencer,
            },
            _ => Self {
                name: "entries that wait",
                sql: format!(
                    "insert into audit.pending select gen_random_uuid(), kind, at, principal, action_id, request_id, \
                     {} from audit.entries where index = {at}",
                    flip("body")
                ),
                touched: Touched::Nothing,
            },
        }
    }
}
