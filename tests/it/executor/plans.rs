//! What a change would do, as the executor plans it on live objects, and what it refuses before it writes.

use aegis_contract::action::{Change, NoParams, RollbackParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::intent::Approval;
use aegis_contract::order::WrittenFields;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Kind;
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::paths::random;
use aegis_tests::workload::{daemon_set, deployment, stateful_set, with_pod_annotation};
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::bench::{Bench, WITHIN, new_action_id, write_intent};
use super::workloads::{RESTART, RESTART_ANYWAY, ROLLBACK, expect, scale};

impl Bench {
    /// Makes so many workloads without pods that one of this name is on no first page of a list.
    async fn fill_a_page_before(&self, name: &str) -> Result<()> {
        assert!("other" < name, "lists are in the order of names");
        futures_util::stream::iter(0..PAGE)
            .map(async |number| {
                let manifest = deployment(&format!("other-{number}"), "app:1", 0);
                self.cluster.put(&self.namespace, &manifest).await
            })
            .buffer_unordered(8)
            .try_collect()
            .await
    }
}

/// Workloads that the executor lists at one time.
const PAGE: u32 = 250;

#[tokio::test]
async fn a_plan_tells_what_would_change_who_would_suffer_and_how_to_take_it_back() -> Result<()> {
    let bench = Bench::start(1).await?;
    let mut manifest = deployment("web", "app:1", 4);
    manifest["metadata"]["annotations"] = json!({ "meta.helm.sh/release-name": "shop" });
    let web = bench.apply_complete(Kind::Deployment, manifest.clone()).await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    bench.apply_complete(Kind::Deployment, manifest).await?;
    bench.kubectl(["create", "pdb", "web", "--selector=app=web", "--min-available=2"]).await?;
    bench.kubectl(["create", "pdb", "other", "--selector=app=other", "--min-available=2"]).await?;
    let allowed = async || {
        let budget = bench.cluster.get(&bench.namespace, "poddisruptionbudget/web").await?;
        Ok(budget["status"]["disruptionsAllowed"] == 2)
    };
    until("the budget's figures", WITHIN, allowed).await?;

    let plan = bench.plan(&ROLLBACK, &web).await?;
    assert_eq!((plan.pods_affected, plan.pods_wanted), (4, 4));
    assert_eq!((plan.pods_unavailable, plan.pods_unavailable_max), (0, 1));
    assert_eq!(plan.changes, ["image of main: app:2 → app:1"]);
    assert_eq!((plan.to_revision, plan.undo.as_str()), (Some(1), "roll back to revision 2"));
    let budgets: Vec<_> =
        plan.budgets.iter().map(|budget| (budget.name.as_str(), budget.disruptions_allowed)).collect();
    assert_eq!(budgets, [("web", 2)]);
    let owners: Vec<_> = plan.owners.iter().map(|owner| (owner.by.as_str(), owner.name.as_str())).collect();
    assert_eq!(owners, [("Helm", "shop")]);
    assert!(plan.warnings.iter().any(|warning| warning.contains("Helm")), "{plan:?}");
    assert_eq!(plan.obstacle, None);

    let plan = bench.plan(&scale(6), &web).await?;
    assert_eq!((plan.pods_affected, plan.pods_unavailable_max), (2, 0));
    assert_eq!(
        (plan.changes, plan.undo),
        (vec!["replicas: 4 → 6".to_owned()], "scale to 4 again".to_owned())
    );
    assert!(bench.cluster.audit().writes_by_agent("(observe)")?.is_empty(), "a plan wrote something");
    Ok(())
}

#[tokio::test]
async fn a_plan_keeps_its_digest_while_pods_versions_and_time_pass_and_the_executor_keeps_to_it() -> Result<()>
{
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let agreed = bench.plan(&RESTART, &web).await?;
    let act = bench.act(RESTART, web.clone()).await?;

    bench.kubectl(["delete", "pods", "-l", "app=web"]).await?;
    bench.kubectl(["annotate", "deployment/web", "note=later"]).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    let later = bench.plan(&RESTART, &web).await?;
    assert_ne!(later.resource_version, agreed.resource_version);
    assert_eq!(later.digest, agreed.digest);

    bench.cluster.apply_in(&bench.namespace, deployment("web", "app:2", 3)).await?;
    bench.cluster.wait_rolled_out(&bench.namespace, "deployment/web").await?;
    assert_ne!(bench.plan(&RESTART, &web).await?.digest, agreed.digest);
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::PlanChanged);
    assert!(result.message.contains("pod template"), "{}", result.message);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_rollback_to_another_revision_than_was_agreed_to_is_refused() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    for image in ["app:2", "app:3"] {
        bench.apply_complete(Kind::Deployment, deployment("web", image, 3)).await?;
    }
    let act = bench.act(ROLLBACK, web.clone()).await?;
    bench.cluster.drop_revision(&bench.namespace, "web", 2).await?;

    assert_eq!(bench.plan(&ROLLBACK, &web).await?.to_revision, Some(1));
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::PlanChanged);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_restart_that_would_restart_nothing_is_refused_with_the_reason() -> Result<()> {
    let bench = Bench::start(1).await?;
    let none = bench.apply_complete(Kind::Deployment, deployment("none", "app:1", 0)).await?;
    bench.expect_refused(RESTART, &none, OutcomeCode::NoReplicas).await?;

    let paused = bench.deploy("paused").await?;
    bench.kubectl(["rollout", "pause", "deployment/paused"]).await?;
    bench.expect_refused(RESTART, &paused, OutcomeCode::TargetPaused).await?;

    let mut by_hand = daemon_set("by-hand", "app:1");
    by_hand["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    bench.cluster.apply_in(&bench.namespace, by_hand).await?;
    let by_hand = bench.target(Kind::DaemonSet, "by-hand");
    until("its pods", WITHIN, async || {
        let set = bench.cluster.get(&bench.namespace, "daemonset/by-hand").await?;
        Ok(set["status"]["numberAvailable"].as_u64().unwrap_or(0) > 0)
    })
    .await?;
    bench.expect_refused(RESTART, &by_hand, OutcomeCode::StrategyOnDelete).await?;

    let mut hidden = stateful_set("hidden", "app:1", 2);
    hidden["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    let hidden = bench.apply_complete(Kind::StatefulSet, hidden).await?;
    bench.expect_refused(RESTART, &hidden, OutcomeCode::PartitionHidesPods).await
}

#[tokio::test]
async fn a_restart_waits_for_a_rollout_unless_it_is_asked_not_to() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    let slow = with_pod_annotation(deployment("web", "app:2", 3), "sim.aegis.dev/ready-after", "20s");
    bench.cluster.apply_in(&bench.namespace, slow).await?;
    bench.expect_refused(RESTART, &web, OutcomeCode::RolloutInProgress).await?;
    assert_eq!(bench.plan(&RESTART_ANYWAY, &web).await?.obstacle, None);
    Ok(())
}

#[tokio::test]
async fn a_restart_that_needs_one_pod_more_than_the_quota_has_is_refused() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    bench.kubectl(["create", "quota", "tight", "--hard=pods=3"]).await?;
    until("the quota's figures", WITHIN, async || {
        Ok(bench.cluster.get(&bench.namespace, "resourcequota/tight").await?["status"]["used"]["pods"] == "3")
    })
    .await?;
    bench.expect_refused(RESTART, &web, OutcomeCode::QuotaExceeded).await
}

