//! Pods that are not ready are evicted one at a time, by a restart of only those and by the rollback of a StatefulSet
//! that one of them holds up.

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::plan::Plan;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::{eventually, until};
use aegis_tests::executor_accounts::EXECUTOR_USER;
use aegis_tests::fault_proxy::{Hold, Matching, Moment};
use aegis_tests::kube_audit::KubeRequest;
use aegis_tests::workload::{daemon_set, deployment, is_ready, stateful_set};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN, act_order};
use super::workloads::{RESTART_UNHEALTHY, ROLLBACK, expect, permit};

impl Bench {
    /// The names of an app's pods that stay, in the order of their names.
    async fn pod_names(&self, app: &str) -> Result<Vec<String>> {
        let pods = self.cluster.pods(&self.namespace, app).await?;
        let stays = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut names: Vec<_> =
            stays.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    async fn pod(&self, name: &str) -> Result<Value> {
        self.cluster.get(&self.namespace, &format!("pod/{name}")).await
    }

    async fn uid_of_pod(&self, name: &str) -> Result<String> {
        let pod = self.pod(name).await?;
        Ok(pod["metadata"]["uid"].as_str().context("no uid")?.to_owned())
    }

    /// Breaks pods that were ready, and waits until the workload counts them as down.
    async fn break_pods(&self, target: &Target, names: &[&str]) -> Result<()> {
        for name in names {
            self.kubectl(["annotate", &format!("pod/{name}"), "sim.aegis.dev/break=unready"]).await?;
        }
        let ready = self.pod_names(&target.name).await?.len() - names.len();
        until("the pods being down", WITHIN, async || {
            let facts = self.facts(target).await?;
            Ok(usize::try_from(facts.available_replicas)? == ready)
        })
        .await
    }

    /// Mends a pod that was broken, and waits until it is ready.
    async fn mend_pod(&self, name: &str) -> Result<()> {
        self.kubectl(["annotate", &format!("pod/{name}"), "sim.aegis.dev/break-"]).await?;
        until("the pod being ready", WITHIN, async || Ok(is_ready(&self.pod(name).await?))).await
    }

    /// The pods that an act has evicted, in order, and how many other writes it has made.
    pub(super) fn evicted(&self, act: &Act) -> Result<(Vec<String>, usize)> {
        let (evictions, others): (Vec<_>, Vec<_>) =
            self.writes(act.action_id)?.into_iter().partition(is_eviction);
        let names = evictions.into_iter().filter_map(|write| Some(write.object_ref?.name)).collect();
        Ok((names, others.len()))
    }

    /// How many writes of an act its ledger announces.
    pub(super) async fn announced(&self, act: &Act) -> Result<i64> {
        Ok(self.rows(act.action_id).await?.get("acting").copied().unwrap_or_default())
    }

    /// Three ordered pods, of which these are broken.
    async fn broken_set(&self, broken: &[&str]) -> Result<Target> {
        let db = self.apply_complete(Kind::StatefulSet, stateful_set("db", "app:1", 3)).await?;
        self.break_pods(&db, broken).await?;
        Ok(db)
    }

    /// Three pods of one image, and a rollout of another that does not get past the last one.
    async fn stuck_set(&self, broken: &str, policy: &str) -> Result<Target> {
        let set = |image: &str| {
            let mut set = stateful_set("db", image, 3);
            set["spec"]["podManagementPolicy"] = json!(policy);
            set
        };
        let db = self.apply_complete(Kind::StatefulSet, set("app:1")).await?;
        self.cluster.apply_in(&self.namespace, set(broken)).await?;
        eventually("the rollout being stuck", WITHIN, async || {
            let pod = self.pod("db-2").await?;
            ensure!(pod["spec"]["containers"][0]["image"] == broken, "the old pod is there");
            ensure!(pod["status"]["containerStatuses"][0].is_object() && !is_ready(&pod), "it starts");
            Ok(Some(()))
        })
        .await?;
        Ok(db)
    }
}

pub(super) fn is_eviction(write: &KubeRequest) -> bool {
    write.object_ref.as_ref().is_some_and(|object| object.subresource == "eviction")
}

fn evicting(pod: &str) -> Matching {
    Matching::path(&format!("/pods/{pod}/eviction")).method(Method::POST)
}

fn count(result: &ExecutionResult, step: &str) -> usize {
    result.steps.iter().filter(|taken| taken.name == step).count()
}

/// Orders the first replica about, and waits until the eviction of a pod is held on its way.
async fn held_at(bench: &Bench, act: &Act, pod: &str, moment: Moment) -> Result<(Vec<u8>, Hold)> {
    let body = bench.sign(&act_order(act, 60))?;
    let mut hold = bench.replicas[0].api_server.hold(evicting(pod), moment);
    bench.send(0, &body, 0).await?;
    hold.reached().await?;
    Ok((body, hold))
}

/// Waits until the API server has turned an eviction of a pod down.
async fn expect_turned_down(bench: &Bench, pod: &str) -> Result<()> {
    until("the late eviction being turned down", WITHIN, async || {
        let requests = bench.cluster.audit().requests()?;
        let late = requests.iter().rfind(|request| {
            let object = request.object_ref.as_ref();
            is_eviction(request)
                && request.is_in(&bench.namespace)
                && object.is_some_and(|object| object.name == pod)
        });
        let status = late.and_then(|request| request.response_status.as_ref());
        Ok(status.is_some_and(|status| matches!(status.code, 404 | 409)))
    })
    .await
}

#[tokio::test]
async fn only_the_pods_that_are_not_ready_are_evicted_one_after_another_and_no_revision_is_added()
-> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.apply_complete(Kind::Deployment, deployment("web", "app:1", 4)).await?;
    let db = bench.apply_complete(Kind::StatefulSet, stateful_set("db", "app:1", 3)).await?;
    let agent = bench.apply_complete(Kind::DaemonSet, daemon_set("agent", "app:1")).await?;
    for target in [web, db, agent] {
        let names = bench.pod_names(&target.name).await?;
        let (broken, whole) = names.split_at(2);
        let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
        bench.break_pods(&target, &broken).await?;
        let kept = whole.first().context("a pod that is ready")?;
        let (uid, before) = (bench.uid_of_pod(kept).await?, bench.object(&target).await?);

        let Plan { pods_affected, pods_unavailable, pods_unavailable_max, changes, .. } =
            bench.plan(&RESTART_UNHEALTHY, &target).await?;
        assert_eq!((pods_affected, pods_unavailable, pods_unavailable_max), (2, 2, 2), "{target}");
        assert!(changes.len() == 2 && changes[0].contains(broken[0]), "{changes:?}");
        let act = bench.act(RESTART_UNHEALTHY, target.clone()).await?;
        let result = bench.carry_out(&act).await?;

        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
        assert_eq!(result.after, Some(WrittenFields::UnreadyPods { replaced: true }));
        let evicted: Vec<String> = broken.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(bench.evicted(&act)?, (evicted, 0), "{target}");
        assert!(bench.writes(act.action_id)?.iter().all(|write| write.user.username == EXECUTOR_USER));
        assert_eq!((bench.announced(&act).await?, count(&result, "evicted")), (2, 2));
        assert_eq!(bench.uid_of_pod(kept).await?, uid, "{target}: a ready pod was replaced");
        let after = bench.object(&target).await?;
        for part in ["/metadata/generation", "/metadata/annotations", "/spec"] {
            assert_eq!(after.pointer(part), before.pointer(part), "{target} {part}");
        }
        let facts = bench.facts(&target).await?;
        assert_eq!(usize::try_from(facts.ready_replicas)?, names.len(), "{target}");
    }
    Ok(())
}

