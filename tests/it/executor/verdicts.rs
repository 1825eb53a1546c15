//! What a write causes, judged on a real API server: good, bad, or not known; and what comes of each.

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::Act;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus, Step};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::workload::{deployment, with_pod_annotation};
use anyhow::{Context, Result};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN, act_order, new_action_id, write_intent};
use super::workloads::{RESTART, RESTART_ANYWAY, ROLLBACK, expect, permit, scale};

/// A busy machine may take this long to hear of a sign and to look once.
const CALLED_WITHIN: SignedDuration = SignedDuration::from_secs(5);

impl Bench {
    /// A Deployment whose earlier revision is this one, and whose present one differs in its image and runs.
    async fn deploy_over(&self, mut earlier: Value) -> Result<Target> {
        self.cluster.apply_in(&self.namespace, earlier.clone()).await?;
        // The controller keeps a revision only of what it has seen.
        self.begun(&self.target(Kind::Deployment, "web")).await?;
        earlier["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:1");
        self.apply_complete(Kind::Deployment, earlier).await
    }

    /// A rollback of `target` that may be put back within a minute.
    async fn rollback(&self, target: Target) -> Result<Act> {
        let act = self.act(ROLLBACK, target).await?;
        permit(act, 60)
    }

    async fn expect_image(&self, image: &str) -> Result<()> {
        assert_eq!(self.image(&self.target(Kind::Deployment, "web")).await?, image);
        Ok(())
    }

    async fn acting_rows(&self, act: &Act) -> Result<i64> {
        Ok(self.rows(act.action_id).await?.get("acting").copied().unwrap_or_default())
    }
}

const PATCHING: &str = "/deployments/web?";

/// The write of an act's return: its template bears another mark than the change's.
fn returning(act: &Act) -> Matching {
    Matching::path(PATCHING).method(Method::PATCH).body(&format!("{}/2", act.action_id))
}

fn step<'a>(result: &'a ExecutionResult, name: &str) -> Result<&'a Step> {
    result.steps.iter().find(|step| step.name == name).with_context(|| format!("no step {name}: {result:?}"))
}

#[tokio::test]
async fn a_bad_image_is_called_bad_at_once_and_what_was_there_is_put_back_by_the_same_action() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy_over(deployment("web", "app:bad-pull", 3)).await?;
    let act = bench.rollback(target.clone()).await?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
    let called_after = step(&result, "judged")?.at.duration_since(step(&result, "noticed")?.at);
    assert!(called_after < CALLED_WITHIN, "{called_after:?}");
    step(&result, "returned")?;
    assert!(result.steps.is_sorted_by_key(|step| step.at), "{:?}", result.steps);
    bench.expect_image("app:1").await?;
    assert_eq!(bench.facts(&target).await?.rollout, aegis_contract::facts::Rollout::Complete);
    assert_eq!((bench.writes(act.action_id)?.len(), bench.acting_rows(&act).await?), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_with_the_pauses_of_a_kubelet_is_called_bad_at_its_second_restart() -> Result<()> {
    let bench = Bench::start(1).await?;
    let crashing =
        with_pod_annotation(deployment("web", "app:crash", 3), "sim.aegis.dev/back-off", "kubelet");
    let target = bench.deploy_over(crashing).await?;
    let act = bench.rollback(target).await?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Returned, OutcomeCode::CrashLoop);
    assert!(result.message.contains("restarted 2 times"), "{}", result.message);
    bench.expect_image("app:1").await?;
    Ok(())
}

#[tokio::test]
async fn pods_that_a_quota_keeps_out_are_a_reason_to_take_a_scaling_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    bench.kubectl(["create", "quota", "three", "--hard=pods=3"]).await?;
    let act = bench.act(scale(5), target).await?;
    let act = permit(act, 60)?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Returned, OutcomeCode::PodsNotCreated);
    let object = bench.cluster.get(&bench.namespace, "deployment/web").await?;
    assert_eq!(object["spec"]["replicas"], 3);
    Ok(())
}

