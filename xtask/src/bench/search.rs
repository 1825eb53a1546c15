//! Searches in a large audit log: how long the first page takes for each filter and for the pairs that people use,
//! what each entry takes on the disk, and how fast entries get their places with and without what finds them.

mod questions;

use std::time::{Duration, Instant};

use aegis_tests::callers::Caller;
use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::Server;
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};
use tokio::time::sleep;

use self::questions::{PAIRS, Question, SINGLES};
use super::{Case, Goal};

const ENTRIES_QUICK: u64 = 50_000;
/// Entries that one statement records, and that may wait for their places meanwhile.
const RECORDED: u64 = 20_000;
const WAITING_MAX: i64 = 60_000;
/// Entries that get their places in one measurement.
const DRAINED: u64 = 100_000;
const ROUNDS: u64 = 40;
const ROUNDS_QUICK: u64 = 5;
/// Goal for the first page, in milliseconds.
const P95_MAX: f64 = 50.0;
/// Entries of a block that is filed.
const BLOCK: u64 = 4_096;

/// Runs the benchmark on a log of so many entries.
pub(super) async fn run(entries: u64, quick: bool) -> Result<Vec<Case>> {
    let entries = if quick { ENTRIES_QUICK } else { entries };
    let stack = Stack::start_on(
        Cluster::start(ClusterOptions::default()).await?,
        Server::start().await?,
        StackOptions::default(),
    )
    .await?;
    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let mut log = Recorded::new(&stack.control_plane_database().superuser_url).await?;
    let step = progress::step(format!("{entries} entries, each with its place, and filed"));
    log.record(entries).await?;
    log.until_filed().await?;
    step.done();
    log.print_sizes().await?;
    log.print_plans().await?;

    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let mut cases = Vec::new();
    for (name, questions) in [("filter", SINGLES.as_slice()), ("pair", PAIRS.as_slice())] {
        let mut worst = 0.0_f64;
        for question in questions {
            let (p50, p95) = ask(&auditor, question, rounds, log.recorded).await?;
            println!("{:<44} p50 {p50:>6.1} ms   p95 {p95:>6.1} ms", question.name);
            worst = worst.max(p95);
        }
        let case = format!("first page of {entries}, p95 of the slowest {name}");
        cases.push(Case::new(case, "ms", worst, P95_MAX, "the goal", Goal::Below));
    }
    let drained = if quick { DRAINED / 5 } else { DRAINED };
    let with = log.drain(drained, "").await?;
    let unfiled = log.drain(drained, HOLD_FILING).await?;
    let bare = log.drain(drained, DROP_INDEXES).await?;
    cases.push(Case::new("given their places", "/s", with, unfiled, "not filed", Goal::None));
    cases.push(Case::new("given their places", "/s", with, bare, "no indexes", Goal::None));
    Ok(cases)
}

/// Keeps everybody from filing, for as long as the session lives.
const HOLD_FILING: &str = "select pg_advisory_lock(x'61656769735f6669'::bigint)";
/// What finds entries by one column.
const DROP_INDEXES: &str =
    "drop index audit.entries_kind_idx, audit.entries_principal_idx, audit.entries_at_idx";

/// First pages of answers to a question with other values each time: milliseconds of half of them, and of 95 in 100.
async fn ask(auditor: &Caller, question: &Question, rounds: u64, recorded: u64) -> Result<(f64, f64)> {
    let mut took = Vec::new();
    for round in 0..rounds {
        let path = format!("/api/v1/audit/entries?limit=50&{}", question.query(round, recorded));
        let begun = Instant::now();
        auditor.get(&path).await?.expect(200)?;
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize];
    Ok((at(0.5), at(0.95)))
}

/// A log with entries that nobody asked for.
struct Recorded {
    url: String,
    conn: PgConnection,
    recorded: u64,
    milliseconds: u128,
}

impl Recorded {
    async fn new(url: &str) -> Result<Self> {
        let mut conn = PgConnection::connect(url).await?;
        raw_sql(questions::ENTRY).execute(&mut conn).await?;
        let milliseconds = std::time::UNIX_EPOCH.elapsed()?.as_millis();
        Ok(Self { url: url.to_owned(), conn, recorded: 0, milliseconds })
    }

