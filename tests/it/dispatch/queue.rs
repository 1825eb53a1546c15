//! Waiting for one's turn: in order of arrival, not beyond the deadline, and not on a decision that no longer holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::receipt::Stage;
use aegis_tests::eventually::until;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;

use super::held_claims::HeldClaims;
use crate::actions::scene::{ORDERED, Scene, WITHDRAWN, expect, id_of};

/// An action that was decided a second time before it was ordered.
const DECIDED_TWICE: [&str; 8] = [
    "action.requested",
    "decision.made",
    "action.intent",
    "decision.made",
    "action.intent",
    "order.signed",
    "receipt.received",
    "action.ended",
];

/// How long Kubernetes may take to begin with a new Deployment.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Kind and action of every ledger row, by its number.
async fn ledger(scene: &Scene) -> Result<BTreeMap<i64, (String, String)>> {
    let mut connection = PgConnection::connect(&scene.stack.executor_database().superuser_url).await?;
    let rows = raw_sql("select row_number, kind, action_id::text from ledger.rows");
    let rows = rows.fetch_all(&mut connection).await?;
    connection.close().await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// The twenty requests: restarts, and scalings to as many different sizes.
fn twenty(scene: &Scene) -> Vec<Value> {
    let restarts = (0..8).map(|_| scene.restart_anyway("web"));
    let scalings = (1..=13).filter(|replicas| *replicas != 2).map(|replicas| scene.scale("web", replicas));
    let requests: Vec<_> = restarts.chain(scalings).collect();
    assert_eq!(requests.len(), 20);
    requests
}

#[tokio::test]
async fn twenty_actions_at_once_on_one_target_run_one_after_another_in_order_of_arrival() -> Result<()> {
    let scene = Arc::new(Scene::open(StackOptions::default()).await?);
    // Whichever comes first stays at work until the image is mended: by then all twenty have arrived.
    let mut manifest = deployment("web", "app:unready", 2);
    manifest["spec"]["strategy"] =
        json!({ "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": "100%" } });
    scene.stack.kubernetes().apply_in(scene.stack.namespace(), manifest).await?;
    // The controller numbers the first revision in an annotation, which counts as somebody else's change.
    until("the Deployment to be taken up", TAKEN_UP_WITHIN, async || {
        let web = scene.stack.kubernetes().get(scene.stack.namespace(), "deployment/web").await?;
        Ok(web.pointer("/metadata/annotations/deployment.kubernetes.io~1revision").is_some())
    })
    .await?;
    let mut asking = JoinSet::new();
    for request in twenty(&scene) {
        let scene = Arc::clone(&scene);
        asking.spawn(async move { scene.ask(&request).await });
    }
    let asked = asking.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    scene.mend("web").await?;

    let mut spans = BTreeMap::new();
    for id in &asked {
        let action = scene.ended(id).await?;
        expect(&action, "succeeded", "rollout-complete");
        let Stage::Finished { result } = scene.receipt(&action)?.stage else {
            bail!("not finished: {action}")
        };
        let [first, .., last] = &result.steps[..] else { bail!("few steps: {:?}", result.steps) };
        spans.insert(id.clone(), (first.at, last.at));
        scene.only_write(id)?;
    }

    let ledger = ledger(&scene).await?;
    let rows: Vec<_> = ledger.values().map(|(kind, id)| (kind.as_str(), id.as_str())).collect();
    let order: Vec<_> = rows.chunks(3).map(|rows| rows[0].1).collect();
    let expected: Vec<_> =
        order.iter().flat_map(|id| ["accepted", "acting", "finished"].map(|kind| (kind, *id))).collect();
    assert_eq!(rows, expected, "the ledger holds one action after another");
    assert_eq!(order.len(), asked.len());
    // Ids are made when a request arrives, and sort by that. The one that was first may have begun before an earlier
    // one was recorded.
    assert!(order[1..].is_sorted(), "not in order of arrival: {order:?}");
    for pair in order.windows(2) {
        let ((_, ended), (begun, _)) = (spans[pair[0]], spans[pair[1]]);
        assert!(ended <= begun, "{} ended at {ended}, {} began at {begun}", pair[0], pair[1]);
    }
    let writes = scene.stack.cluster()?.audit().requests()?;
    let written: Vec<_> = writes
        .iter()
        .filter(|write| write.is_effective_write())
        .filter_map(|write| order.iter().find(|id| write.user_agent.contains(**id)))
        .collect();
    assert_eq!(written, order.iter().collect::<Vec<_>>(), "written in another order than begun");
    expect_orders_apart(&scene, &order).await
}

