//! The bounds of an order: the executor holds its own figures against them, as they are when it writes.

use aegis_contract::action::Change;
use aegis_contract::bounds::{Bounds, ReplicaBounds};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::Act;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::workload::{deployment, stateful_set};
use anyhow::{Context, Result};
use http::Method;
use serde_json::json;

use super::bench::{Bench, WITHIN, act_order, write_intent};
use super::workloads::{RESTART, RESTART_ANYWAY, expect, object_name, scale};

impl Bench {
    /// An act within these bounds, on the target as it stands.
    pub(crate) async fn bounded(&self, change: Change, target: &Target, bounds: Bounds) -> Result<Act> {
        let mut act = Act { bounds: Some(bounds), ..self.act(change, target.clone()).await? };
        write_intent(&mut act)?;
        Ok(act)
    }

    /// Refused because of its figures, with this said of them; nothing was announced, and nothing written.
    async fn expect_out_of_bounds(&self, act: &Act, said: &str) -> Result<()> {
        let result = self.carry_out(act).await?;
        expect_exceeded(&result, said);
        self.expect_rows(act.action_id, &["accepted", "finished"]).await?;
        assert!(self.writes(act.action_id)?.is_empty());
        Ok(())
    }

    /// Has one more pod of a workload become unready, and waits until the workload says so.
    async fn break_a_pod(&self, target: &Target, left: u32) -> Result<()> {
        let pods = self.cluster.pods(&self.namespace, &target.name).await?;
        let is_broken =
            |pod: &&serde_json::Value| pod["metadata"]["annotations"].get("sim.aegis.dev/break").is_some();
        let pod = pods.iter().find(|pod| !is_broken(pod)).context("every pod is broken")?;
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        self.kubectl(["annotate", &format!("pod/{name}"), "sim.aegis.dev/break=unready"]).await?;
        until("a pod being down", WITHIN, async || {
            let object = self.cluster.get(&self.namespace, &object_name(target.kind, &target.name)).await?;
            Ok(object["status"]["availableReplicas"].as_u64().unwrap_or_default() == u64::from(left))
        })
        .await
    }
}

fn expect_exceeded(result: &ExecutionResult, said: &str) {
    expect(result, ExecutionStatus::Refused, OutcomeCode::BoundExceeded);
    assert!(result.message.contains(said), "{}", result.message);
}

fn replicas(min: Option<u32>, max: Option<u32>, max_step: Option<u32>) -> Bounds {
    Bounds { replicas: Some(ReplicaBounds { min, max, max_step }), ..Bounds::default() }
}

#[tokio::test]
async fn nothing_is_scaled_beyond_floor_ceiling_or_step_of_its_order_nor_to_nothing_unless_that_says_so()
-> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    for (bounds, wanted, said) in [
        (Bounds::default(), 0, "replicas would become 0, and the order allows no fewer than 1"),
        (replicas(None, Some(9), Some(9)), 0, "no fewer than 1"),
        (replicas(Some(2), None, None), 1, "no fewer than 2"),
        (replicas(None, Some(5), None), 6, "no more than 5"),
        (replicas(Some(0), Some(9), Some(2)), 6, "from 3 to 6, and the order allows steps of 2"),
        (replicas(Some(0), Some(9), Some(2)), 0, "steps of 2"),
    ] {
        let act = bench.bounded(scale(wanted), &web, bounds).await?;
        bench.expect_out_of_bounds(&act, said).await?;
    }
    // Orders of the release before have no bounds at all.
    bench.expect_out_of_bounds(&bench.act(scale(0), web.clone()).await?, "no fewer than 1").await?;
    let mut rehearsal = Act { dry_run: true, ..bench.act(scale(0), web.clone()).await? };
    write_intent(&mut rehearsal)?;
    bench.expect_out_of_bounds(&rehearsal, "no fewer than 1").await?;

    let within = bench.bounded(scale(5), &web, replicas(Some(2), Some(5), Some(2))).await?;
    expect(&bench.carry_out(&within).await?, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let to_zero = bench.bounded(scale(0), &web, replicas(Some(0), None, None)).await?;
    expect(&bench.carry_out(&to_zero).await?, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    // Nothing is asked of what is so already.
    let still = bench.act(scale(0), web).await?;
    expect(&bench.carry_out(&still).await?, ExecutionStatus::Succeeded, OutcomeCode::AlreadyDone);
    Ok(())
}

#[tokio::test]
async fn what_is_down_when_it_writes_counts_whatever_was_seen_when_it_was_decided() -> Result<()> {
    let bench = Bench::start(1).await?;
    let mut manifest = stateful_set("db", "app:1", 3);
    manifest["spec"]["podManagementPolicy"] = json!("Parallel");
    let db = bench.apply_complete(Kind::StatefulSet, manifest).await?;
    let web = bench.apply_complete(Kind::Deployment, deployment("web", "app:1", 4)).await?;
    let most = |pods| Bounds { unavailable_max: Some(pods), ..Bounds::default() };
    let share = |percent| Bounds { unavailable_max_percent: Some(percent), ..Bounds::default() };

    for (target, bounds, said) in [
        (&db, most(0), "1 of the 3 wanted pods may be unavailable at one time, and the order allows 0"),
        (&db, share(33), "the order allows 33 %"),
        (&web, most(0), "1 of the 4 wanted pods"),
    ] {
        let act = bench.bounded(RESTART, target, bounds).await?;
        bench.expect_out_of_bounds(&act, said).await?;
    }

    // Decided while all were well. Such a set takes its next pod down whatever became of the others.
    let decided = [
        (bench.bounded(RESTART_ANYWAY, &db, most(1)).await?, "2 of the 3 wanted pods"),
        (bench.bounded(RESTART_ANYWAY, &db, share(34)).await?, "2 of the 3 wanted pods"),
        (bench.bounded(scale(4), &db, most(0)).await?, "1 of the 3 wanted pods"),
    ];
    let enough = bench.bounded(RESTART_ANYWAY, &db, most(2)).await?;
    bench.break_a_pod(&db, 2).await?;
    for (act, said) in &decided {
        bench.expect_out_of_bounds(act, said).await?;
    }
    let mut rehearsal = Act { dry_run: true, ..enough };
    write_intent(&mut rehearsal)?;
    expect(&bench.carry_out(&rehearsal).await?, ExecutionStatus::Succeeded, OutcomeCode::DryRun);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_goes_down_between_plan_and_write_is_counted_before_the_write_is_tried_again() -> Result<()>
{
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let act = bench.bounded(scale(5), &web, Bounds { unavailable_max: Some(0), ..Bounds::default() }).await?;
    let writing = Matching::path("/scale").method(Method::PATCH);
    let mut hold = bench.replicas[0].api_server.hold(writing, Moment::BeforePassingOn);
    let body = bench.sign(&act_order(&act, 60))?;
    bench.send(0, &body, 0).await?;
    hold.reached().await?;
    bench.break_a_pod(&web, 2).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;
    expect_exceeded(&result, "1 of the 3 wanted pods");
    bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}
