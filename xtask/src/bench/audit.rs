//! The audit log under an open load of entries of 1 KiB, one a transaction: how long after its commit each is
//! under a signed checkpoint that others can read. Beside it the usual design, where each row holds the hash of
//! the one before and a lock makes them wait for one another, and rows that nobody orders at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::{Server, execute};
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::{Case, Goal, pgbench};

/// Sessions that entries come from: as many as three replicas have.
const CONNECTIONS: usize = 32;
/// Bytes of an entry.
const BODY: usize = 1_024;
/// Entries a second, and for how long.
const RATE: u64 = 5_000;
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 8;
/// How long each higher rate is tried.
const TRY_SECONDS: u64 = 8;
/// Rates are raised by this much, as long as no entry waits for longer than a second.
const RAISE: u64 = 1_000;
const LAG_MAX_MS: f64 = 1_000.0;
/// Goals, in milliseconds.
const P50_MAX: f64 = 15.0;
const P99_MAX: f64 = 60.0;

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let stack = Stack::start_on(
        Cluster::start(ClusterOptions::default()).await?,
        Server::start().await?,
        StackOptions::default(),
    )
    .await?;
    let url = &stack.control_plane_database().superuser_url;
    let seconds = if quick { SECONDS_QUICK } else { SECONDS };
    let step = progress::step(format!("{RATE} entries a second for {seconds} s"));
    let lags = load(url, RATE, seconds).await?;
    step.done();
    let mut highest = 0;
    for rate in (1..).map(|step| RATE + step * RAISE).take(if quick { 2 } else { 20 }) {
        let step = progress::step(format!("{rate} entries a second for {TRY_SECONDS} s"));
        let lags = load(url, rate, TRY_SECONDS).await?;
        step.done();
        if lags.last > LAG_MAX_MS || lags.rate < rate as f64 * 0.98 {
            break;
        }
        highest = rate;
    }
    let step = progress::step("rows of a chain, and rows that nobody orders");
    let body = "x".repeat(BODY);
    execute(url, CHAIN.to_owned()).await?;
    let seconds = if quick { SECONDS_QUICK } else { SECONDS / 2 };
    let chained =
        pgbench::per_second(url, CONNECTIONS, seconds, &format!("select chained('{body}');\n")).await?;
    let plain = format!("insert into plain (id, body) values (gen_random_uuid(), '{body}');\n");
    let plain = pgbench::per_second(url, CONNECTIONS, seconds, &plain).await?;
    step.done();
    println!(
        "\nof {RATE} entries a second that were asked for, {:.0} came; longest lag {:.0} ms",
        lags.rate, lags.longest
    );
    let highest = highest as f64;
    Ok(vec![
        Case::new("from commit to checkpoint, p50", "ms", lags.p50, P50_MAX, "the goal", Goal::Below),
        Case::new("from commit to checkpoint, p99", "ms", lags.p99, P99_MAX, "the goal", Goal::Below),
        Case::new(
            "highest rate tried with a lag under 1 s",
            "/s",
            highest,
            chained,
            "a chain",
            Goal::PartMin(1.0),
        ),
        Case::new("highest rate tried with a lag under 1 s", "/s", highest, plain, "plain rows", Goal::None),
    ])
}

/// One row per transaction with the hash of the one before, which one transaction at a time may know.
const CHAIN: &str = "
    create table chain (number bigint generated always as identity primary key, prev_hash bytea, hash bytea, body text);
    create table plain (id uuid primary key, body text);
    create function chained(new_body text) returns void language plpgsql as $$
    declare before bytea;
    begin
        perform pg_advisory_xact_lock(1);
        select hash into before from chain order by number desc limit 1;
        insert into chain (prev_hash, hash, body)
            values (before, sha256(coalesce(before, '') || convert_to(new_body, 'UTF8')), new_body);
    end $$";

/// Milliseconds from the commit of an entry to the first look that saw it under a checkpoint.
struct Lags {
    p50: f64,
    p99: f64,
    longest: f64,
    /// That of the entry committed last.
    last: f64,
    /// Entries a second that were committed.
    rate: f64,
}

