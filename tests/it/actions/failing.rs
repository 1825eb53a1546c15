//! Written, and not as wanted afterwards; or not to be written in the time there is.

use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use serde_json::json;

use super::scene::{Scene, expect, id_of};

#[tokio::test]
async fn a_rollout_that_does_not_complete_fails_with_its_reason_after_one_write() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let (kubernetes, namespace) = (scene.stack.kubernetes(), scene.stack.namespace());
    let mut given_up = deployment("given-up", "app:unready", 1);
    given_up["spec"]["progressDeadlineSeconds"] = json!(2);
    for manifest in [deployment("slow", "app:unready", 1), deployment("crashing", "app:crash", 1), given_up] {
        kubernetes.apply_in(namespace, manifest).await?;
    }
    let mut asked = Vec::new();
    // Watched for a few seconds; the others for as long as it takes to know.
    for (name, deadline_seconds, code) in
        [("slow", 4, "rollout-timeout"), ("crashing", 60, "crash-loop"), ("given-up", 60, "rollout-failed")]
    {
        let mut request = scene.restart(name);
        request["deadlineSeconds"] = json!(deadline_seconds);
        asked.push((scene.ask(&request).await?, code));
    }
    for (id, code) in asked {
        let action = scene.ended(&id).await?;
        expect(&action, "failed", code);
        scene.expect_whole_story(&action).await?;
        scene.only_write(&id)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_eviction_that_a_disruption_budget_blocks_fails_without_a_write() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    scene.kubectl(&["create", "pdb", "web", "--selector=app=web", "--min-available=1"]).await?;
    let pods = scene.stack.kubernetes().pods(scene.stack.namespace(), "web").await?;
    let pod = pods[0]["metadata"]["name"].as_str().context("a pod has a name")?;

    let action = scene.carry_out(&scene.stack.action("restart-pod", "Pod", pod, &json!({}))).await?;

    expect(&action, "failed", "budget-blocked");
    scene.expect_whole_story(&action).await?;
    assert!(scene.writes(&id_of(&action)?)?.is_empty());
    let after = scene.stack.kubernetes().pods(scene.stack.namespace(), "web").await?;
    assert_eq!(after[0]["metadata"]["uid"], pods[0]["metadata"]["uid"]);
    Ok(())
}
