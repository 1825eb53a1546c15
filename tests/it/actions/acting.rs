//! Each action type on each kind it takes.

use std::collections::BTreeSet;

use aegis_tests::eventually::until;
use aegis_tests::kube_audit::KubeRequest;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::{daemon_set, deployment, stateful_set};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{Scene, WITHIN, expect, id_of};

/// Verb, resource and subresource of a write.
fn what(write: &KubeRequest) -> (&str, &str, &str) {
    let object = write.object_ref.as_ref();
    object.map_or((&write.verb, "", ""), |object| (&write.verb, &object.resource, &object.subresource))
}

fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

fn uids(pods: &[Value]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect()
}

impl Scene {
    async fn pods(&self, app: &str) -> Result<Vec<Value>> {
        self.stack.kubernetes().pods(self.stack.namespace(), app).await
    }

    async fn image(&self, name: &str) -> Result<Value> {
        let object = self.object(&format!("deployment/{name}")).await?;
        Ok(object["spec"]["template"]["spec"]["containers"][0]["image"].clone())
    }
}

#[tokio::test]
async fn a_restart_replaces_every_pod_of_a_deployment_a_stateful_set_and_a_daemon_set() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let workloads = [
        ("Deployment", "web", "deployments"),
        ("StatefulSet", "db", "statefulsets"),
        ("DaemonSet", "agent", "daemonsets"),
    ];
    scene
        .deploy(&[
            deployment("web", "app:1", 2),
            stateful_set("db", "app:1", 2),
            daemon_set("agent", "app:1"),
        ])
        .await?;

    for (kind, name, resource) in workloads {
        let before = uids(&scene.pods(name).await?);
        let request = scene.stack.action("restart", kind, name, &json!({}));
        let action = scene.carry_out(&request).await?;

        expect(&action, "succeeded", "rollout-complete");
        scene.expect_whole_story(&action).await?;
        assert_eq!(what(&scene.only_write(&id_of(&action)?)?), ("patch", resource, ""));
        let object = scene.object(&format!("{}/{name}", kind.to_lowercase())).await?;
        assert_eq!(object["spec"]["template"]["metadata"]["annotations"]["aegis.dev/action"], action["id"]);
        until("the old pods being gone", WITHIN, async || {
            Ok(uids(&scene.pods(name).await?).is_disjoint(&before))
        })
        .await?;
    }
    assert_eq!(scene.writes_in_namespace()?, workloads.len());
    Ok(())
}

#[tokio::test]
async fn a_pod_is_restarted_by_an_eviction_that_leaves_its_siblings_alone() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy(&[deployment("web", "app:1", 3)]).await?;
    let before = names(&scene.pods("web").await?);
    let pod = before.first().context("web has pods")?;

    let action = scene.carry_out(&scene.stack.action("restart-pod", "Pod", pod, &json!({}))).await?;

    expect(&action, "succeeded", "pod-replaced");
    scene.expect_whole_story(&action).await?;
    assert_eq!(what(&scene.only_write(&id_of(&action)?)?), ("create", "pods", "eviction"));
    let after = names(&scene.pods("web").await?);
    assert!(!after.contains(pod), "{pod} is still among {after:?}");
    assert!(before.iter().filter(|name| *name != pod).all(|name| after.contains(name)), "{after:?}");
    assert_eq!(scene.writes_in_namespace()?, 1);
    Ok(())
}

#[tokio::test]
async fn deployments_and_stateful_sets_are_scaled_up_down_and_to_nothing() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.allow_zero().await?;
    scene.deploy(&[deployment("web", "app:1", 1), stateful_set("db", "app:1", 1)]).await?;

    for replicas in [3, 2, 0, 1] {
        for (kind, name, resource) in
            [("Deployment", "web", "deployments"), ("StatefulSet", "db", "statefulsets")]
        {
            let request = scene.stack.action("scale", kind, name, &json!({ "replicas": replicas }));
            let action = scene.carry_out(&request).await?;

            expect(&action, "succeeded", "rollout-complete");
            scene.expect_whole_story(&action).await?;
            assert_eq!(what(&scene.only_write(&id_of(&action)?)?), ("patch", resource, "scale"));
            let object = scene.object(&format!("{}/{name}", kind.to_lowercase())).await?;
            assert_eq!(object["spec"]["replicas"], replicas);
            assert_eq!(object["status"]["readyReplicas"].as_u64().unwrap_or_default(), replicas);
        }
    }
    assert_eq!(scene.writes_in_namespace()?, 8);
    Ok(())
}

