//! What tests of limits share.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::paths::random_name;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::actions::scene::{Scene, answered};

/// Activates a policy of that name which demands these limits of everybody.
pub(super) async fn demand(scene: &Scene, name: &str, limits: Value) -> Result<()> {
    activate(scene, name, json!({ "limits": limits })).await
}

/// Activates a policy of that name with one REQUIRE.
pub(super) async fn activate(scene: &Scene, name: &str, demands: Value) -> Result<()> {
    let mut rule = json!({ "id": "care", "effect": "REQUIRE", "reason": "with care" });
    if let (Some(rule), Value::Object(demands)) = (rule.as_object_mut(), demands) {
        rule.extend(demands);
    }
    let policy =
        json!({ "schema": "aegis.policy/v1", "name": name, "description": "Limits.", "rules": [rule] });
    scene.admin.activate_policy(&policy).await
}

/// Applies Deployments without pods, which [`touch`] is done with at once.
pub(super) async fn deploy_empty(scene: &Scene, names: &[String]) -> Result<()> {
    let namespace = scene.stack.namespace();
    let items = names.iter().map(|name| {
        let mut manifest = deployment(name, "app:1", 0);
        manifest["metadata"]["namespace"] = json!(namespace);
        manifest
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() });
    scene.stack.kubernetes().apply(&list).await?;
    let objects = names.iter().map(|name| format!("deployment/{name}"));
    let wait = ["-n", namespace, "wait", "--for=condition=Available", "--timeout=90s"].map(str::to_owned);
    scene.stack.kubernetes().kubectl(wait.into_iter().chain(objects)).await?;
    Ok(())
}

/// A request that changes nothing: to return to the only revision there is.
pub(super) fn touch(scene: &Scene, name: &str) -> Value {
    scene.stack.action("rollback", "Deployment", name, &json!({ "toRevision": 1 }))
}

/// Asks as a caller until the answer is not "come again".
pub(crate) async fn asked(caller: &Caller, request: &Value) -> Result<Answer> {
    let key = random_name(32);
    answered(|| caller.ask_with_key(&key, request, 0)).await
}

/// The decision a denial, or an action, names.
pub(super) async fn decision_of(scene: &Scene, body: &Value) -> Result<Value> {
    let id = body["decisionId"].as_str().with_context(|| format!("a decision is named: {body}"))?;
    Ok(scene.admin.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body)
}

/// Whether a request was denied because a limit of that type had no room.
pub(crate) fn expect_limited(answer: &Answer, limit: &str) {
    assert_eq!((answer.status, answer.code()), (403, "policy-denied"), "{}", answer.text);
    let reason = answer.body["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("LIMIT_EXCEEDED ("), "{}", answer.text);
    assert_eq!(answer.body["limits"][0]["type"], limit, "{}", answer.text);
}