#[tokio::test]
async fn a_workload_without_a_pod_to_evict_is_refused_and_a_plan_does_not_name_pods_in_its_digest()
-> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    bench.expect_refused(RESTART_UNHEALTHY, &web, OutcomeCode::NoUnreadyPods).await?;
    let names = bench.pod_names("web").await?;
    bench.break_pods(&web, &[&names[0]]).await?;
    let one = bench.plan(&RESTART_UNHEALTHY, &web).await?;
    let act = bench.act(RESTART_UNHEALTHY, web.clone()).await?;
    bench.mend_pod(&names[0]).await?;
    bench.break_pods(&web, &[&names[1]]).await?;
    assert_eq!(bench.plan(&RESTART_UNHEALTHY, &web).await?.digest, one.digest);

    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
    assert_eq!(bench.evicted(&act)?, (vec![names[1].clone()], 0));

    let none = bench.apply_complete(Kind::Deployment, deployment("none", "app:1", 0)).await?;
    bench.expect_refused(RESTART_UNHEALTHY, &none, OutcomeCode::NoReplicas).await
}

#[tokio::test]
async fn a_rehearsed_restart_of_broken_pods_tries_the_first_and_evicts_none() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.broken_set(&["db-1"]).await?;
    let mut act = bench.act(RESTART_UNHEALTHY, db).await?;
    act.dry_run = true;
    super::bench::write_intent(&mut act)?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Succeeded, OutcomeCode::DryRun);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_budget_without_room_holds_the_eviction_of_a_broken_pod_back_and_tells_so() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.broken_set(&["db-1"]).await?;
    let uid = bench.uid_of_pod("db-1").await?;
    bench.kubectl(["create", "pdb", "db", "--selector=app=db", "--min-available=3"]).await?;
    let act = bench.act(RESTART_UNHEALTHY, db.clone()).await?;

    let result = bench.finished(0, &bench.sign(&act_order(&act, 3))?).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::BudgetBlocked);
    assert_eq!(count(&result, "held-back"), 1, "{:?}", result.steps);
    assert!(bench.writes(act.action_id)?.is_empty());
    assert_eq!(bench.uid_of_pod("db-1").await?, uid);

    // What is not ready already counts for nothing: there is room as long as the others are ready.
    bench.kubectl(["delete", "pdb", "db"]).await?;
    bench.kubectl(["create", "pdb", "db", "--selector=app=db", "--min-available=2"]).await?;
    let act = bench.act(RESTART_UNHEALTHY, db).await?;
    expect(&bench.carry_out(&act).await?, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
    Ok(())
}

