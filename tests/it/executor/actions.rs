//! Each action on real objects: what it writes, when it refuses, how its effect is judged.

use aegis_contract::action::{Change, NoParams, RollbackParams};
use aegis_contract::bounds::{Bounds, ReplicaBounds};
use aegis_contract::code::OutcomeCode;
use aegis_contract::facts::Rollout;
use aegis_contract::order::WrittenFields;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::{Kind, Target};
use aegis_tests::executor_accounts::{EXECUTOR_USER, ROLLBACK_USER};
use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::workload::{daemon_set, deployment, stateful_set};
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

use super::bench::{Bench, act_order};
use super::workloads::{RESTART, RESTART_ANYWAY, expect, scale};

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

fn rollback(to_revision: Option<u64>) -> Change {
    Change::Rollback(RollbackParams { to_revision })
}

impl Bench {
    async fn set_image(&self, name: &str, image: &str) -> Result<()> {
        self.cluster.apply_in(&self.namespace, deployment(name, image, 3)).await
    }

    async fn one_pod(&self, app: &str) -> Result<(Target, String)> {
        let pods = self.cluster.pods(&self.namespace, app).await?;
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let pod = pods.iter().rfind(stays).context("no pod")?;
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
        Ok((self.target(Kind::Pod, name), uid.to_owned()))
    }
}

#[tokio::test]
async fn a_restart_replaces_every_pod_of_each_kind_with_one_named_and_tested_patch() -> Result<()> {
    let bench = Bench::start(1).await?;
    let deployment = bench.deploy("web").await?;
    bench.cluster.apply_in(&bench.namespace, stateful_set("db", "app:1", 2)).await?;
    bench.cluster.apply_in(&bench.namespace, daemon_set("agent", "app:1")).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "statefulset/db").await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "daemonset/agent").await?;

    let stateful_set = bench.target(Kind::StatefulSet, "db");
    let daemon_set = bench.target(Kind::DaemonSet, "agent");
    for target in [deployment, stateful_set, daemon_set] {
        let before = bench.facts(&target).await?;
        let act = bench.act(RESTART, target.clone()).await?;
        let result = bench.carry_out(&act).await?;

        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        let names: Vec<_> = result.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["accepted", "checked", "written", "complete", "watched", "finished"], "{target}");
        let after = bench.facts(&target).await?;
        assert_eq!(result.after, Some(WrittenFields::Restart { restarted_at: after.restarted_at.clone() }));
        assert_eq!(after.template_digest, before.template_digest, "a restart is no other template");
        assert_eq!(after.rollout, Rollout::Complete);
        let annotations = bench.object(&target).await?["spec"]["template"]["metadata"]["annotations"].take();
        assert_eq!(annotations["aegis.dev/action"], json!(act.action_id));
        assert_eq!(annotations[RESTARTED_AT], json!(after.restarted_at));

        let writes = bench.writes(act.action_id)?;
        let [write] = &writes[..] else { panic!("{target}: {writes:?}") };
        assert_eq!((write.verb.as_str(), write.user.username.as_str()), ("patch", EXECUTOR_USER));
        assert!(write.request_uri.contains("timeout=5s"), "{}", write.request_uri);
        let sent = write.request_object.as_ref().map(Value::to_string).unwrap_or_default();
        assert!(sent.contains("/metadata/uid") && sent.contains("/metadata/resourceVersion"), "{sent}");
    }
    Ok(())
}

#[tokio::test]
async fn scaling_goes_up_down_to_zero_and_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let may_be_nothing = ReplicaBounds { min: Some(0), ..ReplicaBounds::default() };
    let bounds = Bounds { replicas: Some(may_be_nothing), ..Bounds::default() };
    for replicas in [5, 0, 2] {
        let act = bench.bounded(scale(replicas), &target, bounds).await?;
        let result = bench.carry_out(&act).await?;
        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        assert_eq!(result.after, Some(WrittenFields::Scale { replicas }));
        assert_eq!(bench.object(&target).await?["spec"]["replicas"], replicas);
        let [write] = &bench.writes(act.action_id)?[..] else { panic!("not one write") };
        let object = write.object_ref.as_ref().context("no object")?;
        assert_eq!((object.resource.as_str(), object.subresource.as_str()), ("deployments", "scale"));
    }
    bench.cluster.apply_in(&bench.namespace, stateful_set("db", "app:1", 1)).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "statefulset/db").await?;
    let act = bench.act(scale(2), bench.target(Kind::StatefulSet, "db")).await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    Ok(())
}