    async fn number(&mut self, sql: &str) -> Result<i64> {
        let row = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.conn).await?;
        Ok(row.try_get(0)?)
    }

    /// Records entries, no faster than they get their places; returns when they have them.
    async fn record(&mut self, count: u64) -> Result<()> {
        let end = self.recorded + count;
        while self.recorded < end {
            let next = (self.recorded + RECORDED).min(end);
            self.insert(next).await?;
            self.until_waiting(WAITING_MAX).await?;
        }
        self.until_waiting(0).await
    }

    /// Records entries up to this one by one statement.
    async fn insert(&mut self, end: u64) -> Result<()> {
        let insert = format!(
            "insert into audit.pending (id, kind, at, principal, action_id, request_id, body) \
             select made.* from generate_series({}, {}) n, bench_entry(n, {}) made",
            self.recorded,
            end - 1,
            self.milliseconds,
        );
        raw_sql(AssertSqlSafe(insert)).execute(&mut self.conn).await?;
        self.recorded = end;
        Ok(())
    }

    async fn until_waiting(&mut self, most: i64) -> Result<()> {
        while self.number("select count(*) from audit.pending").await? > most {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn until_filed(&mut self) -> Result<()> {
        let blocks = i64::try_from(self.recorded / BLOCK)?;
        while self.number("select count(*) from audit.blocks").await? < blocks {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What entries and all that belongs to them take on the disk.
    async fn print_sizes(&mut self) -> Result<()> {
        let sizes = "select c.relname::text, pg_relation_size(c.oid) from pg_class c join pg_namespace n \
             on n.oid = c.relnamespace where n.nspname = 'audit' and c.relkind in ('r', 'i') \
             and pg_relation_size(c.oid) > 1000000 order by 2 desc";
        let mut totals: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
        for row in raw_sql(sizes).fetch_all(&mut self.conn).await? {
            let name: String = row.try_get(0)?;
            // Partitions together.
            let name: String = name.chars().filter(|character| !character.is_ascii_digit()).collect();
            *totals.entry(name).or_default() += row.try_get::<i64, _>(1)?;
        }
        let entries = self.number("select size from audit.sequencer").await?;
        for (name, bytes) in totals {
            println!("{name:<44} {:>8.1} bytes an entry", bytes as f64 / entries as f64);
        }
        Ok(())
    }

    /// How the database finds what a search asks it for, with the settings that searches have.
    async fn print_plans(&mut self) -> Result<()> {
        raw_sql("set enable_seqscan = off; set jit = off").execute(&mut self.conn).await?;
        let terms = self
            .array("select array_agg(term)::text from (select term from audit.postings limit 2) any_two")
            .await?;
        let places = self
            .array("select array_agg(index)::text from (select index from audit.entries limit 3) three")
            .await?;
        for (what, sql) in [
            ("postings", format!("select term, block, places from audit.postings where term = any('{terms}') and block >= 0 and block < 16")),
            ("entries that they name", format!("select index, id, body from audit.recorded where index = any('{places}') and index >= 0 and index <= 4096 order by index")),
            ("the end that is not filed", "select index, id, body from audit.recorded where index >= 0 and index < 256 and not exists \
                (select from unnest(array['team-7'::bytea]) needle where position(needle in body) = 0) order by index".to_owned()),
        ] {
            println!("\n{what}");
            let explain = format!("explain (analyze, costs off, timing off, summary off) {sql}");
            for row in raw_sql(AssertSqlSafe(explain)).fetch_all(&mut self.conn).await? {
                println!("  {}", row.try_get::<String, _>(0)?);
            }
        }
        println!();
        Ok(())
    }

    async fn array(&mut self, sql: &str) -> Result<String> {
        let row = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.conn).await?;
        Ok(row.try_get(0)?)
    }

    /// Entries a second that get their places out of a heap of them, after `first` in another session.
    async fn drain(&mut self, count: u64, first: &'static str) -> Result<f64> {
        let mut other = PgConnection::connect(&self.url).await?;
        raw_sql(first).execute(&mut other).await?;
        // Others see all of them at once.
        self.insert(self.recorded + count).await?;
        let begun = Instant::now();
        self.until_waiting(0).await?;
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        other.close().await?;
        Ok(rate)
    }
}