#[tokio::test]
async fn a_crashing_image_is_rolled_back_to_the_newest_other_revision_or_to_the_one_named() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    for image in ["app:1", "app:2"] {
        scene.deploy(&[deployment("web", image, 2)]).await?;
    }
    // A restart makes a revision of its own whose template is no other one.
    expect(&scene.carry_out(&scene.restart("web")).await?, "succeeded", "rollout-complete");
    let crashing = deployment("web", "app:crash", 2);
    scene.stack.kubernetes().apply_in(scene.stack.namespace(), crashing).await?;
    let rollback = |params: &Value| scene.stack.action("rollback", "Deployment", "web", params);

    let newest = scene.carry_out(&rollback(&json!({}))).await?;
    expect(&newest, "succeeded", "rollout-complete");
    assert_eq!(scene.image("web").await?, "app:2");
    let named = scene.carry_out(&rollback(&json!({ "toRevision": 1 }))).await?;
    expect(&named, "succeeded", "rollout-complete");
    assert_eq!(scene.image("web").await?, "app:1");

    for action in [&newest, &named] {
        scene.expect_whole_story(action).await?;
        assert_eq!(what(&scene.only_write(&id_of(action)?)?), ("patch", "deployments", ""));
    }
    assert_eq!(scene.writes_in_namespace()?, 3);
    Ok(())
}

#[tokio::test]
async fn a_rehearsal_of_each_action_is_told_like_the_action_and_writes_with_dry_run_alone() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.allow_zero().await?;
    for image in ["app:1", "app:2"] {
        scene.deploy(&[deployment("web", image, 1)]).await?;
    }
    scene.deploy(&[stateful_set("db", "app:1", 1), daemon_set("agent", "app:1")]).await?;
    let pod = names(&scene.pods("web").await?).pop_first().context("web has pods")?;
    let before = scene.object("deployment/web").await?;

    for (action_type, kind, name, params) in [
        ("restart", "Deployment", "web", json!({})),
        ("restart", "StatefulSet", "db", json!({})),
        ("restart", "DaemonSet", "agent", json!({})),
        ("restart-pod", "Pod", &*pod, json!({})),
        ("scale", "Deployment", "web", json!({ "replicas": 0 })),
        ("scale", "StatefulSet", "db", json!({ "replicas": 5 })),
        ("rollback", "Deployment", "web", json!({ "toRevision": 1 })),
    ] {
        let mut request = scene.stack.action(action_type, kind, name, &params);
        request["dryRun"] = json!(true);
        let action = scene.carry_out(&request).await?;
        expect(&action, "succeeded", "dry-run");
        scene.expect_whole_story(&action).await?;

        let agent = format!("(action {})", id_of(&action)?);
        let mut requests = scene.stack.cluster()?.audit().requests()?;
        requests.retain(|request| {
            request.user_agent.contains(&agent) && !matches!(&*request.verb, "get" | "list")
        });
        let [rehearsal] = &requests[..] else { panic!("{action_type} {kind}: {requests:?}") };
        assert!(rehearsal.request_uri.contains("dryRun=All"), "{}", rehearsal.request_uri);
        let status = rehearsal.response_status.as_ref().context("it was answered")?.code;
        assert!((200..300).contains(&status), "{action_type} {kind}: {status}");
    }
    assert_eq!(scene.writes_in_namespace()?, 0);
    let after = scene.object("deployment/web").await?;
    assert_eq!(after["spec"], before["spec"]);
    assert!(names(&scene.pods("web").await?).contains(&pod));
    Ok(())
}
