//! Limits on replicas and on unavailable pods: judged when an action is decided, and once more by the executor.

use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::Moment;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::Result;
use serde_json::{Value, json};

use super::scene::{asked, decision_of, demand, expect_limited};
use crate::actions::scene::{Scene, WITHIN, expect, id_of};
use crate::dispatch::lost_orders::cut_acting;

impl Scene {
    /// Denied by a limit on replicas, which is named.
    async fn expect_too_far(&self, replicas: u32, limit: &str) -> Result<Value> {
        let answer = asked(&self.client, &self.scale("web", replicas)).await?;
        expect_limited(&answer, "replicas");
        let reason = answer.body["reason"].as_str().unwrap_or_default();
        assert_eq!(reason, format!("LIMIT_EXCEEDED ({limit}): with care"));
        assert!(answer.body["retryAfterSeconds"].is_null(), "no time makes room for it: {}", answer.text);
        Ok(answer.body)
    }

    /// The bounds that the log says an action was ordered within.
    async fn bounds(&self, action: &Value) -> Result<Value> {
        let entries = self.entries(&id_of(action)?).await?;
        let intent = entries.into_iter().rfind(|entry| entry["kind"] == "action.intent");
        Ok(intent.map(|mut intent| intent["data"]["bounds"].take()).unwrap_or_default())
    }
}

#[tokio::test]
async fn replicas_keep_to_floor_ceiling_and_step_and_nothing_else_is_bound_by_them() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy(&[deployment("web", "app:1", 3)]).await?;
    let replicas = json!({ "type": "replicas", "min": 2, "max": 7, "maxStep": 3 });
    demand(&scene, "sizes", json!([replicas, { "type": "unavailable", "of": "target", "maxPercent": 50 }]))
        .await?;

    scene.expect_too_far(1, "replicas at least 2").await?;
    scene.expect_too_far(8, "replicas at most 7").await?;
    let denied = scene.expect_too_far(7, "replicas changed by at most 3").await?;
    let decided = decision_of(&scene, &denied).await?;
    let counted = &decided["limits"][2]["counted"]["replicas"];
    assert_eq!((&counted["before"], &counted["after"]), (&json!(3), &json!(7)), "{decided}");

    let scaled = scene.carry_out(&scene.scale("web", 6)).await?;
    expect(&scaled, "succeeded", "rollout-complete");
    let bounds = json!({ "unavailableMaxPercent": 50, "replicas": { "min": 2, "max": 7, "maxStep": 3 } });
    assert_eq!(scene.bounds(&scaled).await?, bounds);
    // Another request for a number that was out of reach before.
    expect(&scene.carry_out(&scene.scale("web", 7)).await?, "succeeded", "rollout-complete");
    let restarted = scene.carry_out(&scene.restart("web")).await?;
    expect(&restarted, "succeeded", "rollout-complete");
    assert_eq!(scene.bounds(&restarted).await?, json!({ "unavailableMaxPercent": 50 }));
    Ok(())
}

#[tokio::test]
async fn nothing_is_scaled_to_nothing_before_an_allow_says_so_and_a_floor_holds_all_the_same() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let to_zero = scene.scale("web", 0);
    let denied = asked(&scene.client, &to_zero).await?.expect(403)?;
    assert_eq!((denied.code(), &denied.body["reason"]), ("policy-denied", &json!("no rule allows this")));
    let message = denied.body["nearestMiss"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("needs a limit `replicas` with `min` 0"), "{}", denied.text);
    // A REQUIRE grants nothing.
    demand(&scene, "sizes", json!([{ "type": "replicas", "min": 0, "max": 7 }])).await?;
    asked(&scene.client, &to_zero).await?.expect(403)?;

    scene.allow_zero().await?;
    let action = scene.carry_out(&to_zero).await?;
    expect(&action, "succeeded", "rollout-complete");
    assert_eq!(scene.bounds(&action).await?, json!({ "replicas": { "min": 0, "max": 7 } }));
    assert_eq!(scene.object("deployment/web").await?["spec"]["replicas"], 0);

    demand(&scene, "sizes", json!([{ "type": "replicas", "min": 1 }])).await?;
    expect(&scene.carry_out(&scene.scale("web", 1)).await?, "succeeded", "rollout-complete");
    scene.expect_too_far(0, "replicas at least 1").await?;
    Ok(())
}

#[tokio::test]
async fn pods_that_go_down_after_the_order_was_signed_stop_it_at_the_executor() -> Result<()> {
    // Time enough to break pods while the order is on its way.
    let options = StackOptions { order_proxy: true, order_lifetime_seconds: 60, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    scene.deploy(&[deployment("web", "app:1", 4)]).await?;
    demand(&scene, "enough", json!([{ "type": "unavailable", "of": "target", "maxPods": 1 }])).await?;
    let kept_back = cut_acting(&scene, Moment::BeforePassingOn)?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    scene.until_state(&id, "running").await?;
    scene.kubectl(&["annotate", "pods", "-l", "app=web", "sim.aegis.dev/break=unready"]).await?;
    until("all pods being unavailable", WITHIN, async || {
        Ok(scene.object("deployment/web").await?["status"]["availableReplicas"].as_u64().unwrap_or(0) == 0)
    })
    .await?;
    drop(kept_back);

    let action = scene.ended(&id).await?;
    expect(&action, "refused", "bound-exceeded");
    let message = action["outcome"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("4 of the 4 wanted pods") && message.contains("allows 1"), "{message}");
    scene.expect_whole_story(&action).await?;
    assert_eq!(scene.bounds(&action).await?, json!({ "unavailableMax": 1 }));
    assert!(scene.writes(&id)?.is_empty());
    Ok(())
}
