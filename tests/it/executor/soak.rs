//! A thousand workloads restarted over and over, and ten thousand looked after: nothing is lost and memory stays flat.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aegis_contract::code::OutcomeCode;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Kind;
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::workload::deployment;
use anyhow::Result;
use futures_util::future::try_join_all;
use serde_json::json;

use super::bench::Bench;
use super::workloads::{RESTART, expect};

const WORKLOADS: usize = 1_000;
const WATCHED: usize = 10_000;
/// How long workloads are restarted as fast as the cluster can.
const LASTS: Duration = Duration::from_mins(10);
/// How long the executor looks after workloads before its memory is read.
const LOOKS: Duration = Duration::from_mins(2);
/// Restarts under way at one time: more than two cores can simulate.
const CLIENTS: usize = 24;
/// Rollouts a second that there must be at least.
const RATE_MIN: f64 = 3.0;
/// Objects that are made by one command.
const BATCH: usize = 500;
/// A line for each Deployment: its available replicas, and the generation that its controller has seen.
const AVAILABLE: &str = "jsonpath={range .items[*]}\
    {.status.availableReplicas}{' '}{.status.observedGeneration}{'\\n'}{end}";
/// Making a thousand workloads takes minutes.
const MADE_WITHIN: Duration = Duration::from_mins(20);

impl Bench {
    /// Makes so many Deployments.
    async fn make_many(&self, stem: &str, count: usize, replicas: u32) -> Result<()> {
        let all: Vec<_> = (0..count).collect();
        for batch in all.chunks(BATCH) {
            let items: Vec<_> = batch
                .iter()
                .map(|number| deployment(&format!("{stem}-{number}"), "app:1", replicas))
                .collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
            let launch = self.cluster.kubectl_launch().args(["-n", &self.namespace, "create", "-f", "-"]);
            launch.expect_success(&launch.output_with(list).await?)?;
        }
        let wanted = if replicas == 0 { " 1".to_owned() } else { format!("{replicas} 1") };
        until("the controller having seen all of them", MADE_WITHIN, async || {
            let get = ["-n", &self.namespace, "get", "deployments", "-o", AVAILABLE];
            let listed = self.cluster.kubectl_launch().args(get).output_with(Vec::new()).await?;
            let listed = String::from_utf8_lossy(&listed.stdout);
            let seen = listed.lines().filter(|line| *line == wanted).count();
            Ok(seen >= count)
        })
        .await
    }

    /// Memory that the first replica holds, in MiB.
    fn resident(&self) -> Result<f64> {
        Ok(self.replicas[0].process.resident()?.now)
    }

    async fn restart_once(&self, number: usize) -> Result<()> {
        let act = self.act(RESTART, self.target(Kind::Deployment, &format!("web-{number}"))).await?;
        let result = self.carry_out(&act).await?;
        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        self.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await
    }
}

#[tokio::test]
#[ignore = "takes a quarter of an hour: thousands of rollouts"]
async fn thousands_of_rollouts_lose_no_action_and_leave_memory_flat() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_SOAK_SECONDS", "60")]).await?;
    bench.make_many("web", WORKLOADS, 1).await?;

    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let client = async || {
        while begun.elapsed() < LASTS {
            bench.restart_once(next.fetch_add(1, Ordering::Relaxed) % WORKLOADS).await?;
        }
        anyhow::Ok(())
    };
    let warm = async {
        // By then every connection and buffer has been used.
        tokio::time::sleep(LASTS / 5).await;
        bench.resident()
    };
    let (_, warm) = tokio::try_join!(try_join_all((0..CLIENTS).map(|_| client())), warm)?;
    let (end, done) = (bench.resident()?, next.load(Ordering::Relaxed));

    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{done} restarts, {rate:.1} a second; {warm:.1} MiB after a fifth of the time, {end:.1} MiB at the end"
    );
    assert!(rate >= RATE_MIN, "{rate:.1} rollouts a second");
    assert!(end <= warm * 1.1, "memory grew from {warm:.1} to {end:.1} MiB");
    Ok(())
}

#[tokio::test]
#[ignore = "takes minutes: ten thousand workloads"]
async fn ten_thousand_workloads_are_looked_after_page_by_page() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_SOAK_SECONDS", "60")]).await?;
    let idle = bench.resident()?;
    bench.make_many("many", WATCHED, 0).await?;

    let calls = bench.replicas[0].api_server.seen().len();
    tokio::time::sleep(LOOKS).await;
    let calls = bench.replicas[0].api_server.seen().len() - calls;
    let looking = bench.resident()?;
    println!(
        "{WATCHED} workloads: {calls} calls in {} s; {idle:.1} MiB before, {looking:.1} MiB now",
        LOOKS.as_secs()
    );
    // Pages of 250, and a look takes place every 20 s.
    assert!(calls >= WATCHED / 250, "{calls} calls");
    assert!(looking < idle + 64.0, "{looking:.1} MiB for pages that are read one after the other");
    Ok(())
}
