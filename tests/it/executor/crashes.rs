//! The executor killed or stopped between any two steps: the action ends once, and as the design says.

use aegis_contract::action::{Change, NoParams, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, Order};
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus};
use aegis_contract::target::Kind;
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Hold, Matching, Moment};
use anyhow::{Context, Result};
use http::Method;

use super::bench::{Bench, WITHIN, act_order, now, until_expired};

/// An acting order whose next call of a kind is held on its way.
struct Scene {
    bench: Bench,
    act: Act,
    order: Order,
    body: Vec<u8>,
    hold: Hold,
}

impl Scene {
    /// Orders the first of `replicas` to scale a Deployment, and waits until it is held.
    async fn set(replicas: usize, seconds: i64, at: (Method, &str), moment: Moment) -> Result<Self> {
        let bench = Bench::start(replicas).await?;
        let target = bench.deploy("web").await?;
        let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
        let order = act_order(&act, seconds);
        Self::order(bench, act, order, at, moment).await
    }

    async fn order(bench: Bench, act: Act, order: Order, at: (Method, &str), moment: Moment) -> Result<Self> {
        let matching = Matching::path(at.1).method(at.0);
        let (body, hold) = bench.send_until_held(&order, matching, moment).await?;
        Ok(Self { bench, act, order, body, hold })
    }

    async fn expect_rows(&self, kinds: &[&str]) -> Result<()> {
        self.bench.expect_rows(self.act.action_id, kinds).await
    }

    async fn replicas(&self) -> Result<u64> {
        let object = self.bench.cluster.get(&self.bench.namespace, "deployment/web").await?;
        object["spec"]["replicas"].as_u64().context("no replicas")
    }

    fn scale_writes(&self) -> Result<usize> {
        let writes = self.bench.writes(self.act.action_id)?;
        let scales = |write: &&aegis_tests::kube_audit::KubeRequest| write.request_uri.contains("/scale");
        Ok(writes.iter().filter(scales).count())
    }

    fn fence_writes(&self) -> Result<usize> {
        Ok(self.bench.writes(self.act.action_id)?.len() - self.scale_writes()?)
    }
}

const READ: (Method, &str) = (Method::GET, "/deployments/web");
const WRITE: (Method, &str) = (Method::PATCH, "/deployments/web/scale");

fn ended(result: &ExecutionResult) -> (ExecutionStatus, OutcomeCode) {
    (result.status, result.code)
}

const DONE: (ExecutionStatus, OutcomeCode) = (ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
const EXPIRED: (ExecutionStatus, OutcomeCode) = (ExecutionStatus::Expired, OutcomeCode::DeadlinePassed);

#[tokio::test]
async fn killed_between_accepted_and_acting_it_goes_on_while_there_is_time() -> Result<()> {
    let scene = Scene::set(1, 60, READ, Moment::BeforePassingOn).await?;
    scene.expect_rows(&["accepted"]).await?;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), DONE, "{result:?}");
    assert_eq!((scene.scale_writes()?, scene.replicas().await?), (1, 5));
    Ok(())
}

#[tokio::test]
async fn killed_between_accepted_and_acting_it_expires_when_the_time_is_over() -> Result<()> {
    let scene = Scene::set(1, 3, READ, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.kill()?;
    until_expired(&scene.order).await;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), EXPIRED, "{result:?}");
    assert_eq!((scene.bench.writes(scene.act.action_id)?.len(), scene.replicas().await?), (0, 3));
    scene.expect_rows(&["accepted", "finished"]).await
}

#[tokio::test]
async fn killed_between_acting_and_the_write_it_writes_once_while_there_is_time() -> Result<()> {
    let scene = Scene::set(1, 60, WRITE, Moment::BeforePassingOn).await?;
    scene.expect_rows(&["accepted", "acting"]).await?;
    scene.bench.restart(0).await?;
    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), DONE, "{result:?}");

    // The dead process' write, still in flight, arrives after all was said.
    let (bench, act) = (scene.bench, scene.act);
    scene.hold.release()?;
    expect_turned_down(&bench, 2).await?;
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn killed_between_acting_and_the_write_it_fences_and_expires_when_the_time_is_over() -> Result<()> {
    let scene = Scene::set(1, 3, WRITE, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.kill()?;
    until_expired(&scene.order).await;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), EXPIRED, "{result:?}");
    assert!(result.steps.iter().any(|step| step.name == "fenced"), "{:?}", result.steps);
    assert_eq!((scene.scale_writes()?, scene.fence_writes()?), (0, 1));

    // The dead process' write, still in flight, arrives after `expired` was said.
    let bench = scene.bench;
    scene.hold.release()?;
    expect_turned_down(&bench, 1).await?;
    let object = bench.cluster.get(&bench.namespace, "deployment/web").await?;
    assert_eq!(object["spec"]["replicas"], 3);
    Ok(())
}