#[tokio::test]
async fn what_an_autoscaler_scales_is_left_to_it() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    bench.kubectl(["autoscale", "deployment/web", "--min=2", "--max=5", "--cpu=50%"]).await?;
    bench.expect_refused(scale(4), &web, OutcomeCode::AutoscalerOwned).await?;
    let plan = bench.plan(&scale(4), &web).await?;
    let message = plan.obstacle.map(|obstacle| obstacle.message).unwrap_or_default();
    assert!(message.contains("HorizontalPodAutoscaler web"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_budget_without_room_stops_a_rollout_and_pods_that_are_down_already_do_not() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.apply_complete(Kind::Deployment, deployment("web", "app:1", 4)).await?;
    bench.kubectl(["create", "pdb", "web", "--selector=app=web", "--min-available=100%"]).await?;
    until("the budget's figures", WITHIN, async || {
        let budget = bench.cluster.get(&bench.namespace, "poddisruptionbudget/web").await?;
        Ok(budget["status"]["observedGeneration"] == budget["metadata"]["generation"])
    })
    .await?;
    bench.expect_refused(RESTART, &web, OutcomeCode::BudgetBlocked).await?;

    let pods = bench.cluster.pods(&bench.namespace, "web").await?;
    let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
    bench.kubectl(["annotate", &format!("pod/{name}"), "sim.aegis.dev/break=unready"]).await?;
    until("a pod being down", WITHIN, async || {
        let web = bench.cluster.get(&bench.namespace, "deployment/web").await?;
        Ok(web["status"]["availableReplicas"] == 3)
    })
    .await?;
    let plan = bench.plan(&RESTART, &web).await?;
    assert_eq!((plan.pods_unavailable, plan.pods_unavailable_max), (1, 1));
    assert_eq!(plan.obstacle, None);
    Ok(())
}

#[tokio::test]
async fn stateful_sets_and_daemon_sets_return_to_the_revision_before() -> Result<()> {
    let bench = Bench::start(1).await?;
    for (kind, make) in [
        (Kind::StatefulSet, (|image| stateful_set("db", image, 2)) as fn(&str) -> Value),
        (Kind::DaemonSet, |image| daemon_set("agent", image)),
    ] {
        let target = bench.apply_complete(kind, make("app:1")).await?;
        bench.apply_complete(kind, make("app:2")).await?;
        let plan = bench.plan(&ROLLBACK, &target).await?;
        assert_eq!(
            (plan.to_revision, plan.changes),
            (Some(1), vec!["image of main: app:2 → app:1".to_owned()])
        );
        let act = bench.act(ROLLBACK, target.clone()).await?;
        let result = bench.carry_out(&act).await?;
        expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
        assert_eq!(bench.image(&target).await?, "app:1", "{target}");
        assert_eq!(bench.writes(act.action_id)?.len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_paused_deployment_is_restored_and_resumed_by_one_write() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.deploy("web").await?;
    bench.apply_complete(Kind::Deployment, deployment("web", "app:2", 3)).await?;
    bench.kubectl(["rollout", "pause", "deployment/web"]).await?;
    let act = bench.act(ROLLBACK, web.clone()).await?;
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
    let object = bench.cluster.get(&bench.namespace, "deployment/web").await?;
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "app:1");
    assert!(object["spec"]["paused"].is_null(), "{}", object["spec"]["paused"]);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn who_scales_a_stateful_set_down_is_warned_of_its_volumes() -> Result<()> {
    let bench = Bench::start(1).await?;
    let db = bench.apply_complete(Kind::StatefulSet, stateful_set("db", "app:1", 2)).await?;
    let plan = bench.plan(&scale(1), &db).await?;
    assert!(plan.warnings.iter().any(|warning| warning.contains("volumes stay")), "{plan:?}");
    assert_eq!(plan.after, Some(WrittenFields::Scale { replicas: 1 }));
    let pod = bench.target(Kind::Pod, "db-0");
    let plan = bench.plan(&Change::RestartPod(NoParams {}), &pod).await?;
    assert_eq!((plan.pods_wanted, plan.pods_unavailable_max), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_rollback_takes_only_what_soaked_and_never_again_what_it_left() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_SOAK_SECONDS", "3")]).await?;
    bench.fill_a_page_before("web").await?;
    let web = bench.deploy("web").await?;
    let soaked = async |count: i64| {
        until("templates having soaked", WITHIN, async || {
            let rows = bench.query("select count(*) from ledger.templates where verdict = 'good'").await?;
            Ok(rows[0].try_get::<i64, _>(0)? == count)
        })
        .await
    };
    soaked(1).await?;
    // Never whole: two bad ones in a row.
    for image in ["app:bad-pull", "app:crash"] {
        bench.cluster.apply_in(&bench.namespace, deployment("web", image, 3)).await?;
        bench.begun(&web).await?;
    }
    let plan = bench.plan(&ROLLBACK, &web).await?;
    assert_eq!(
        (plan.to_revision, plan.changes.as_slice()),
        (Some(1), ["image of main: app:crash → app:1".to_owned()].as_slice())
    );
    let act = bench.act(ROLLBACK, web.clone()).await?;
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);

    // Revision 2 never ran, revision 3 was left: there is nothing to return to, and the message says why.
    bench.expect_refused(ROLLBACK, &web, OutcomeCode::NoEarlierRevision).await?;
    let plan = bench.plan(&ROLLBACK, &web).await?;
    let message = plan.obstacle.map(|obstacle| obstacle.message).unwrap_or_default();
    assert!(
        message.contains("revision 3 failed") && message.contains("revision 2 was not seen"),
        "{message}"
    );

    // By name it takes a person's word.
    let named = Change::Rollback(RollbackParams { to_revision: Some(3) });
    assert!(bench.plan(&named, &web).await?.warnings.iter().any(|warning| warning.contains("approval")));
    let mut act = bench.act(named, web.clone()).await?;
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Refused, OutcomeCode::RevisionKnownBad);
    act.action_id = new_action_id();
    act.dry_run = true;
    act.approvals = vec![Approval {
        principal: "user:anna".to_owned(),
        digest: Digest::of(b"what she agreed to"),
        entry_id: Uuid::from_bytes(random()).into(),
    }];
    write_intent(&mut act)?;
    let result = bench.carry_out(&act).await?;
    expect(&result, ExecutionStatus::Succeeded, OutcomeCode::DryRun);
    Ok(())
}
