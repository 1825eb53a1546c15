//! What is never written: denied by policy, out of the executor's reach, or no more what the decision saw.

use aegis_tests::fault_proxy::{FaultGuard, Matching, Moment};
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::{deployment, stateful_set};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{Scene, TURNED_DOWN, expect, id_of};

#[tokio::test]
async fn a_denied_action_of_any_type_stands_denied_with_its_rule_and_never_reaches_the_executor() -> Result<()>
{
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy(&[deployment("web", "app:1", 1), stateful_set("db", "app:1", 1)]).await?;
    let namespace = scene.stack.namespace();
    let pods = scene.stack.kubernetes().pods(namespace, "web").await?;
    let pod = pods[0]["metadata"]["name"].as_str().context("a pod has a name")?;
    let veto = json!({ "id": "frozen", "effect": "DENY", "reason": "frozen for the holidays",
        "match": { "resources": [format!("k8s/*/{namespace}/**")] } });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "freeze", "description": "Nothing moves.", "rules": [veto] });
    scene.admin.activate_policy(&policy).await?;

    for (action_type, kind, name, params) in [
        ("restart", "Deployment", "web", json!({})),
        ("restart", "StatefulSet", "db", json!({})),
        ("restart-pod", "Pod", pod, json!({})),
        ("scale", "Deployment", "web", json!({ "replicas": 0 })),
        ("rollback", "Deployment", "web", json!({})),
        ("restart", "Deployment", "absent", json!({})),
    ] {
        for dry_run in [false, true] {
            let mut request = scene.stack.action(action_type, kind, name, &params);
            request["dryRun"] = json!(dry_run);
            let denied = scene.asked(&request, 0).await?.expect(403)?;
            assert_eq!(denied.code(), "policy-denied");
            assert!(denied.text.contains("frozen for the holidays"), "{}", denied.text);
            let id = denied.body["actionId"].as_str().context("the action is named")?;
            let action = scene.action(id).await?;
            expect(&action, "denied", "policy-denied");
            assert_eq!(action["decisionId"], denied.body["decisionId"]);
            let story = scene.expect_story(id, &TURNED_DOWN).await?;
            assert_eq!(story[1]["data"]["decisionId"], denied.body["decisionId"]);
            assert_eq!(story[1]["data"]["rules"][0]["rule"], "frozen", "{}", story[1]);
            assert!(scene.writes(id)?.is_empty());
        }
    }
    let acting = |request: &&String| request.contains("wait=");
    let seen = scene.stack.orders()?.seen();
    assert_eq!(seen.iter().filter(acting).count(), 0, "an acting order left: {seen:?}");
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}

#[tokio::test]
async fn what_policy_allows_outside_the_executors_namespaces_is_refused_unordered() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    let kubernetes = scene.stack.kubernetes();
    let foreign = kubernetes.create_namespace("foreign").await?;
    kubernetes.apply_in(&foreign, deployment("web", "app:1", 1)).await?;

    for namespace in [&*foreign, "kube-system", "aegis-system"] {
        for (action_type, params) in [("restart", json!({})), ("scale", json!({ "replicas": 2 }))] {
            let mut request = scene.stack.action(action_type, "Deployment", "web", &params);
            request["target"]["namespace"] = json!(namespace);
            let action = scene.carry_out(&request).await?;
            expect(&action, "refused", "namespace-not-allowed");
            assert!(action["outcome"]["receipt"].is_null(), "it was never ordered: {action}");
            scene.expect_story(&id_of(&action)?, &TURNED_DOWN).await?;
            assert!(scene.writes(&id_of(&action)?)?.is_empty());
        }
    }
    assert_eq!(scene.stack.orders()?.seen().iter().filter(|request| request.contains("wait=")).count(), 0);
    Ok(())
}

/// Orders that act do not arrive as long as the guard lives; orders that observe do.
fn keep_orders_back(scene: &Scene) -> Result<FaultGuard> {
    Ok(scene.stack.orders()?.cut(Matching::path("wait="), Moment::BeforePassingOn))
}

#[tokio::test]
async fn an_object_that_is_not_what_the_decision_saw_is_left_alone() -> Result<()> {
    // Time enough to change the objects while the orders are on their way.
    let options = StackOptions { order_proxy: true, order_lifetime_seconds: 60, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    scene.deploy_small(&["replaced", "gone", "scaled", "restarted", "paused"]).await?;
    let kept_back = keep_orders_back(&scene)?;
    let mut actions = Vec::new();
    for (request, code) in [
        (scene.scale("replaced", 2), "target-replaced"),
        (scene.restart("gone"), "target-gone"),
        (scene.scale("scaled", 2), "precondition-failed"),
        (scene.restart("restarted"), "precondition-failed"),
        (scene.restart("paused"), "target-paused"),
    ] {
        let id = scene.ask(&request).await?;
        scene.until_state(&id, "running").await?;
        actions.push((id, code));
    }

    scene.kubectl(&["delete", "deployment/replaced", "deployment/gone"]).await?;
    scene.deploy_small(&["replaced"]).await?;
    scene.kubectl(&["scale", "deployment/scaled", "--replicas=3"]).await?;
    scene.kubectl(&["rollout", "restart", "deployment/restarted"]).await?;
    scene.kubectl(&["rollout", "pause", "deployment/paused"]).await?;
    drop(kept_back);

    for (id, code) in &actions {
        let action = scene.ended(id).await?;
        expect(&action, "refused", code);
        scene.expect_whole_story(&action).await?;
        assert!(scene.writes(id)?.is_empty());
    }
    assert_eq!(scene.object("deployment/replaced").await?["spec"]["replicas"], 1);
    assert_eq!(scene.object("deployment/scaled").await?["spec"]["replicas"], 3);
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_done_to_an_object_is_refused_with_its_reason() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["single", "paused"]).await?;
    scene.kubectl(&["rollout", "pause", "deployment/paused"]).await?;
    let alone = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alone" },
        "spec": { "containers": [{ "name": "main", "image": "app:1" }] },
    });
    scene.stack.kubernetes().apply_in(scene.stack.namespace(), alone).await?;

    let requests: [(&str, &str, &str, Value, &str); 5] = [
        ("rollback", "Deployment", "single", json!({}), "no-earlier-revision"),
        ("rollback", "Deployment", "single", json!({ "toRevision": 7 }), "no-earlier-revision"),
        ("rollback", "Deployment", "paused", json!({}), "no-earlier-revision"),
        ("restart", "Deployment", "paused", json!({}), "target-paused"),
        ("restart-pod", "Pod", "alone", json!({}), "no-controller"),
    ];
    for (action_type, kind, name, params, code) in requests {
        let action = scene.carry_out(&scene.stack.action(action_type, kind, name, &params)).await?;
        expect(&action, "refused", code);
        // The plan says so: nothing is ordered.
        scene.expect_story(&id_of(&action)?, &TURNED_DOWN).await?;
        assert_eq!(action["plan"]["obstacle"]["code"], code, "{action}");
    }
    // Scaling is no rollout: it works on a paused Deployment.
    expect(&scene.carry_out(&scene.scale("paused", 2)).await?, "succeeded", "rollout-complete");
    assert_eq!(scene.writes_in_namespace()?, 1);
    Ok(())
}

#[tokio::test]
async fn an_object_that_already_is_as_wanted_is_not_written() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let action = scene.carry_out(&scene.scale("web", 1)).await?;
    expect(&action, "succeeded", "already-done");
    scene.expect_whole_story(&action).await?;
    assert_eq!(scene.writes_in_namespace()?, 0);
    assert!(scene.writes(&id_of(&action)?)?.is_empty());
    Ok(())
}
