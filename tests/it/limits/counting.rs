//! What counts for a limit, what gives room again, and what never takes any.

use aegis_tests::fault_proxy::Moment;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{activate, asked, decision_of, demand, deploy_empty, expect_limited, touch};
use crate::actions::scene::{Scene, expect, id_of};
use crate::dispatch::held_claims::HeldClaims;
use crate::dispatch::lost_orders::cut_acting;

async fn scene(names: &[&str]) -> Result<Scene> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    deploy_empty(&scene, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).await?;
    Ok(scene)
}

async fn let_through(scene: &Scene, request: &Value) -> Result<String> {
    id_of(&asked(&scene.client, request).await?.expect(202)?.body)
}

#[tokio::test]
async fn what_ends_without_anything_done_gives_its_room_back() -> Result<()> {
    let scene = scene(&["cancelled", "expired", "denied", "refused", "done", "late"]).await?;
    demand(&scene, "one", json!([{ "type": "rate", "per": "namespace", "max": 1, "seconds": 3600 }])).await?;
    let full = async || -> Result<()> {
        let answer = asked(&scene.client, &touch(&scene, "late")).await?;
        expect_limited(&answer, "rate");
        Ok(())
    };

    let claims = HeldClaims::take(&scene.stack).await?;
    let id = let_through(&scene, &touch(&scene, "cancelled")).await?;
    full().await?;
    scene.posted(&format!("/api/v1/actions/{id}/cancel")).await?.expect(200)?;

    let mut request = touch(&scene, "expired");
    request["deadlineSeconds"] = json!(2);
    let id = let_through(&scene, &request).await?;
    full().await?;
    claims.release().await?;
    // Whether it expired or was done in time depends on the machine's speed; here it must not be done.
    let state = scene.ended(&id).await?["state"].clone();
    if state == "succeeded" {
        return full().await;
    }
    assert_eq!(state, "expired");

    let claims = HeldClaims::take(&scene.stack).await?;
    let id = let_through(&scene, &touch(&scene, "refused")).await?;
    full().await?;
    scene.kubectl(&["delete", "deployment", "refused"]).await?;
    deploy_empty(&scene, &["refused".to_owned()]).await?;
    activate(&scene, "unrelated", json!({ "match": { "actions": ["scale"] }, "dryRunOnly": true })).await?;
    claims.release().await?;
    expect(&scene.ended(&id).await?, "refused", "target-replaced");

    let id = let_through(&scene, &touch(&scene, "done")).await?;
    expect(&scene.ended(&id).await?, "succeeded", "already-done");
    full().await
}

#[tokio::test]
async fn what_became_of_nobody_knows_keeps_its_room() -> Result<()> {
    let scene = scene(&["lost", "next"]).await?;
    demand(&scene, "one", json!([{ "type": "concurrency", "per": "namespace", "max": 1 }])).await?;
    let cut = cut_acting(&scene, Moment::BeforePassingOn)?;
    let id = let_through(&scene, &touch(&scene, "lost")).await?;
    scene.until_state(&id, "unknown").await?;
    expect_limited(&asked(&scene.client, &touch(&scene, "next")).await?, "concurrency");
    drop(cut);
    assert_eq!(scene.ended(&id).await?["state"], "succeeded");
    let id = let_through(&scene, &touch(&scene, "next")).await?;
    assert_eq!(scene.ended(&id).await?["state"], "succeeded");
    Ok(())
}

#[tokio::test]
async fn rehearsals_and_questions_learn_of_limits_and_take_no_room() -> Result<()> {
    let scene = scene(&["web"]).await?;
    demand(&scene, "one", json!([{ "type": "cooldown", "per": "target", "seconds": 3600 }])).await?;
    let mut rehearsal = touch(&scene, "web");
    rehearsal["dryRun"] = json!(true);
    let resource = format!("k8s/{}/{}/Deployment/web", scene.stack.cluster_name(), scene.stack.namespace());
    let question = json!({ "action": "restart", "resource": resource });
    for _ in 0..3 {
        expect(&scene.carry_out(&rehearsal).await?, "succeeded", "already-done");
        let answer = scene.client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
        assert_eq!(answer.body["decision"], "ALLOW", "{}", answer.text);
        assert_eq!(answer.body["limits"][0]["verdict"], "room", "{}", answer.text);
    }

    let id = let_through(&scene, &touch(&scene, "web")).await?;
    let action = scene.ended(&id).await?;
    assert_eq!(action["state"], "succeeded");
    expect_limited(&asked(&scene.client, &rehearsal).await?, "cooldown");
    let answer = scene.client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    assert_eq!(answer.body["decision"], "DENY", "{}", answer.text);
    assert!(answer.body["retryAt"].is_string(), "{}", answer.text);

    // Enough to judge it again years later.
    let decided = decision_of(&scene, &action).await?;
    let limit = &decided["limits"][0];
    assert_eq!((&limit["verdict"], &limit["counted"]), (&json!("room"), &json!({ "cooldown": {} })));
    let denied = asked(&scene.client, &touch(&scene, "web")).await?;
    let decided = decision_of(&scene, &denied.body).await?;
    let limit = &decided["limits"][0];
    assert_eq!(limit["key"], format!("target={resource}"));
    assert_eq!(limit["rules"], json!([{ "policy": "one", "rule": "care" }]));
    let last_at = limit["counted"]["cooldown"]["lastAt"].as_str().context("what was counted")?;
    let room_at = limit["roomAt"].as_str().context("when there is room")?;
    let (last_at, room_at): (jiff::Timestamp, jiff::Timestamp) = (last_at.parse()?, room_at.parse()?);
    assert_eq!(room_at.duration_since(last_at).as_secs(), 3600);
    assert_eq!((&decided["decision"], &decided["retryAt"]), (&json!("DENY"), &limit["roomAt"]));
    Ok(())
}

#[tokio::test]
async fn where_only_a_dry_run_is_allowed_nothing_else_is_done() -> Result<()> {
    let scene = scene(&["web"]).await?;
    activate(&scene, "trial", json!({ "dryRunOnly": true })).await?;
    let denied = asked(&scene.client, &touch(&scene, "web")).await?.expect(403)?;
    let reason = denied.body["reason"].as_str().context("a reason")?;
    assert!(reason.starts_with("DRY_RUN_ONLY: "), "{reason}");
    assert!(denied.body["retryAfterSeconds"].is_null(), "{}", denied.text);
    let mut rehearsal = touch(&scene, "web");
    rehearsal["dryRun"] = json!(true);
    expect(&scene.carry_out(&rehearsal).await?, "succeeded", "already-done");
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}
