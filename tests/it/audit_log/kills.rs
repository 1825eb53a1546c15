//! Killed at each named point of the way into the log. The real process stands still there, because a trigger in its
//! database waits for a lock that the test holds, and is killed; what Postgres was told before goes on.

use std::collections::BTreeSet;

use aegis_tests::database::execute;
use aegis_tests::eventually::until;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::ordering::{Load, expect_all, until_grown};
use super::stored::log_keys;
use super::{WITHIN, settled};
use crate::chance::Chance;

/// Kills in the suite, and in the long run.
const KILLS: usize = 50;
const KILLS_LONG: usize = 1_000;
/// The whole log is verified after so many; the numbers above are multiples of it.
const VERIFIED_EVERY: usize = 10;
/// Most entries that come before a kill.
const BETWEEN_MAX: u64 = 40;
/// The first of the locks' two numbers.
const LOCKS: i32 = 0x6b69_6c6c;

/// What is about to happen at each point, and the trigger that stands there.
const POINTS: [(&str, &str); 9] = [
    ("the entry becomes pending", "trigger hold before insert on audit.pending for each statement"),
    ("what the entry tells of is stored", "trigger hold before insert on decisions for each statement"),
    (
        "the entry is committed",
        "constraint trigger hold_commit after insert on decisions deferrable initially deferred for each row",
    ),
    ("the entry gets its place", "trigger hold before insert on audit.entries for each statement"),
    ("the entry stops being pending", "trigger hold before delete on audit.pending for each statement"),
    ("the tree grows", "trigger hold before insert on audit.tiles for each statement"),
    ("the checkpoint is stored", "trigger hold before insert on audit.checkpoints for each statement"),
    (
        "the log has its new size",
        "trigger hold before update on audit.sequencer for each row when (old.size <> new.size)",
    ),
    (
        "the batch is committed",
        "constraint trigger hold_commit after insert on audit.checkpoints deferrable initially deferred for each row",
    ),
];

/// Triggers that wait while a session holds the lock of their point.
async fn place_triggers(superuser: &str) -> Result<()> {
    let mut sql = format!(
        "create function public.hold() returns trigger language plpgsql as $$ begin \
             perform pg_catalog.pg_advisory_xact_lock_shared({LOCKS}, tg_argv[0]::integer); return new; \
         end $$;"
    );
    for (number, (_, place)) in POINTS.iter().enumerate() {
        // The statement itself names its trigger `hold`; several may stand on one table.
        let place = place.replacen("hold", &format!("hold_{number}"), 1);
        sql += &format!("create {place} execute function public.hold('{number}');");
    }
    execute(superuser, sql).await
}

async fn select(conn: &mut PgConnection, sql: String) -> Result<Vec<sqlx::postgres::PgRow>> {
    Ok(raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?)
}

/// Stops what comes to a point.
async fn hold(conn: &mut PgConnection, point: usize) -> Result<()> {
    select(conn, format!("select pg_advisory_lock({LOCKS}, {point})")).await.map(drop)
}

async fn until_stopped(conn: &mut PgConnection, point: usize) -> Result<()> {
    let waiting = format!(
        "select count(*) from pg_locks where locktype = 'advisory' and not granted \
             and database = (select oid from pg_database where datname = current_database()) \
             and classid = {LOCKS} and objid = {point}"
    );
    until(POINTS[point].0, WITHIN, async || {
        let rows = select(conn, waiting.clone()).await?;
        Ok(rows[0].try_get::<i64, _>(0)? > 0)
    })
    .await
}

async fn release(conn: &mut PgConnection, point: usize) -> Result<()> {
    select(conn, format!("select pg_advisory_unlock({LOCKS}, {point})")).await.map(drop)
}

/// Kills at every point in turn, after some entries; all that was answered by then has to be there.
async fn kill_at_each_point(kills: usize) -> Result<()> {
    let mut chance = Chance::from_environment()?;
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let keys = log_keys(&stack).await?;
    let superuser = &stack.control_plane_database().superuser_url;
    place_triggers(superuser).await?;
    let mut holder = PgConnection::connect(superuser).await?;
    let first = chance.below(POINTS.len() as u64);
    let mut told = BTreeSet::new();
    for kill in 0..kills {
        let point = (usize::try_from(first)? + kill) % POINTS.len();
        let callers = 1 + usize::try_from(chance.below(8))?;
        let load = Load::start(&stack, callers)?;
        until_grown(&stack, chance.below(BETWEEN_MAX).cast_signed()).await?;
        hold(&mut holder, point).await?;
        until_stopped(&mut holder, point).await?;
        stack.control_plane(0).process().kill()?;
        release(&mut holder, point).await?;
        told.extend(load.end().await?);
        stack.control_plane(0).restart().await?;
        if (kill + 1) % VERIFIED_EVERY == 0 {
            let log = settled(&stack).await?;
            let verified = log.verify(&keys).and_then(|()| expect_all(&log, &told));
            verified.with_context(|| format!("after kill {kill}, when {}", POINTS[point].0))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_process_killed_at_any_point_of_the_way_leaves_no_gap_no_double_and_no_loss() -> Result<()> {
    kill_at_each_point(KILLS).await
}

#[tokio::test]
#[ignore = "takes half an hour: a thousand kills"]
async fn a_thousand_kills_leave_no_gap_no_double_and_no_loss() -> Result<()> {
    kill_at_each_point(KILLS_LONG).await
}
