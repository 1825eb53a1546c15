//! A canary: one pod of a restart goes first, and the others follow only when what came in its place is good.

mod interrupted;

use aegis_contract::bounds::Bounds;
use aegis_contract::code::OutcomeCode;
use aegis_contract::facts::Rollout;
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::plan::Plan;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus, Stage};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::EXECUTOR_USER;
use aegis_tests::fault_proxy::{Hold, Matching, Moment};
use aegis_tests::workload::{daemon_set, deployment, stateful_set, with_pod_annotation};
use anyhow::{Context, Result, bail};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN, act_order, write_intent};
use super::evictions::is_eviction;
use super::workloads::{RESTART, RESTART_WITH_CANARY, expect};

const BREAK: &str = "sim.aegis.dev/break";
const DONE: (ExecutionStatus, OutcomeCode) = (ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);

/// A pod that stays: its name, its uid, when it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pod {
    created: String,
    name: String,
    uid: String,
}

impl Bench {
    async fn pods_of(&self, app: &str) -> Result<Vec<Pod>> {
        let pods = self.cluster.pods(&self.namespace, app).await?;
        let stays = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let text = |pod: &Value, name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
        let pod = |pod| Pod {
            created: text(pod, "creationTimestamp"),
            name: text(pod, "name"),
            uid: text(pod, "uid"),
        };
        let mut pods: Vec<_> = stays.map(pod).collect();
        pods.sort();
        Ok(pods)
    }

    /// A workload whose pods serve, and whose next pods will break in this way.
    async fn about_to_break(&self, kind: Kind, manifest: Value, way: &str) -> Result<Target> {
        let name = manifest["metadata"]["name"].as_str().context("no name")?.to_owned();
        self.cluster.apply_in(&self.namespace, with_pod_annotation(manifest, BREAK, way)).await?;
        let target = self.target(kind, &name);
        until("every pod being mended and counted", WITHIN, async || {
            for pod in self.cluster.pods(&self.namespace, &name).await? {
                if let Some(name) = pod["metadata"]["name"].as_str()
                    && !pod["metadata"]["annotations"][BREAK].is_null()
                {
                    self.kubectl(["annotate", &format!("pod/{name}"), &format!("{BREAK}-")]).await?;
                }
            }
            let facts = self.facts(&target).await?;
            Ok(facts.rollout == Rollout::Complete && facts.ready_replicas > 1)
        })
        .await?;
        Ok(target)
    }

    /// One pod was evicted at most, and of the workload nothing was changed: neither other pods nor the object.
    async fn expect_untouched(&self, act: &Act, before: &(Value, Vec<Pod>)) -> Result<()> {
        let target = &act.target;
        let (evicted, others) = self.evicted(act)?;
        assert!(evicted.len() <= 1 && others == 0, "{target}: {evicted:?}, {others}");
        let (object, pods) = before;
        let after = self.object(target).await?;
        for part in ["/metadata/generation", "/metadata/annotations", "/spec"] {
            assert_eq!(after.pointer(part), object.pointer(part), "{target} {part}");
        }
        let now = self.pods_of(&target.name).await?;
        for pod in pods.iter().filter(|pod| !evicted.contains(&pod.name)) {
            assert!(now.contains(pod), "{target}: pod {} was replaced", pod.name);
        }
        Ok(())
    }

    /// Sends an order until it is told that something is held back.
    async fn until_held_back(&self, body: &[u8]) -> Result<()> {
        until("being held back", WITHIN, async || match self.stage(0, body, 1).await? {
            Stage::Running { steps } => Ok(steps.iter().any(|step| step.name == "held-back")),
            stage => bail!("{stage:?}"),
        })
        .await
    }

    async fn as_it_is(&self, target: &Target) -> Result<(Value, Vec<Pod>)> {
        Ok((self.object(target).await?, self.pods_of(&target.name).await?))
    }

    /// Orders the first replica about, and waits until a call of the action is held on its way.
    async fn canary_held(&self, act: &Act, call: Matching, moment: Moment) -> Result<(Vec<u8>, Hold)> {
        self.send_until_held(&act_order(act, 60), call, moment).await
    }
}

/// The canary's eviction.
fn evicting() -> Matching {
    Matching::path("/eviction").method(Method::POST)
}

/// The restart of the others.
fn restarting(target: &Target) -> Matching {
    Matching::path(&format!("/{}?", target.name)).method(Method::PATCH)
}