/// Whether each order was signed only after the outcome of the one before was recorded.
async fn expect_orders_apart(scene: &Scene, order: &[&str]) -> Result<()> {
    let mut ended_before = String::new();
    for id in order {
        let story = scene.story(id).await?;
        // Entry ids of one control plane sort by the time they were made.
        let entry = |kind: &str| {
            let found = story.iter().find(|entry| entry["kind"] == kind);
            found.and_then(|entry| entry["id"].as_str()).with_context(|| format!("{id} has no {kind}"))
        };
        assert!(entry("order.signed")? > ended_before.as_str(), "{id} was ordered too early");
        ended_before = entry("action.ended")?.to_owned();
    }
    Ok(())
}

#[tokio::test]
async fn an_action_whose_turn_does_not_come_in_time_expires_unwritten() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let busy = scene.occupy("web").await?;
    let mut request = scene.scale("web", 3);
    request["deadlineSeconds"] = json!(2);
    let late = scene.ask(&request).await?;

    let action = scene.ended(&late).await?;
    expect(&action, "expired", "deadline-passed");
    scene.expect_story(&late, &WITHDRAWN).await?;
    assert!(scene.writes(&late)?.is_empty());
    assert_eq!(scene.action(&busy).await?["state"], "running");
    scene.mend("web").await?;
    expect(&scene.ended(&busy).await?, "succeeded", "rollout-complete");
    assert_eq!(scene.object("deployment/web").await?["spec"]["replicas"], 1);
    Ok(())
}

#[tokio::test]
async fn what_is_not_allowed_any_more_when_its_turn_comes_is_denied() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    let path = "/api/v1/policies/allow-everything/deactivate";
    scene.admin.post(path, &json!({})).await?.expect(200)?;
    claims.release().await?;

    expect(&scene.ended(&id).await?, "denied", "policy-denied");
    let kinds = ["action.requested", "decision.made", "action.intent", "decision.made", "action.ended"];
    let story = scene.expect_story(&id, &kinds).await?;
    assert_eq!(
        (&story[1]["data"]["decision"], &story[3]["data"]["decision"]),
        (&json!("ALLOW"), &json!("DENY"))
    );
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}

#[tokio::test]
async fn what_is_still_allowed_by_other_policies_is_ordered_on_a_new_decision() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let id = scene.ask(&scene.restart_anyway("web")).await?;
    let first = scene.action(&id).await?;
    let rule = json!({ "id": "no-scaling", "effect": "DENY", "reason": "sizes are set by hand",
        "match": { "actions": ["scale"] } });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "sizes", "description": "Sizes stay.", "rules": [rule] });
    scene.admin.activate_policy(&policy).await?;
    claims.release().await?;

    let action = scene.ended(&id).await?;
    expect(&action, "succeeded", "rollout-complete");
    expect_decided_twice(&scene, &first, &action).await?;
    scene.only_write(&id).map(drop)
}

#[tokio::test]
async fn a_decision_carries_an_order_for_sixty_seconds_and_no_longer() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["fresh", "stale"]).await?;
    let mut claims = HeldClaims::take(&scene.stack).await?;
    let fresh = scene.ask(&scene.restart("fresh")).await?;
    let stale = scene.ask(&scene.restart("stale")).await?;
    let first = scene.action(&stale).await?;
    // As if so much time had passed. The difference leaves a slow machine half a minute to claim the younger one.
    for (id, seconds) in [(&fresh, 30), (&stale, 61)] {
        let sql = format!(
            "update intents set decided_at = decided_at - interval '{seconds} s' where action_id = '{id}'"
        );
        claims.execute(sql).await?;
    }
    claims.release().await?;

    let action = scene.ended(&fresh).await?;
    expect(&action, "succeeded", "rollout-complete");
    scene.expect_story(&fresh, &ORDERED).await?;
    let action = scene.ended(&stale).await?;
    expect(&action, "succeeded", "rollout-complete");
    expect_decided_twice(&scene, &first, &action).await?;
    for id in [fresh, stale] {
        scene.only_write(&id)?;
    }
    Ok(())
}

/// Whether the order stands on the second decision, and the action names it.
async fn expect_decided_twice(scene: &Scene, first: &Value, action: &Value) -> Result<()> {
    let story = scene.expect_story(&id_of(action)?, &DECIDED_TWICE).await?;
    assert_eq!(story[1]["data"]["decisionId"], first["decisionId"]);
    assert_eq!(story[3]["data"]["decisionId"], action["decisionId"]);
    assert_ne!(first["decisionId"], action["decisionId"]);
    assert_eq!(story[3]["principal"], "engine:dispatch");
    assert_eq!(story[4]["data"]["decisionId"], action["decisionId"]);
    // A superseded intent makes no attempt.
    assert_eq!((&story[2]["data"]["attempt"], &story[4]["data"]["attempt"]), (&json!(1), &json!(1)));
    assert_eq!(story[5]["data"]["intentEntryId"], story[4]["id"]);
    Ok(())
}