#[tokio::test]
async fn pods_that_come_back_as_broken_as_they_went_are_left_after_the_first() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.cluster.apply_in(&bench.namespace, deployment("web", "app:crash", 3)).await?;
    let web = bench.target(Kind::Deployment, "web");
    until("the pods", WITHIN, async || {
        Ok(bench.facts(&web).await?.updated_replicas == 3 && bench.pod_names("web").await?.len() == 3)
    })
    .await?;
    let act = bench.act(RESTART_UNHEALTHY, web).await?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
    assert!(result.message.starts_with("1 of 3 pods were evicted"), "{}", result.message);
    assert_eq!(bench.evicted(&act)?.0.len(), 1);
    Ok(())
}

#[tokio::test]
async fn another_template_between_two_evictions_ends_them() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.broken_set(&["db-0", "db-1"]).await?;
    let act = bench.act(RESTART_UNHEALTHY, db).await?;
    let (body, hold) = held_at(&bench, &act, "db-0", Moment::BeforeAnswering).await?;
    bench.kubectl(["set", "image", "statefulset/db", "main=app:2"]).await?;
    hold.release()?;

    let result = bench.finished(0, &body).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::Contested);
    assert!(result.message.contains("kubectl"), "{}", result.message);
    assert_eq!(bench.evicted(&act)?, (vec!["db-0".to_owned()], 0));
    Ok(())
}

