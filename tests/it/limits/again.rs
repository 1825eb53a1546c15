//! Limits of an action that is decided again before it is ordered.

use aegis_tests::eventually::until;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::Result;
use serde_json::json;

use super::scene::{activate, decision_of, demand, deploy_empty, touch};
use crate::actions::scene::{Scene, WITHIN, expect};
use crate::dispatch::held_claims::HeldClaims;

#[tokio::test]
async fn an_action_decided_again_is_not_counted_against_itself() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    deploy_empty(&scene, &["web".to_owned()]).await?;
    let limits = json!([
        { "type": "cooldown", "per": "target", "seconds": 3600 },
        { "type": "rate", "per": "namespace", "max": 1, "seconds": 3600 },
        { "type": "concurrency", "per": "cluster", "max": 1 },
    ]);
    demand(&scene, "one", limits).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let id = scene.ask(&touch(&scene, "web")).await?;
    activate(&scene, "unrelated", json!({ "match": { "actions": ["scale"] }, "dryRunOnly": true })).await?;
    claims.release().await?;

    let action = scene.ended(&id).await?;
    assert_eq!(action["state"], "succeeded", "{action}");
    let story = scene.story(&id).await?;
    assert_eq!(story.iter().filter(|entry| entry["kind"] == "decision.made").count(), 2);
    for limit in decision_of(&scene, &action).await?["limits"].as_array().into_iter().flatten() {
        assert_eq!(limit["verdict"], "room", "{limit}");
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_that_comes_later_stops_the_later_ones_in_the_queue_and_not_the_first() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let names = ["first", "second", "third"];
    deploy_empty(&scene, &names.map(str::to_owned)).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let mut ids = Vec::new();
    for name in names {
        ids.push(scene.ask(&touch(&scene, name)).await?);
    }
    demand(&scene, "one", json!([{ "type": "rate", "per": "namespace", "max": 1, "seconds": 3600 }])).await?;
    claims.release().await?;

    assert_eq!(scene.ended(&ids[0]).await?["state"], "succeeded");
    for id in &ids[1..] {
        let action = scene.ended(id).await?;
        expect(&action, "denied", "policy-denied");
        let message = action["outcome"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("LIMIT_EXCEEDED (1 in 3600 s per namespace)"), "{action}");
        assert!(scene.writes(id)?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_target_that_fell_ill_in_the_queue_is_left_alone() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let mut manifest = deployment("web", "app:1", 2);
    manifest["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
    scene.deploy(&[manifest]).await?;
    demand(&scene, "enough", json!([{ "type": "unavailable", "of": "target", "maxPercent": 50 }])).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    scene.kubectl(&["annotate", "pods", "-l", "app=web", "sim.aegis.dev/break=unready"]).await?;
    until("all pods being unavailable", WITHIN, async || {
        Ok(scene.object("deployment/web").await?["status"]["availableReplicas"].as_u64().unwrap_or(0) == 0)
    })
    .await?;
    activate(&scene, "unrelated", json!({ "match": { "actions": ["scale"] }, "dryRunOnly": true })).await?;
    claims.release().await?;
    let action = scene.ended(&id).await?;
    expect(&action, "denied", "policy-denied");
    let decided = decision_of(&scene, &action).await?;
    assert_eq!(decided["limits"][0]["verdict"], "exceeded", "{decided}");
    assert_eq!(decided["limits"][0]["counted"]["unavailable"]["available"], 0);
    assert!(scene.writes(&id)?.is_empty());
    Ok(())
}