#[tokio::test]
async fn a_restart_that_turns_out_bad_fails_and_there_is_nothing_to_put_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.cluster.apply_in(&bench.namespace, deployment("web", "app:crash", 1)).await?;
    let act = bench.act(RESTART_ANYWAY, bench.target(Kind::Deployment, "web")).await?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_gets_well_by_itself_is_good_in_the_end() -> Result<()> {
    let bench = Bench::start(1).await?;
    let slow = with_pod_annotation(deployment("slow", "app:1", 2), "sim.aegis.dev/ready-after", "12s");
    let stumbling =
        with_pod_annotation(deployment("pulls", "app:1", 2), "sim.aegis.dev/pull-fails-for", "4s");
    let mut bodies = Vec::new();
    for (name, manifest) in [("slow", slow), ("pulls", stumbling)] {
        bench.cluster.apply_in(&bench.namespace, manifest).await?;
        bench.cluster.wait_rolled_out(&bench.namespace, &format!("deployment/{name}")).await?;
        let act = bench.act(RESTART, bench.target(Kind::Deployment, name)).await?;
        let body = bench.sign(&act_order(&act, 30))?;
        bench.send(0, &body, 0).await?;
        bodies.push(body);
    }
    for body in bodies {
        let result = bench.finished(0, &body).await?;
        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_good_must_stay_so_for_its_time() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(RESTART, target).await?;
    let act = Act { soak_seconds: 4, ..act };

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let soaked = step(&result, "watched")?.at.duration_since(step(&result, "complete")?.at);
    assert!(soaked >= SignedDuration::from_secs(4), "{soaked:?}");
    Ok(())
}

#[tokio::test]
async fn without_permission_or_after_its_deadline_nothing_is_put_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let crashing =
        |image| with_pod_annotation(deployment("web", image, 3), "sim.aegis.dev/crash-every", "2s");
    let target = bench.deploy_over(crashing("app:crash")).await?;
    let late = permit(bench.rollback(target).await?, 1)?;

    let result = bench.carry_out(&late).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
    assert!(result.message.contains("the time to put it back ran out"), "{}", result.message);
    assert_eq!(bench.acting_rows(&late).await?, 1);

    // Another one: what has failed once is not returned to.
    let target = bench.deploy_over(crashing("other:crash")).await?;
    let without = bench.act(ROLLBACK, target).await?;
    let result = bench.carry_out(&without).await?;
    expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
    assert_eq!(bench.acting_rows(&without).await?, 1);
    bench.expect_image("other:crash").await?;
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_not_overwritten_by_a_return_and_they_are_named() -> Result<()>
{
    let bench = Bench::start(1).await?;
    let target = bench.deploy_over(deployment("web", "app:bad-pull", 3)).await?;
    let act = bench.rollback(target).await?;
    let (body, hold) =
        bench.send_until_held(&act_order(&act, 30), returning(&act), Moment::BeforePassingOn).await?;
    bench.kubectl(["set", "image", "deployment/web", "main=app:7"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;

    assert_eq!(result.status, ExecutionStatus::Failed, "{result:?}");
    assert!(result.message.contains("kubectl"), "{}", result.message);
    bench.expect_image("app:7").await?;
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn killed_around_the_return_it_is_made_once_all_the_same() -> Result<()> {
    for moment in [Moment::BeforePassingOn, Moment::BeforeAnswering] {
        let bench = Bench::start(1).await?;
        let target = bench.deploy_over(deployment("web", "app:bad-pull", 3)).await?;
        let act = bench.rollback(target).await?;
        let (body, hold) = bench.send_until_held(&act_order(&act, 30), returning(&act), moment).await?;
        bench.restart(0).await?;

        let result = bench.finished(0, &body).await?;

        expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
        bench.expect_image("app:1").await?;
        assert_eq!((bench.writes(act.action_id)?.len(), bench.acting_rows(&act).await?), (2, 2));
        // The dead process' write, still in flight, meets another version.
        if moment == Moment::BeforePassingOn {
            hold.release()?;
            until("the late write being turned down", WITHIN, async || {
                let requests = bench.cluster.audit().requests()?;
                Ok(requests.iter().any(|request| {
                    let status = request.response_status.as_ref().map(|status| status.code);
                    request.is_in(&bench.namespace) && matches!(status, Some(409 | 422))
                }))
            })
            .await?;
            assert_eq!(bench.writes(act.action_id)?.len(), 2);
        }
    }
    Ok(())
}

#[tokio::test]
async fn killed_before_the_return_was_announced_it_is_judged_and_made_by_the_next_worker() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy_over(deployment("web", "app:bad-pull", 3)).await?;
    let act = bench.rollback(target).await?;
    let written = Matching::path(PATCHING).method(Method::PATCH);
    let (body, _hold) = bench.send_until_held(&act_order(&act, 30), written, Moment::BeforeAnswering).await?;
    bench.restart(0).await?;

    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
    assert_eq!(bench.writes(act.action_id)?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn pods_that_are_out_of_sight_are_never_taken_for_bad_and_are_found_again() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy_over(deployment("web", "app:bad-pull", 3)).await?;
    let act = bench.rollback(target).await?;
    let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired" });
    let pods = Matching::path("/pods?").method(Method::GET);
    let api_server = &bench.replicas[0].api_server;
    let mut writing =
        api_server.hold(Matching::path(PATCHING).method(Method::PATCH), Moment::BeforePassingOn);
    let body = bench.sign(&act_order(&act, 30))?;
    bench.send(0, &body, 0).await?;
    writing.reached().await?;
    let fault = api_server.answer(pods, StatusCode::GONE, &gone.to_string());
    let looks = || api_server.seen().iter().filter(|line| line.contains("/pods?")).count();
    let before = looks();
    writing.release()?;
    // It is looked after all the while, and nothing is decided.
    until("looks in vain", WITHIN, async || Ok(looks() > before + 5)).await?;
    assert_eq!(bench.acting_rows(&act).await?, 1);
    drop(fault);

    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
    Ok(())
}

#[tokio::test]
async fn a_watch_that_the_api_server_closes_goes_on_with_a_list() -> Result<()> {
    let bench = Bench::start(1).await?;
    // Bad after some seconds: meanwhile the watch is tried more than once.
    let crashing = with_pod_annotation(deployment("web", "app:crash", 3), "sim.aegis.dev/crash-every", "3s");
    let target = bench.deploy_over(crashing).await?;
    let mut act = Act { action_id: new_action_id(), ..bench.rollback(target).await? };
    write_intent(&mut act)?;
    let gone = json!({ "type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
    } });
    let api_server = &bench.replicas[0].api_server;
    let fault = api_server.answer(Matching::path("watch=1"), StatusCode::OK, &format!("{gone}\n"));
    let body = bench.sign(&act_order(&act, 30))?;

    let result = bench.finished(0, &body).await?;
    drop(fault);
    // Lists alone tell as much, if later.
    expect(&result, ExecutionStatus::Returned, OutcomeCode::CrashLoop);
    assert!(api_server.seen().iter().filter(|line| line.contains("watch=1")).count() > 1);
    Ok(())
}