/// Waits until the API server has answered this many scale requests, the last of them with a no.
async fn expect_turned_down(bench: &Bench, answered: usize) -> Result<()> {
    until("the late write being answered", WITHIN, async || {
        let requests = bench.cluster.audit().requests()?;
        let scales: Vec<_> = requests
            .iter()
            .filter(|request| request.is_in(&bench.namespace) && request.request_uri.contains("/scale"))
            .collect();
        let last = scales.last().and_then(|request| request.response_status.as_ref());
        Ok(scales.len() >= answered && last.is_some_and(|status| matches!(status.code, 409 | 422)))
    })
    .await
}

#[tokio::test]
async fn killed_after_the_write_it_only_watches() -> Result<()> {
    let scene = Scene::set(1, 3, WRITE, Moment::BeforeAnswering).await?;
    scene.bench.replicas[0].process.kill()?;
    until_expired(&scene.order).await;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), DONE, "{result:?}");
    assert_eq!((scene.scale_writes()?, scene.fence_writes()?, scene.replicas().await?), (1, 0, 5));
    scene.expect_rows(&["accepted", "acting", "finished"]).await
}

#[tokio::test]
async fn an_eviction_in_doubt_past_its_time_is_unknown_never_expired() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.deploy("web").await?;
    let pods = bench.cluster.pods(&bench.namespace, "web").await?;
    let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
    let act = bench.act(Change::RestartPod(NoParams {}), bench.target(Kind::Pod, name)).await?;
    let order = act_order(&act, 3);
    let evicting = (Method::POST, "/eviction");
    let scene = Scene::order(bench, act, order, evicting, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.kill()?;
    until_expired(&scene.order).await;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), (ExecutionStatus::Unknown, OutcomeCode::WriteInDoubt), "{result:?}");
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_changed_while_no_worker_looked_is_contested() -> Result<()> {
    let scene = Scene::set(1, 60, WRITE, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.kill()?;
    let namespace = scene.bench.namespace.as_str();
    scene.bench.cluster.kubectl(["-n", namespace, "scale", "deployment/web", "--replicas=4"]).await?;
    scene.bench.restart(0).await?;

    let result = scene.bench.finished(0, &scene.body).await?;
    assert_eq!(ended(&result), (ExecutionStatus::Failed, OutcomeCode::Contested), "{result:?}");
    assert_eq!(scene.replicas().await?, 4);
    Ok(())
}

#[tokio::test]
async fn stopped_just_before_its_write_it_is_replaced_and_writes_nothing_when_it_goes_on() -> Result<()> {
    let scene = Scene::set(2, 60, WRITE, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.stop()?;

    let result = scene.bench.finished(1, &scene.body).await?;
    assert_eq!(ended(&result), DONE, "{result:?}");
    let (bench, act, body) = (scene.bench, scene.act, scene.body);
    scene.hold.release()?;
    bench.replicas[0].process.cont()?;
    expect_turned_down(&bench, 2).await?;
    expect_let_go(&bench).await?;

    assert_eq!(bench.finished(0, &body).await?, result);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await
}

#[tokio::test]
async fn stopped_just_before_its_write_past_its_time_it_finds_the_object_fenced() -> Result<()> {
    let scene = Scene::set(2, 3, WRITE, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.stop()?;

    let result = scene.bench.finished(1, &scene.body).await?;
    assert_eq!(ended(&result), EXPIRED, "{result:?}");
    let (bench, body) = (scene.bench, scene.body);
    scene.hold.release()?;
    bench.replicas[0].process.cont()?;
    expect_turned_down(&bench, 1).await?;
    expect_let_go(&bench).await?;

    assert_eq!(bench.finished(0, &body).await?, result);
    let object = bench.cluster.get(&bench.namespace, "deployment/web").await?;
    assert_eq!(object["spec"]["replicas"], 3);
    Ok(())
}

/// Waits until the first replica has noticed that another one holds its lease.
async fn expect_let_go(bench: &Bench) -> Result<()> {
    until("the replaced worker stopping", WITHIN, async || {
        Ok(bench.replicas[0].process.log_tail(50).contains("the lease is lost"))
    })
    .await
}

#[tokio::test]
async fn a_killed_replica_is_replaced_within_ten_seconds() -> Result<()> {
    let scene = Scene::set(2, 60, READ, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.kill()?;
    let killed_at = now();

    let result = scene.bench.finished(1, &scene.body).await?;
    assert_eq!(ended(&result), DONE, "{result:?}");
    let resumed = result.steps.iter().find(|step| step.name == "resumed").context("nobody resumed")?;
    let pause = resumed.at.duration_since(killed_at);
    assert!(pause.as_secs() < 10, "{pause:?}");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_is_asked_to_end_hands_its_action_over_at_once() -> Result<()> {
    let scene = Scene::set(2, 60, READ, Moment::BeforePassingOn).await?;
    scene.bench.replicas[0].process.terminate(WITHIN).await?;
    // Killed instead, it would have left a lease that has to run out first.
    let held = "select 1 from worker_leases where fence = 1 and expires_at > now()";
    assert_eq!(scene.bench.query(held).await?.len(), 0);
    assert!(scene.bench.replicas[0].process.log_tail(20).contains("another worker goes on"));

    assert_eq!(ended(&scene.bench.finished(1, &scene.body).await?), DONE);
    assert_eq!(scene.scale_writes()?, 1);
    Ok(())
}