#[tokio::test]
async fn scaling_to_what_already_is_writes_nothing() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(scale(3), target).await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Succeeded, OutcomeCode::AlreadyDone);
    bench.expect_rows(act.action_id, &["accepted", "finished"]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rollback_heals_a_crashing_image_and_skips_restarts_on_the_way() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    bench.carry_out(&bench.act(RESTART, target.clone()).await?).await?;
    bench.set_image("web", "app:crash").await?;
    bench.carry_out(&bench.act(RESTART_ANYWAY, target.clone()).await.map(brief)?).await?;

    let act = bench.act(rollback(None), target.clone()).await?;
    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    assert_eq!(bench.image(&target).await?, "app:1");
    let writes = bench.writes(act.action_id)?;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].user.username, ROLLBACK_USER, "an account of its own writes rollbacks");
    assert_ne!(result.before, result.after);
    Ok(())
}

// A rollout that will not complete is watched for a moment only.
fn brief(act: aegis_contract::order::Act) -> aegis_contract::order::Act {
    aegis_contract::order::Act { watch_seconds: 1, ..act }
}

#[tokio::test]
async fn a_rollback_to_a_named_revision_takes_that_one_or_refuses() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    for image in ["app:2", "app:3"] {
        bench.set_image("web", image).await?;
        bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    }
    let missing = bench.act(rollback(Some(9)), target.clone()).await?;
    expect(&bench.carry_out(&missing).await?, ExecutionStatus::Refused, OutcomeCode::NoEarlierRevision);
    let present = bench.act(rollback(Some(3)), target.clone()).await?;
    expect(&bench.carry_out(&present).await?, ExecutionStatus::Succeeded, OutcomeCode::AlreadyDone);
    let first = bench.act(rollback(Some(1)), target.clone()).await?;
    expect(&bench.carry_out(&first).await?, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    assert_eq!(bench.image(&target).await?, "app:1");
    Ok(())
}

#[tokio::test]
async fn a_deployment_without_another_revision_is_not_rolled_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let only = bench.act(rollback(None), target).await?;
    expect(&bench.carry_out(&only).await?, ExecutionStatus::Refused, OutcomeCode::NoEarlierRevision);
    Ok(())
}

#[tokio::test]
async fn a_pod_is_evicted_once_and_its_successor_left_alone() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.deploy("web").await?;
    let (pod, uid) = bench.one_pod("web").await?;
    let act = bench.act(Change::RestartPod(NoParams {}), pod).await?;
    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
    let pods = bench.cluster.pods(&bench.namespace, "web").await?;
    assert!(pods.iter().all(|pod| pod["metadata"]["uid"] != uid.as_str()), "the pod is still there");
    let [write] = &bench.writes(act.action_id)?[..] else { panic!("not one write") };
    let object = write.object_ref.as_ref().context("no object")?;
    assert_eq!((object.resource.as_str(), object.subresource.as_str()), ("pods", "eviction"));
    Ok(())
}

#[tokio::test]
async fn a_pod_without_controller_is_not_evicted() -> Result<()> {
    let bench = Bench::start(1).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alone" },
        "spec": { "containers": [{ "name": "main", "image": "app:1" }] },
    });
    bench.cluster.apply_in(&bench.namespace, pod).await?;
    let act = bench.act(Change::RestartPod(NoParams {}), bench.target(Kind::Pod, "alone")).await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Refused, OutcomeCode::NoController);
    Ok(())
}

