//! What tests of approvals share.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::actions::scene::{Scene, WITHIN, id_of};

/// Before an answer is given again.
const PAUSE: Duration = Duration::from_millis(200);

/// A stack with small workloads, everything allowed, and a policy that asks these groups.
pub(super) async fn scene(groups: Value, names: &[&str]) -> Result<Scene> {
    scene_with(StackOptions::default(), groups, names).await
}

pub(super) async fn scene_with(options: StackOptions, groups: Value, names: &[&str]) -> Result<Scene> {
    let scene = Scene::open(options).await?;
    scene.deploy_small(names).await?;
    demand(&scene, "four-eyes", json!({ "approvals": groups })).await?;
    Ok(scene)
}

/// Activates a policy of that name with one REQUIRE.
pub(crate) async fn demand(scene: &Scene, name: &str, demands: Value) -> Result<()> {
    let mut rule = json!({ "id": "care", "effect": "REQUIRE", "reason": "looked at by others" });
    if let (Some(rule), Value::Object(demands)) = (rule.as_object_mut(), demands) {
        rule.extend(demands);
    }
    let policy =
        json!({ "schema": "aegis.policy/v1", "name": name, "description": "Approvals.", "rules": [rule] });
    scene.admin.activate_policy(&policy).await
}

/// Asks for a restart that people must agree to.
pub(crate) async fn ask(scene: &Scene, name: &str) -> Result<Value> {
    let action = scene.asked(&scene.restart(name), 0).await?.expect(202)?.body;
    assert_eq!(action["state"], "awaiting-approval", "{action}");
    Ok(action)
}

/// A person's answer to an action, given again while the audit log is busy.
pub(crate) async fn answer(person: &Caller, what: &str, action: &Value) -> Result<Answer> {
    let body = if what == "deny" { json!({ "reason": "not now" }) } else { json!({}) };
    let path = format!("/api/v1/actions/{}/{what}", id_of(action)?);
    let until = Instant::now() + WITHIN;
    loop {
        let answer = person.post(&path, &body).await?;
        if answer.code() != "audit-unavailable" || Instant::now() >= until {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) async fn approve(person: &Caller, action: &Value) -> Result<Value> {
    Ok(answer(person, "approve", action).await?.expect(200)?.body)
}

/// How many people are missing in all groups.
pub(super) fn missing(action: &Value) -> u64 {
    let groups = action["approval"]["groups"].as_array().into_iter().flatten();
    groups.filter_map(|group| group["missing"].as_u64()).sum()
}

/// The ids of the actions that wait for somebody.
pub(super) async fn asked_of(person: &Caller, query: &str) -> Result<Vec<String>> {
    let page = person.get(&format!("/api/v1/approvals{query}")).await?.expect(200)?.body;
    page["items"].as_array().context("items")?.iter().map(id_of).collect()
}