#[tokio::test]
async fn killed_between_two_evictions_it_makes_the_second_once_and_the_first_no_more() -> Result<()> {
    for moment in [Moment::BeforePassingOn, Moment::BeforeAnswering] {
        let bench = Bench::start(1).await?;
        let db = bench.broken_set(&["db-0", "db-2"]).await?;
        let act = bench.act(RESTART_UNHEALTHY, db).await?;
        let (body, hold) = held_at(&bench, &act, "db-2", moment).await?;
        bench.restart(0).await?;

        let result = bench.finished(0, &body).await?;

        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
        let both = (vec!["db-0".to_owned(), "db-2".to_owned()], 0);
        assert_eq!((bench.evicted(&act)?, bench.announced(&act).await?), (both.clone(), 2));
        // The dead process' eviction, still in flight, finds another pod.
        if moment == Moment::BeforePassingOn {
            let uid = bench.uid_of_pod("db-2").await?;
            hold.release()?;
            expect_turned_down(&bench, "db-2").await?;
            assert_eq!((bench.evicted(&act)?, bench.uid_of_pod("db-2").await?), (both, uid));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_that_became_ready_while_no_worker_looked_is_left_alone() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.broken_set(&["db-0", "db-2"]).await?;
    let act = bench.act(RESTART_UNHEALTHY, db).await?;
    let uid = bench.uid_of_pod("db-2").await?;
    let (body, hold) = held_at(&bench, &act, "db-2", Moment::BeforePassingOn).await?;
    bench.replicas[0].process.kill()?;
    bench.mend_pod("db-2").await?;
    bench.restart(0).await?;

    let result = bench.finished(0, &body).await?;

    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
    hold.release()?;
    expect_turned_down(&bench, "db-2").await?;
    assert_eq!(bench.evicted(&act)?, (vec!["db-0".to_owned()], 0));
    assert_eq!(bench.uid_of_pod("db-2").await?, uid);
    Ok(())
}

#[tokio::test]
async fn stopped_between_two_evictions_it_is_replaced_and_evicts_nothing_when_it_goes_on() -> Result<()> {
    let bench = Bench::start(2).await?;
    let db = bench.broken_set(&["db-0", "db-1"]).await?;
    let act = bench.act(RESTART_UNHEALTHY, db).await?;
    let (body, hold) = held_at(&bench, &act, "db-1", Moment::BeforePassingOn).await?;
    bench.replicas[0].process.stop()?;

    let result = bench.finished(1, &body).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::PodReplaced);
    hold.release()?;
    bench.replicas[0].process.cont()?;
    expect_turned_down(&bench, "db-1").await?;

    assert_eq!(bench.finished(0, &body).await?, result);
    assert_eq!(bench.evicted(&act)?, (vec!["db-0".to_owned(), "db-1".to_owned()], 0));
    Ok(())
}

#[tokio::test]
async fn a_stateful_set_that_a_broken_pod_holds_up_is_freed_by_its_rollback() -> Result<()> {
    for (policy, evictions) in [("OrderedReady", 1), ("Parallel", 0)] {
        let bench = Bench::start(1).await?;
        let db = bench.stuck_set("app:unready", policy).await?;
        let plan = bench.plan(&ROLLBACK, &db).await?;
        let warned = plan.warnings.iter().any(|warning| warning.contains("db-2"));
        assert_eq!(warned, evictions == 1, "{plan:?}");
        let act = bench.act(ROLLBACK, db.clone()).await?;

        let result = bench.carry_out(&act).await?;

        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        assert_eq!(bench.image(&db).await?, "app:1");
        assert_eq!(bench.evicted(&act)?, (vec!["db-2".to_owned(); evictions], 1), "{policy}");
    }
    Ok(())
}

#[tokio::test]
async fn a_set_that_its_budget_holds_up_is_never_freed_by_force() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.stuck_set("app:unready", "OrderedReady").await?;
    bench.kubectl(["create", "pdb", "db", "--selector=app=db", "--min-available=3"]).await?;
    let uid = bench.uid_of_pod("db-2").await?;
    let act = Act { watch_seconds: 5, ..bench.act(ROLLBACK, db.clone()).await? };

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::RolloutTimeout);
    assert!(result.message.contains("pod db-2 holds it up"), "{}", result.message);
    assert_eq!((bench.evicted(&act)?, bench.uid_of_pod("db-2").await?), ((Vec::new(), 1), uid));
    Ok(())
}

#[tokio::test]
async fn killed_around_the_eviction_that_frees_a_set_it_is_made_once() -> Result<()> {
    for moment in [Moment::BeforePassingOn, Moment::BeforeAnswering] {
        let bench = Bench::start(1).await?;
        let db = bench.stuck_set("app:bad-pull", "OrderedReady").await?;
        let act = bench.act(ROLLBACK, db).await?;
        let (body, _hold) = held_at(&bench, &act, "db-2", moment).await?;
        bench.restart(0).await?;

        let result = bench.finished(0, &body).await?;

        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        assert_eq!(bench.evicted(&act)?, (vec!["db-2".to_owned()], 1));
        assert_eq!(bench.announced(&act).await?, 2);
    }
    Ok(())
}

#[tokio::test]
async fn a_set_whose_rollback_turns_bad_is_freed_of_that_too_when_it_is_put_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.cluster.apply_in(&bench.namespace, stateful_set("db", "app:bad-pull", 3)).await?;
    bench.begun(&bench.target(Kind::StatefulSet, "db")).await?;
    bench.cluster.apply_in(&bench.namespace, stateful_set("db", "app:1", 3)).await?;
    bench.begun(&bench.target(Kind::StatefulSet, "db")).await?;
    bench.kubectl(["delete", "pod/db-0"]).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "statefulset/db").await?;
    let act = bench.act(ROLLBACK, bench.target(Kind::StatefulSet, "db")).await?;
    let act = permit(act, 60)?;

    let result = bench.carry_out(&act).await?;

    expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
    assert_eq!(bench.evicted(&act)?, (vec!["db-2".to_owned()], 2));
    bench.cluster.wait_rolled_out(&bench.namespace, "statefulset/db").await?;
    assert_eq!(bench.image(&bench.target(Kind::StatefulSet, "db")).await?, "app:1");
    Ok(())
}