fn steps(result: &ExecutionResult) -> Vec<&str> {
    result.steps.iter().map(|step| step.name.as_str()).collect()
}

fn expect_done(result: &ExecutionResult) {
    expect(result, DONE.0, DONE.1);
}

#[tokio::test]
async fn one_pod_goes_first_and_when_its_successor_is_good_all_are_restarted() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.apply_complete(Kind::Deployment, deployment("web", "app:1", 3)).await?;
    let db = bench.apply_complete(Kind::StatefulSet, stateful_set("db", "app:1", 3)).await?;
    let agent = bench.apply_complete(Kind::DaemonSet, daemon_set("agent", "app:1")).await?;
    for target in [web, db, agent] {
        let before = bench.pods_of(&target.name).await?;
        let newest = before.last().context("no pod")?.name.clone();
        let first = if target.kind == Kind::StatefulSet { "db-2".to_owned() } else { newest };
        let wanted = u32::try_from(before.len())?;

        let Plan { pods_affected, pods_unavailable_max, changes, obstacle, .. } =
            bench.plan(&RESTART_WITH_CANARY, &target).await?;
        assert_eq!((pods_affected, pods_unavailable_max, obstacle), (wanted, 1, None), "{target}");
        let [canary, rest] = &changes[..] else { bail!("{changes:?}") };
        assert!(canary.contains(&first) && rest.contains(&format!("all {wanted} pods")), "{changes:?}");
        let act = bench.act(RESTART_WITH_CANARY, target.clone()).await?;
        let act = Act { soak_seconds: 1, ..act };
        let result = bench.carry_out(&act).await?;

        expect_done(&result);
        let expected =
            ["accepted", "checked", "evicted", "judged", "written", "complete", "watched", "finished"];
        assert_eq!(steps(&result), expected, "{target}");
        let [evicted, judged] =
            ["evicted", "judged"].map(|name| result.steps.iter().find(|step| step.name == name));
        let (evicted, judged) = (evicted.context("no step")?, judged.context("no step")?);
        assert!(evicted.message.contains(&first) && judged.message.starts_with("good: "), "{result:?}");
        assert!(judged.at.duration_since(evicted.at).as_secs() >= 1, "{result:?}");

        let writes = bench.writes(act.action_id)?;
        let [canary, rest] = &writes[..] else { bail!("{target}: {writes:?}") };
        assert!(is_eviction(canary) && rest.verb == "patch", "{target}: {writes:?}");
        assert!(writes.iter().all(|write| write.user.username == EXECUTOR_USER));
        assert_eq!(bench.evicted(&act)?.0, [first], "{target}");
        assert_eq!(bench.announced(&act).await?, 2);
        let facts = bench.facts(&target).await?;
        assert_eq!(result.after, Some(WrittenFields::Restart { restarted_at: facts.restarted_at }));
        let after = bench.pods_of(&target.name).await?;
        assert!(after.iter().all(|pod| before.iter().all(|before| before.uid != pod.uid)), "{target}");
    }
    Ok(())
}

#[tokio::test]
async fn a_canary_whose_successor_crashes_is_all_that_was_restarted() -> Result<()> {
    let bench = Bench::start(1).await?;
    let mut set = stateful_set("db", "app:1", 3);
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    for (kind, manifest) in [
        (Kind::Deployment, deployment("web", "app:1", 3)),
        (Kind::StatefulSet, set),
        (Kind::DaemonSet, daemon_set("agent", "app:1")),
    ] {
        let target = bench.about_to_break(kind, manifest, "crash").await?;
        let before = bench.as_it_is(&target).await?;
        let act = bench.act(RESTART_WITH_CANARY, target.clone()).await?;

        let result = bench.carry_out(&act).await?;

        expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
        let (evicted, _) = bench.evicted(&act)?;
        assert_eq!(evicted.len(), 1, "{target}");
        let came = format!("came in the place of pod {}", evicted[0]);
        assert!(
            result.message.contains(&came) && result.message.contains("nothing to put back"),
            "{result:?}"
        );
        assert_eq!((result.after == result.before, bench.announced(&act).await?), (true, 1), "{result:?}");
        bench.expect_untouched(&act, &before).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_canary_that_is_not_good_in_time_is_not_taken_for_good() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.about_to_break(Kind::Deployment, deployment("web", "app:1", 3), "unready").await?;
    let before = bench.as_it_is(&web).await?;
    let act = Act { watch_seconds: 4, ..bench.act(RESTART_WITH_CANARY, web.clone()).await? };

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::RolloutTimeout);
    assert!(result.message.contains("no other pod is restarted"), "{}", result.message);
    bench.expect_untouched(&act, &before).await
}

