//! Who is asked to agree learns of it, and that people are asked is counted.

use aegis_tests::callers::Caller;
use aegis_tests::eventually::until;
use aegis_tests::receiver::Receiver;
use aegis_tests::stack::StackOptions;
use anyhow::Result;
use serde_json::{Value, json};

use super::scene::Hooks;
use crate::actions::scene::{WITHIN, expect, id_of};
use crate::approvals::people::{answer, approve, ask, demand};

#[tokio::test]
async fn people_are_told_that_they_are_asked_and_that_they_are_asked_anew() -> Result<()> {
    let hooks = Hooks::open(StackOptions::default()).await?;
    let scene = &hooks.scene;
    scene.deploy_small(&["web"]).await?;
    let receiver = Receiver::start().await?;
    let events = ["approval.requested", "approval.voided"];
    hooks.set("sre", &json!({ "url": receiver.url(), "events": events })).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    demand(scene, "four-eyes", json!({ "approvals": [{ "role": "sre", "min": 1 }] })).await?;

    let action = ask(scene, "web").await?;
    let id = id_of(&action)?;
    until("the waiting action being counted", WITHIN, async || {
        Ok(metric(scene.stack.anonymous()?, "aegis_actions_open{state=\"awaiting-approval\"} ").await? == 1.0)
    })
    .await?;
    let limit = json!([{ "type": "concurrency", "per": "target", "max": 5 }]);
    demand(scene, "later", json!({ "limits": limit })).await?;
    approve(&anna, &action).await?;
    let asked = |story: &[Value]| story.iter().filter(|entry| entry["kind"] == "approval.requested").count();
    until("being asked anew", WITHIN, async || Ok(asked(&scene.story(&id).await?) == 2)).await?;
    expect(&answer(&anna, "deny", &action).await?.expect(200)?.body, "denied", "approval-denied");

    hooks.until_all_delivered("sre").await?;
    let told = receiver.received();
    let story = scene.story(&id).await?;
    let worth: Vec<&Value> =
        story.iter().filter(|entry| events.iter().any(|event| entry["kind"] == *event)).collect();
    assert_eq!((worth.len(), told.len()), (3, 3), "{told:?}");
    for entry in worth {
        let found = told.iter().find(|told| Some(told.id()) == entry["id"].as_str());
        let body = found.map(|told| &told.body).unwrap_or(&Value::Null);
        assert_eq!((&body["type"], &body["data"]["details"]), (&entry["kind"], &entry["data"]));
        assert_eq!(body["data"]["action"]["id"], *id);
    }
    let groups = &told[0].body["data"]["details"]["groups"];
    assert_eq!((&groups[0]["role"], &groups[0]["min"]), (&json!("sre"), &json!(1)));

    for (kind, count) in [("given", 1.0), ("denied", 1.0)] {
        let line = format!("aegis_approval_answers_total{{answer=\"{kind}\"}} ");
        assert_eq!(metric(scene.stack.anonymous()?, &line).await?, count, "{kind}");
    }
    Ok(())
}

/// The number of a line of the metrics page; none is zero.
async fn metric(caller: Caller, line: &str) -> Result<f64> {
    let page = caller.get("/metrics").await?.expect(200)?.text;
    let number = page.lines().find_map(|found| found.strip_prefix(line));
    Ok(number.map(str::parse).transpose()?.unwrap_or(0.0))
}
