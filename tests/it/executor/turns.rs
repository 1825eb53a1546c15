//! Actions that share a disruption budget take pods down one after another, whichever replica is at work on them.

use aegis_contract::action::{Change, NoParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::Act;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use aegis_tests::workload::{deployment, with_pod_annotation};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN, act_order, now};
use super::workloads::{RESTART, RESTART_UNHEALTHY, expect};

/// Workloads of four pods each, whose pods take so long to become ready.
const READY_AFTER: &str = "4s";

fn of_tier(name: &str, tier: &str) -> Value {
    let mut manifest =
        with_pod_annotation(deployment(name, "app:1", 4), "sim.aegis.dev/ready-after", READY_AFTER);
    manifest["spec"]["template"]["metadata"]["labels"]["tier"] = json!(tier);
    manifest
}

impl Bench {
    /// Two workloads under one budget, which lets so many pods go down.
    async fn two_under_a_budget(&self, allowed: u32) -> Result<(Target, Target)> {
        let first = self.apply_complete(Kind::Deployment, of_tier("first", "front")).await?;
        let second = self.apply_complete(Kind::Deployment, of_tier("second", "front")).await?;
        let least = format!("--min-available={}", 8 - allowed);
        self.kubectl(["create", "pdb", "front", "--selector=tier=front", &least]).await?;
        until("the budget's figures", WITHIN, async || {
            let budget = self.cluster.get(&self.namespace, "poddisruptionbudget/front").await?;
            Ok(budget["status"]["disruptionsAllowed"] == allowed)
        })
        .await?;
        Ok((first, second))
    }

    /// Begins an act on a replica, and waits until it has written.
    async fn begin(&self, index: usize, act: &Act) -> Result<Vec<u8>> {
        let body = self.sign(&act_order(act, 60))?;
        self.send(index, &body, 0).await?;
        until("the first write", WITHIN, async || Ok(!self.writes(act.action_id)?.is_empty())).await?;
        Ok(body)
    }

    async fn turns(&self) -> Result<usize> {
        Ok(self.query("select 1 from budget_turns").await?.len())
    }
}

fn step(result: &ExecutionResult, name: &str) -> Result<Timestamp> {
    let found = result.steps.iter().find(|step| step.name == name);
    Ok(found.with_context(|| format!("no step {name}: {result:?}"))?.at)
}