#[tokio::test]
async fn while_the_api_server_is_away_the_others_wait_and_when_it_stays_away_they_are_left() -> Result<()> {
    let bench = Bench::start(1).await?;
    let api_server = &bench.replicas[0].api_server;
    let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired" });
    for comes_back in [true, false] {
        let name = if comes_back { "back" } else { "away" };
        let web = bench.deploy(name).await?;
        let before = bench.as_it_is(&web).await?;
        let seconds = if comes_back { 60 } else { 6 };
        let act = Act { watch_seconds: seconds, ..bench.act(RESTART_WITH_CANARY, web).await? };
        let (body, hold) = bench.canary_held(&act, evicting(), Moment::BeforeAnswering).await?;
        let fault = api_server.answer(
            Matching::path("/pods?").method(Method::GET),
            StatusCode::GONE,
            &gone.to_string(),
        );
        let looks = || api_server.seen().iter().filter(|line| line.contains("/pods?")).count();
        let seen = looks();
        hold.release()?;
        if comes_back {
            until("looks in vain", WITHIN, async || Ok(looks() > seen + 3)).await?;
            assert_eq!(bench.announced(&act).await?, 1);
            drop(fault);
            expect_done(&bench.finished(0, &body).await?);
            assert_eq!(bench.evicted(&act)?.1, 1);
        } else {
            let result = bench.finished(0, &body).await?;
            expect(&result, ExecutionStatus::Failed, OutcomeCode::ClusterUnavailable);
            bench.expect_untouched(&act, &before).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_budget_without_room_for_the_canary_is_waited_for_as_long_as_the_order_is_good() -> Result<()> {
    let bench = Bench::start(1).await?;
    // Its rollout adds a pod before it takes one away: only the canary needs room.
    let web = bench.deploy("web").await?;
    let before = bench.as_it_is(&web).await?;
    bench.kubectl(["create", "pdb", "web", "--selector=app=web", "--min-available=3"]).await?;
    until("the budget's figures", WITHIN, async || {
        let budget = bench.cluster.get(&bench.namespace, "poddisruptionbudget/web").await?;
        Ok(budget["status"]["observedGeneration"] == budget["metadata"]["generation"])
    })
    .await?;
    let plan = bench.plan(&RESTART_WITH_CANARY, &web).await?;
    assert!(plan.obstacle.is_none() && plan.warnings.iter().any(|said| said.contains("budget")), "{plan:?}");

    let late = bench.act(RESTART_WITH_CANARY, web.clone()).await?;
    let result = bench.finished(0, &bench.sign(&act_order(&late, 6))?).await?;
    expect(&result, ExecutionStatus::Failed, OutcomeCode::BudgetBlocked);
    assert!(steps(&result).contains(&"held-back"), "{result:?}");
    bench.expect_untouched(&late, &before).await?;

    let act = bench.act(RESTART_WITH_CANARY, web.clone()).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    bench.until_held_back(&body).await?;
    bench.expect_untouched(&act, &before).await?;
    bench.kubectl(["delete", "pdb", "web"]).await?;
    expect_done(&bench.finished(0, &body).await?);
    assert_eq!(bench.evicted(&act)?.0.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_the_canary_takes_down_counts_before_it_goes_and_while_it_is_held_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let most = |pods| Bounds { unavailable_max: Some(pods), ..Bounds::default() };
    let act = bench.bounded(RESTART_WITH_CANARY, &web, most(0)).await?;
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::BoundExceeded);
    bench.expect_rows(act.action_id, &["accepted", "finished"]).await?;
    expect_done(&bench.carry_out(&bench.bounded(RESTART, &web, most(0)).await?).await?);

    let oldest = bench.pods_of("web").await?.swap_remove(0).name;
    bench.kubectl(["create", "pdb", "web", "--selector=app=web", "--min-available=3"]).await?;
    let act = bench.bounded(RESTART_WITH_CANARY, &web, most(1)).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    bench.until_held_back(&body).await?;
    bench.kubectl(["annotate", &format!("pod/{oldest}"), &format!("{BREAK}=unready")]).await?;
    let result = bench.finished(0, &body).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::BoundExceeded);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_somebody_changes_between_canary_and_restart_is_left_to_them() -> Result<()> {
    let bench = Bench::start(1).await?;
    for (name, by_hand, code) in [
        ("image", vec!["set", "image", "deployment/image", "main=app:2"], OutcomeCode::PlanChanged),
        ("again", vec!["rollout", "restart", "deployment/again"], OutcomeCode::PreconditionFailed),
        ("gone", vec!["delete", "deployment/gone"], OutcomeCode::TargetGone),
    ] {
        let target = bench.deploy(name).await?;
        let act = bench.act(RESTART_WITH_CANARY, target).await?;
        let (body, hold) = bench.canary_held(&act, evicting(), Moment::BeforeAnswering).await?;
        bench.kubectl(by_hand).await?;
        hold.release()?;

        let result = bench.finished(0, &body).await?;

        expect(&result, ExecutionStatus::Failed, code);
        let (evicted, others) = bench.evicted(&act)?;
        assert_eq!((evicted.len(), others), (1, 0), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn another_template_before_the_canary_went_leaves_everything_as_it_is() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let act = bench.act(RESTART_WITH_CANARY, web).await?;
    bench.kubectl(["set", "image", "deployment/web", "main=app:2"]).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Refused, OutcomeCode::PlanChanged);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rehearsed_canary_tries_both_writes_and_makes_neither() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let before = bench.as_it_is(&web).await?;
    let mut act = bench.act(RESTART_WITH_CANARY, web).await?;
    act.dry_run = true;
    write_intent(&mut act)?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::DryRun);
    assert_eq!(steps(&result).iter().filter(|name| **name == "written").count(), 2, "{result:?}");
    assert!(bench.writes(act.action_id)?.is_empty());
    bench.expect_untouched(&act, &before).await
}

#[tokio::test]
async fn no_canary_is_taken_where_it_would_be_all_that_serves_or_would_stay_away() -> Result<()> {
    let bench = Bench::start(1).await?;
    let one = bench.apply_complete(Kind::Deployment, deployment("one", "app:1", 1)).await?;
    bench.expect_refused(RESTART_WITH_CANARY, &one, OutcomeCode::NoCanary).await?;
    let none = bench.apply_complete(Kind::Deployment, deployment("none", "app:1", 0)).await?;
    bench.expect_refused(RESTART_WITH_CANARY, &none, OutcomeCode::NoReplicas).await?;

    let web = bench.apply_complete(Kind::Deployment, deployment("web", "app:1", 2)).await?;
    let db = bench.apply_complete(Kind::StatefulSet, stateful_set("db", "app:1", 3)).await?;
    for (target, broken) in [(&web, bench.pods_of("web").await?[0].name.clone()), (&db, "db-0".to_owned())] {
        bench.kubectl(["annotate", &format!("pod/{broken}"), &format!("{BREAK}=unready")]).await?;
        let left = bench.facts(target).await?.replicas.unwrap_or_default() - 1;
        until("a pod being down", WITHIN, async || Ok(bench.facts(target).await?.available_replicas == left))
            .await?;
        bench.expect_refused(RESTART_WITH_CANARY, target, OutcomeCode::NoCanary).await?;
    }
    Ok(())
}

#[tokio::test]
async fn where_no_pod_is_ready_one_of_them_tells_as_much() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let pods = bench.pods_of("web").await?;
    for pod in &pods {
        bench.kubectl(["annotate", &format!("pod/{}", pod.name), &format!("{BREAK}=unready")]).await?;
    }
    until("every pod being down", WITHIN, async || Ok(bench.facts(&web).await?.available_replicas == 0))
        .await?;
    let act = bench.act(RESTART_WITH_CANARY, web).await?;

    expect_done(&bench.carry_out(&act).await?);

    let newest = pods.last().context("no pod")?.name.clone();
    assert_eq!(bench.evicted(&act)?, (vec![newest], 1));
    Ok(())
}

#[tokio::test]
async fn a_restart_that_turns_out_bad_after_its_canary_was_good_fails_like_any_other() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let act = bench.act(RESTART_WITH_CANARY, web.clone()).await?;
    let (body, hold) = bench.canary_held(&act, restarting(&web), Moment::BeforePassingOn).await?;
    // No room for the pod that the rollout adds first.
    bench.kubectl(["create", "quota", "three", "--hard=pods=3"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::PodsNotCreated);
    assert_eq!(bench.evicted(&act)?.1, 1);
    Ok(())
}
