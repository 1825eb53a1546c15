//! Durable decisions: answers a second of `POST /api/v1/policy/evaluate`, each given after its entry is
//! committed, against `pgbench` inserting one row of the same size per transaction into the same server.
//! Both run in turns, so that both meet the machine in the same mood.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_tests::callers::Caller;
use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::{Server, execute};
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;

use super::{Case, Goal, pgbench};

const CONNECTIONS: usize = 64;
/// Each arm's time, cut in two.
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 10;
const BLOCKS: u64 = 2;
const WARM_UP: Duration = Duration::from_secs(2);
/// Goal: the part of pgbench's rate.
const PART_MIN: f64 = 0.5;

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let stack = Stack::start_on(
        Cluster::start(ClusterOptions::default()).await?,
        Server::start().await?,
        StackOptions::default(),
    )
    .await?;
    stack.allow_everything().await?;
    // Hashing the password of the sign-in above took memory that no client's request needs.
    stack.control_plane(0).restart().await?;
    let bench = Bench::new(stack).await?;
    bench.ask_for(WARM_UP).await?;
    let seconds = if quick { SECONDS_QUICK } else { SECONDS } / BLOCKS;
    let (mut answered, mut inserted, mut slowest) = (0.0, 0.0, 0.0_f64);
    for _ in 0..BLOCKS {
        let step = progress::step(format!("{CONNECTIONS} connections ask for {seconds} s"));
        let asked = bench.ask_for(Duration::from_secs(seconds)).await?;
        answered += asked.per_second / BLOCKS as f64;
        slowest = slowest.max(asked.slowest_ms);
        step.done();
        let step = progress::step(format!("{CONNECTIONS} connections insert for {seconds} s"));
        inserted += bench.insert_for(seconds).await? / BLOCKS as f64;
        step.done();
    }
    let told = bench.told().await?;
    println!(
        "\n{} bytes a row; {:.1} decisions a commit; slowest answer {slowest:.0} ms",
        bench.row.len() / 2,
        told.0 as f64 / told.1 as f64
    );
    let case = format!("durable decisions, {CONNECTIONS} connections");
    Ok(vec![Case::new(case, "/s", answered, inserted, "pgbench", Goal::PartMin(PART_MIN))])
}

struct Bench {
    stack: Stack,
    client: Caller,
    /// What one decision and its entry are, in hexadecimal digits.
    row: String,
}

/// What came of asking for a while.
struct Asked {
    per_second: f64,
    slowest_ms: f64,
}

fn question(number: usize) -> Value {
    json!({
        "action": "restart",
        "resource": format!("k8s/local/shop/Deployment/web-{number}"),
        "metadata": { "severity": "high", "ticket": "INC-4711" },
    })
}

impl Bench {
    async fn new(stack: Stack) -> Result<Self> {
        let client = stack.client()?;
        client.post("/api/v1/policy/evaluate", &question(0)).await?.expect(200)?;
        let superuser = &stack.control_plane_database().superuser_url;
        let mut connection = PgConnection::connect(superuser).await?;
        let row = raw_sql(
            "select encode(d.body || e.body, 'hex') from decisions d join audit.recorded e on e.id = d.entry_id limit 1",
        );
        let row = row.fetch_one(&mut connection).await?.try_get(0)?;
        connection.close().await?;
        // As the larger of our two tables, with its key.
        execute(superuser, "create table inserted (id uuid primary key, body bytea not null)".to_owned())
            .await?;
        Ok(Self { stack, client, row })
    }

    /// Every connection asks again as soon as it is answered.
    async fn ask_for(&self, time: Duration) -> Result<Asked> {
        let (answers, slowest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let started = Instant::now();
        let mut asking = JoinSet::new();
        for number in 0..CONNECTIONS {
            let (client, answers, slowest) = (self.client.clone(), answers.clone(), slowest.clone());
            asking.spawn(async move {
                let question = question(number);
                while started.elapsed() < time {
                    let asked = Instant::now();
                    client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
                    let took = u64::try_from(asked.elapsed().as_micros())?;
                    slowest.fetch_max(took, Ordering::Relaxed);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        asking.join_all().await.into_iter().collect::<Result<()>>()?;
        let per_second = answers.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        Ok(Asked { per_second, slowest_ms: slowest.load(Ordering::Relaxed) as f64 / 1_000.0 })
    }

    /// Transactions a second of pgbench, each of which inserts one row.
    async fn insert_for(&self, seconds: u64) -> Result<f64> {
        let insert = format!("insert into inserted values (gen_random_uuid(), '\\x{}');\n", self.row);
        pgbench::per_second(&self.stack.control_plane_database().superuser_url, CONNECTIONS, seconds, &insert)
            .await
    }

    /// Decisions, and the transactions that stored them.
    async fn told(&self) -> Result<(i64, i64)> {
        let mut connection =
            PgConnection::connect(&self.stack.control_plane_database().superuser_url).await?;
        let told = raw_sql("select count(*), count(distinct xmin::text) from decisions");
        let told = told.fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok((told.try_get(0)?, told.try_get(1)?))
    }
}