/// An open load: each entry has its time to come, however long the others take.
async fn load(url: &str, rate: u64, seconds: u64) -> Result<Lags> {
    let count = rate * seconds;
    let start = Instant::now() + Duration::from_millis(200);
    let ended = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(url.to_owned(), ended.clone()));
    let next = Arc::new(AtomicU64::new(0));
    let mut inserting = JoinSet::new();
    for _ in 0..CONNECTIONS {
        inserting.spawn(insert(url.to_owned(), start, rate, count, next.clone()));
    }
    let mut committed = Vec::new();
    for inserted in inserting.join_all().await {
        committed.extend(inserted?);
    }
    let took = start.elapsed().as_secs_f64();
    let mut connection = PgConnection::connect(url).await?;
    let left = async |connection: &mut PgConnection| {
        let row = raw_sql("select count(*) from audit.pending").fetch_one(connection).await?;
        anyhow::Ok(row.try_get::<i64, _>(0)?)
    };
    while left(&mut connection).await? > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    ended.store(true, Ordering::Relaxed);
    let seen = watching.await??;
    let places = "select right(id::text, 12), index from audit.entries where kind = 'bench.entry'";
    let mut places: Vec<(u64, u64)> = raw_sql(places)
        .fetch_all(&mut connection)
        .await?
        .iter()
        .map(|row| Ok((u64::from_str_radix(row.try_get(0)?, 16)?, row.try_get::<i64, _>(1)?.cast_unsigned())))
        .collect::<Result<_>>()?;
    connection.close().await?;
    // Those of the present load are the newest of each number.
    places.sort_unstable();
    let places: std::collections::BTreeMap<u64, u64> = places.into_iter().collect();
    let mut lags = Vec::with_capacity(committed.len());
    for (number, at) in &committed {
        let index = places.get(number).with_context(|| format!("entry {number} is lost"))?;
        let covered = seen.partition_point(|(size, _)| size <= index);
        let (_, by) = seen.get(covered).context("nobody saw the last checkpoint")?;
        lags.push((*at, by.saturating_duration_since(*at).as_secs_f64() * 1_000.0));
    }
    lags.sort_unstable_by_key(|(at, _)| *at);
    let last = lags.last().context("no entries")?.1;
    let mut lags: Vec<f64> = lags.into_iter().map(|(_, lag)| lag).collect();
    ensure!(lags.len() as u64 == count, "{} of {count} entries", lags.len());
    lags.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| lags[((lags.len() - 1) as f64 * part) as usize];
    Ok(Lags { p50: at(0.5), p99: at(0.99), longest: at(1.0), last, rate: count as f64 / took })
}

/// Inserts the entries whose turn it is. Returns the number of each and when its commit was answered.
async fn insert(
    url: String,
    start: Instant,
    rate: u64,
    count: u64,
    next: Arc<AtomicU64>,
) -> Result<Vec<(u64, Instant)>> {
    let mut connection = PgConnection::connect(&url).await?;
    let body = "x".repeat(BODY);
    let prepare = format!(
        "prepare entry (uuid) as insert into audit.pending (id, kind, at, principal, body) \
         values ($1, 'bench.entry', clock_timestamp(), 'client:bench', '{body}')"
    );
    raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await?;
    let mut committed = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            connection.close().await?;
            return Ok(committed);
        }
        let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
        sleep_until(due.into()).await;
        // As UUIDv7 has it: first the time, so that neighbours are neighbours.
        let milliseconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
        let time = format!("{milliseconds:012x}");
        let entry = format!("execute entry ('{}-{}-7000-8000-{number:012x}')", &time[..8], &time[8..]);
        raw_sql(AssertSqlSafe(entry)).execute(&mut connection).await?;
        committed.push((number, Instant::now()));
    }
}

/// The sizes of the log as others see them, each with the first time it was seen.
async fn watch(url: String, ended: Arc<AtomicBool>) -> Result<Vec<(u64, Instant)>> {
    let mut connection = PgConnection::connect(&url).await?;
    let mut seen: Vec<(u64, Instant)> = Vec::new();
    loop {
        let was_ended = ended.load(Ordering::Relaxed);
        let row = raw_sql("select coalesce(max(size), 0) from audit.checkpoints")
            .fetch_one(&mut connection)
            .await?;
        let size = row.try_get::<i64, _>(0)?.cast_unsigned();
        if seen.last().is_none_or(|(last, _)| *last < size) {
            seen.push((size, Instant::now()));
        }
        if was_ended {
            connection.close().await?;
            return Ok(seen);
        }
        sleep(Duration::from_millis(1)).await;
    }
}
