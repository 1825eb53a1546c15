//! What the database's superuser changes is found by whoever has the log's key and computes it again.

use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::settled;
use super::stored::{StoredLog, log_keys};

/// Entries of the log: more than one tile, and not a full one at the end.
const ENTRIES: usize = 300;

/// Each is done with all triggers off, and undone.
const CHANGES: [(&str, &str); 14] = [
    (
        "one bit of an entry",
        "update audit.entries set body = set_bit(body, 9, 1 - get_bit(body, 9)) where index = 7",
    ),
    (
        "the last entry",
        "update audit.entries set body = body || '\\x20' where index = (select max(index) from audit.entries)",
    ),
    ("an entry taken away", "delete from audit.entries where index = 100"),
    (
        "the last entry taken away",
        "delete from audit.entries where index = (select max(index) from audit.entries)",
    ),
    ("the first entry taken away", "delete from audit.entries where index = 0"),
    (
        "two entries in each other's place",
        "update audit.entries set index = 1000000 where index = 5; \
            update audit.entries set index = 5 where index = 6; update audit.entries set index = 6 where index = 1000000",
    ),
    (
        "an entry more",
        "insert into audit.entries select index + 1, gen_random_uuid(), kind, at, principal, action_id, \
        request_id, body from audit.entries where index = (select max(index) from audit.entries)",
    ),
    (
        "all entries of the end and their checkpoints taken away but the hashes",
        "delete from audit.checkpoints where \
        size > (select size from audit.checkpoints order by size offset 20 limit 1); delete from audit.entries where \
        index >= (select max(size) from audit.checkpoints)",
    ),
    (
        "a hash",
        "update audit.tiles set hashes = set_byte(hashes, 31, 255 - get_byte(hashes, 31)) \
        where level = 0 and index = 0 and start = 0",
    ),
    ("a hash of hashes", "update audit.tiles set hashes = sha256(hashes) where level = 1"),
    ("hashes taken away", "delete from audit.tiles where index = 1"),
    (
        "a root",
        "update audit.checkpoints set note = replace(note, split_part(note, E'\\n', 3), encode(sha256(''), 'base64')) \
        where size = (select max(size) from audit.checkpoints)",
    ),
    (
        "a signature",
        "update audit.checkpoints set note = overlay(note placing 'AAAA' from length(note) - 40) \
        where size = (select max(size) from audit.checkpoints)",
    ),
    (
        "the newest checkpoint taken away",
        "delete from audit.checkpoints where size = (select max(size) from audit.checkpoints)",
    ),
];

/// The newest batch is taken away with all that was stored with it.
const CUT: &str = "delete from audit.checkpoints where size = (select max(size) from audit.checkpoints); \
    delete from audit.entries where index >= (select max(size) from audit.checkpoints); \
    delete from audit.tiles where level = 0 and index * 256 + start >= (select max(size) from audit.checkpoints)";

#[tokio::test]
async fn what_the_superuser_changes_is_found_and_an_honest_log_is_not_blamed() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (client, keys) = (stack.client()?, log_keys(&stack).await?);
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    for _ in 0..ENTRIES {
        client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    }
    settled(&stack).await?.verify(&keys)?;
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    for (what, sql) in CHANGES {
        let begin = format!("begin; set local session_replication_role = replica; {sql}");
        raw_sql(AssertSqlSafe(begin)).execute(&mut conn).await.with_context(|| what.to_owned())?;
        let found = StoredLog::read(&mut conn).await?.verify(&keys);
        assert!(found.is_err(), "nobody would notice: {what}");
        raw_sql("rollback").execute(&mut conn).await?;
        StoredLog::read(&mut conn).await?.verify(&keys).with_context(|| format!("after {what}"))?;
    }

    // What was cut off as a whole is a log in itself: only a remembered checkpoint tells.
    let remembered = StoredLog::read(&mut conn).await?.checkpoints.pop().context("a checkpoint")?;
    let cut = format!("begin; set local session_replication_role = replica; {CUT}");
    raw_sql(AssertSqlSafe(cut)).execute(&mut conn).await?;
    let shortened = StoredLog::read(&mut conn).await?;
    shortened.verify(&keys)?;
    assert!(!shortened.checkpoints.contains(&remembered));
    Ok(())
}