#[tokio::test]
async fn of_two_restarts_that_share_a_budget_the_second_waits_for_the_end_of_the_first() -> Result<()> {
    let bench = Bench::start(2).await?;
    let (first, second) = bench.two_under_a_budget(4).await?;
    let (first, second) = (bench.act(RESTART, first).await?, bench.act(RESTART, second).await?);
    let ahead = bench.begin(0, &first).await?;
    let behind = bench.sign(&act_order(&second, 60))?;

    let second = bench.finished(1, &behind).await?;
    let first_result = bench.finished(0, &ahead).await?;

    for result in [&first_result, &second] {
        expect(result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    }
    assert!(step(&second, "written")? >= step(&first_result, "complete")?, "{second:?}");
    let waited = second.steps.iter().find(|step| step.name == "waiting").context("it did not wait")?;
    assert!(waited.message.contains(&first.action_id.to_string()), "{}", waited.message);
    step(&second, "in-turn")?;
    assert_eq!(bench.turns().await?, 0);
    Ok(())
}

#[tokio::test]
async fn what_the_first_has_used_up_of_the_budget_is_no_obstacle_to_the_plan_of_the_second() -> Result<()> {
    let bench = Bench::start(1).await?;
    let (first, second) = bench.two_under_a_budget(1).await?;
    let first = bench.act(RESTART, first).await?;
    let ahead = bench.begin(0, &first).await?;
    until("the budget being used up", WITHIN, async || {
        let budget = bench.cluster.get(&bench.namespace, "poddisruptionbudget/front").await?;
        Ok(budget["status"]["disruptionsAllowed"] == 0)
    })
    .await?;

    let plan = bench.plan(&RESTART, &second).await?;
    assert_eq!(plan.obstacle, None);
    assert!(plan.warnings.iter().any(|warning| warning.contains(&first.action_id.to_string())), "{plan:?}");
    let second = bench.act(RESTART, second).await?;
    let result = bench.finished(0, &bench.sign(&act_order(&second, 60))?).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let first = bench.finished(0, &ahead).await?;
    expect(&first, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    assert!(step(&result, "written")? >= step(&first, "complete")?, "{result:?}");
    Ok(())
}

#[tokio::test]
async fn an_action_whose_turn_does_not_come_in_time_expires_and_writes_nothing() -> Result<()> {
    let bench = Bench::start(2).await?;
    let (first, second) = bench.two_under_a_budget(4).await?;
    let pod = bench.cluster.pods(&bench.namespace, "second").await?;
    let pod = bench.target(Kind::Pod, pod[0]["metadata"]["name"].as_str().context("no name")?);
    let first = bench.act(RESTART, first).await?;
    let restart = bench.act(RESTART, second.clone()).await?;
    let restart_pod = bench.act(Change::RestartPod(NoParams {}), pod).await?;
    let ahead = bench.begin(0, &first).await?;

    for act in [restart, restart_pod] {
        let result = bench.finished(1, &bench.sign(&act_order(&act, 2))?).await?;
        expect(&result, ExecutionStatus::Expired, OutcomeCode::BudgetBlocked);
        assert!(result.message.contains(&first.action_id.to_string()), "{}", result.message);
        assert!(bench.writes(act.action_id)?.is_empty());
        bench.expect_rows(act.action_id, &["accepted", "finished"]).await?;
    }
    let result = bench.finished(0, &ahead).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    Ok(())
}

#[tokio::test]
async fn another_budget_and_what_takes_no_ready_pod_down_do_not_wait() -> Result<()> {
    let bench = Bench::start(1).await?;
    let (first, second) = bench.two_under_a_budget(4).await?;
    let other = bench.apply_complete(Kind::Deployment, of_tier("other", "back")).await?;
    bench.kubectl(["create", "pdb", "back", "--selector=tier=back", "--min-available=1"]).await?;
    let pods = bench.cluster.pods(&bench.namespace, "second").await?;
    let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
    bench.kubectl(["annotate", &format!("pod/{name}"), "sim.aegis.dev/break=unready"]).await?;
    until("a pod being down", WITHIN, async || Ok(bench.facts(&second).await?.available_replicas == 3))
        .await?;
    let first = bench.act(RESTART, first).await?;
    let acts = [bench.act(RESTART_UNHEALTHY, second).await?, bench.act(RESTART, other).await?];
    let ahead = bench.begin(0, &first).await?;
    for act in &acts {
        let result = bench.carry_out(act).await?;
        assert_eq!(result.status, ExecutionStatus::Succeeded, "{result:?}");
        assert!(step(&result, "waiting").is_err(), "{result:?}");
    }
    bench.finished(0, &ahead).await?;
    Ok(())
}

#[tokio::test]
async fn the_turn_of_a_killed_replicas_action_goes_on_with_its_successor_and_ends_with_the_action()
-> Result<()> {
    let bench = Bench::start(2).await?;
    let (first, second) = bench.two_under_a_budget(4).await?;
    let (first, second) = (bench.act(RESTART, first).await?, bench.act(RESTART, second).await?);
    let ahead = bench.begin(0, &first).await?;
    bench.replicas[0].process.kill()?;
    let killed_at = now();

    let result = bench.finished(1, &bench.sign(&act_order(&second, 60))?).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let first = bench.finished(1, &ahead).await?;
    expect(&first, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let resumed = step(&first, "resumed")?.duration_since(killed_at);
    assert!(resumed.as_secs() < 10, "{resumed:?}");
    assert!(step(&result, "written")? >= step(&first, "complete")?, "{result:?}");
    assert_eq!(bench.turns().await?, 0);
    Ok(())
}
