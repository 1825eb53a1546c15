//! Orders and answers that are lost on the way.

use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{FaultGuard, Matching, Moment};
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::actions::scene::{Scene, WITHIN, expect};

/// An action whose first order never arrived.
pub(super) const ORDERED_AGAIN: [&str; 11] = [
    "action.requested",
    "decision.made",
    "action.intent",
    "order.signed",
    "action.unknown",
    "receipt.received",
    "decision.made",
    "action.intent",
    "order.signed",
    "receipt.received",
    "action.ended",
];

/// Only observing orders pass, or are answered, as long as the guard lives.
pub(crate) fn cut_acting(scene: &Scene, moment: Moment) -> Result<FaultGuard> {
    Ok(scene.stack.orders()?.cut(Matching::path("wait="), moment))
}

async fn until_past(time: Timestamp) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
    until("a deadline passing", WITHIN, async || Ok(Timestamp::now() > time)).await
}

#[tokio::test]
async fn an_order_that_never_arrived_is_closed_and_the_action_ordered_again_or_expired() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web", "late"]).await?;
    let cut = cut_acting(&scene, Moment::BeforePassingOn)?;
    let again = scene.ask(&scene.restart_anyway("web")).await?;
    let mut request = scene.restart("late");
    request["deadlineSeconds"] = json!(4);
    let late = scene.ask(&request).await?;
    for id in [&again, &late] {
        scene.until_state(id, "unknown").await?;
    }
    let deadline = scene.action(&late).await?["deadlineAt"].as_str().context("a deadline")?.parse()?;
    until_past(deadline).await?;
    // Whether it was begun is not known before the executor says so.
    assert_eq!(scene.action(&late).await?["state"], "unknown");
    drop(cut);

    let action = scene.ended(&again).await?;
    expect(&action, "succeeded", "rollout-complete");
    let story = scene.expect_story(&again, &ORDERED_AGAIN).await?;
    assert_eq!(story[5]["data"]["stage"], "closed");
    assert_eq!((&story[2]["data"]["attempt"], &story[7]["data"]["attempt"]), (&json!(1), &json!(2)));
    assert_ne!(story[3]["data"]["orderDigest"], story[8]["data"]["orderDigest"]);
    assert_eq!(story[9]["data"]["orderDigest"], story[8]["data"]["orderDigest"]);
    scene.only_write(&again)?;

    let action = scene.ended(&late).await?;
    expect(&action, "expired", "deadline-passed");
    let kinds = [
        "action.requested",
        "decision.made",
        "action.intent",
        "order.signed",
        "action.unknown",
        "receipt.received",
        "action.ended",
    ];
    scene.expect_story(&late, &kinds).await?;
    assert!(scene.writes(&late)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_order_whose_answers_are_lost_is_carried_out_once_and_its_outcome_learnt_later() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web"]).await?;
    let cut = cut_acting(&scene, Moment::BeforeAnswering)?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    scene.until_state(&id, "unknown").await?;
    // As long as nobody knows, nobody else may begin.
    let next = scene.ask(&scene.scale("web", 2)).await?;
    until("the write", WITHIN, async || Ok(!scene.writes(&id)?.is_empty())).await?;
    assert_eq!(scene.action(&next).await?["state"], "queued");
    drop(cut);

    let action = scene.ended(&id).await?;
    expect(&action, "succeeded", "rollout-complete");
    let kinds = [
        "action.requested",
        "decision.made",
        "action.intent",
        "order.signed",
        "action.unknown",
        "receipt.received",
        "action.ended",
    ];
    let story = scene.expect_story(&id, &kinds).await?;
    // The stored receipt answers the question: it names the order it was given for.
    assert_eq!(story[5]["data"]["orderDigest"], story[3]["data"]["orderDigest"]);
    expect(&scene.ended(&next).await?, "succeeded", "rollout-complete");
    for id in [&id, &next] {
        scene.only_write(id)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_executor_that_is_cut_off_at_work_is_waited_for() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    let id = scene.occupy("web").await?;
    scene.until_receipt(&id, "running").await?;
    let cut = scene.stack.orders()?.cut_off();
    scene.mend("web").await?;
    scene.stack.kubernetes().wait_rolled_out(scene.stack.namespace(), "deployment/web").await?;
    // It was seen at work: what it does is not in doubt, only not known yet.
    assert_eq!(scene.action(&id).await?["state"], "running");
    drop(cut);

    let action = scene.ended(&id).await?;
    expect(&action, "succeeded", "rollout-complete");
    scene.expect_whole_story(&action).await?;
    scene.only_write(&id).map(drop)
}

#[tokio::test]
async fn an_executor_that_is_gone_for_good_does_not_hold_its_target_for_ever() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let stuck = deployment("web", "app:unready", 1);
    scene.stack.kubernetes().apply_in(scene.stack.namespace(), stuck).await?;
    let mut request = scene.restart_anyway("web");
    request["deadlineSeconds"] = json!(8);
    let id = scene.ask(&request).await?;
    scene.until_receipt(&id, "running").await?;
    scene.stack.executor(0).kill()?;

    scene.until_state(&id, "unknown").await?;
    let close = format!("/api/v1/actions/{id}/close");
    scene.admin.post(&close, &json!({})).await?.expect(200)?;
    let second = scene.stack.new_person("berta", &["admin"]).await?;
    expect(&second.post(&close, &json!({})).await?.expect(200)?.body, "failed", "unresolved");
    // What it wrote before it was gone stays the only write, also when it comes back after all.
    scene.stack.executor(0).restart().await?;
    scene.mend("web").await?;
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "rollout-complete");
    assert_eq!(scene.action(&id).await?["state"], "failed");
    scene.only_write(&id).map(drop)
}