#[tokio::test]
async fn a_disruption_budget_holds_an_eviction_back_until_its_time_is_over() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.deploy("web").await?;
    let budget = ["create", "pdb", "web", "--selector=app=web", "--min-available=3"];
    bench.kubectl(budget).await?;
    let (pod, _) = bench.one_pod("web").await?;
    let act = bench.act(Change::RestartPod(NoParams {}), pod).await?;

    let result = bench.finished(0, &bench.sign(&act_order(&act, 3))?).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::BudgetBlocked);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_not_as_the_decision_saw_it_is_left_alone() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let stale_scale = bench.act(scale(5), target.clone()).await?;
    let stale_restart = bench.act(RESTART, target.clone()).await?;
    let replaced = bench.act(scale(6), target.clone()).await?;
    let gone = bench.act(scale(7), target.clone()).await?;

    bench.kubectl(["scale", "deployment/web", "--replicas=4"]).await?;
    bench.kubectl(["rollout", "restart", "deployment/web"]).await?;
    for act in [&stale_scale, &stale_restart] {
        let result = bench.carry_out(act).await?;
        expect(&result, ExecutionStatus::Refused, OutcomeCode::PreconditionFailed);
    }
    bench.kubectl(["delete", "deployment/web"]).await?;
    expect(&bench.carry_out(&gone).await?, ExecutionStatus::Refused, OutcomeCode::TargetGone);
    bench.deploy("web").await?;
    expect(&bench.carry_out(&replaced).await?, ExecutionStatus::Refused, OutcomeCode::TargetReplaced);
    for act in [&stale_scale, &stale_restart, &gone, &replaced] {
        assert!(bench.writes(act.action_id)?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_takes_the_same_way_and_changes_nothing() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    bench.set_image("web", "app:2").await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    let (pod, _) = bench.one_pod("web").await?;
    let before = bench.object(&target).await?;
    for (change, target) in [
        (RESTART, target.clone()),
        (scale(5), target.clone()),
        (rollback(None), target.clone()),
        (Change::RestartPod(NoParams {}), pod),
    ] {
        let mut act = bench.act(change, target).await?;
        act.dry_run = true;
        super::bench::write_intent(&mut act)?;
        let result = bench.carry_out(&act).await?;
        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::DryRun);
        bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await?;
        assert!(bench.writes(act.action_id)?.is_empty());
    }
    let after = bench.object(&target).await?;
    // Not the resourceVersion: the controller may still be writing the status of the last rollout.
    for part in ["/metadata/generation", "/metadata/annotations", "/spec"] {
        assert_eq!(after.pointer(part), before.pointer(part), "{part}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_exceeds_its_progress_deadline_has_failed() -> Result<()> {
    let bench = Bench::start(1).await?;
    let mut manifest = deployment("web", "app:1", 1);
    manifest["spec"]["progressDeadlineSeconds"] = json!(2);
    bench.cluster.apply_in(&bench.namespace, manifest.clone()).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:unready");
    bench.cluster.apply_in(&bench.namespace, manifest).await?;
    let target = bench.target(Kind::Deployment, "web");

    let act = bench.act(RESTART_ANYWAY, target).await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Failed, OutcomeCode::RolloutFailed);
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_takes_longer_than_it_is_watched_has_timed_out() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.cluster.apply_in(&bench.namespace, deployment("web", "app:unready", 1)).await?;
    let act = bench.act(RESTART_ANYWAY, bench.target(Kind::Deployment, "web")).await.map(brief)?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Failed, OutcomeCode::RolloutTimeout);
    Ok(())
}

#[tokio::test]
async fn a_field_that_somebody_else_overwrites_while_it_is_watched_is_contested() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.cluster.apply_in(&bench.namespace, deployment("web", "app:unready", 1)).await?;
    // Its controller has written what it has to say, so that the write meets the version that was read.
    let pod_is_there = "--for=jsonpath={.status.unavailableReplicas}=1";
    bench.kubectl(["wait", "deployment/web", pod_is_there]).await?;
    let act = bench.act(scale(2), bench.target(Kind::Deployment, "web")).await?;
    let written = Matching::path("/scale").method(Method::PATCH);
    let (body, hold) = bench.send_until_held(&act_order(&act, 30), written, Moment::BeforeAnswering).await?;
    bench.kubectl(["scale", "deployment/web", "--replicas=4"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Failed, OutcomeCode::Contested);
    assert!(result.message.contains("the newest writer is `kubectl"), "{}", result.message);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_change_by_somebody_else_just_before_the_write_is_met_by_its_tests() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(scale(5), target).await?;
    let writing = Matching::path("/scale").method(Method::PATCH);
    let (body, hold) = bench.send_until_held(&act_order(&act, 30), writing, Moment::BeforePassingOn).await?;
    bench.kubectl(["scale", "deployment/web", "--replicas=4"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::PreconditionFailed);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_harmless_change_just_before_the_write_only_makes_it_try_again() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(scale(5), target).await?;
    let writing = Matching::path("/scale").method(Method::PATCH);
    let (body, hold) = bench.send_until_held(&act_order(&act, 30), writing, Moment::BeforePassingOn).await?;
    bench.kubectl(["label", "deployment/web", "note=yes"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}
