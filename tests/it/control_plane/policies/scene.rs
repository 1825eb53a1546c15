//! Documents and questions for the tests beside this file.

use aegis_tests::callers::{Answer, Caller};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A policy that lets a client do something.
pub(super) fn allowing(name: &str, client: &str, actions: &[&str]) -> Value {
    json!({
        "schema": "aegis.policy/v1", "name": name,
        "rules": [{
            "id": "bots", "effect": "ALLOW", "reason": format!("{name} lets {client}"),
            "match": { "principals": [format!("client:{client}")], "actions": actions },
        }],
    })
}

/// A test of a document.
pub(super) fn test(name: &str, client: &str, decision: &str) -> Value {
    json!({
        "name": name, "at": "2026-11-20T12:00:00Z", "expect": { "decision": decision },
        "request": { "principal": format!("client:{client}"), "action": "restart", "resource": "k8s/local/shop/Deployment/web" },
    })
}

/// Stores a document as the next version of its policy.
pub(super) async fn store(admin: &Caller, document: &Value) -> Result<Answer> {
    let path = path(document)?;
    let found = admin.get(&path).await?;
    let tag = found.headers.get("etag").map(|tag| tag.to_str()).transpose()?;
    admin.put(&path, document, tag).await
}

/// Stores a document, and makes it count.
pub(super) async fn activate(admin: &Caller, document: &Value) -> Result<Answer> {
    let stored = store(admin, document).await?;
    anyhow::ensure!(stored.status < 300, "{}", stored.text);
    let version = &stored.body["latestVersion"];
    admin.post(&format!("{}/activate", path(document)?), &json!({ "version": version })).await
}

pub(super) fn path(document: &Value) -> Result<String> {
    Ok(format!("/api/v1/policies/{}", document["name"].as_str().context("a policy has a name")?))
}

/// What policy says to a client that wants to restart something.
pub(super) async fn ask(admin: &Caller, client: &str) -> Result<Value> {
    let question = json!({
        "principal": format!("client:{client}"), "roles": [], "action": "restart",
        "resource": "k8s/local/shop/Deployment/web",
    });
    Ok(admin.post("/api/v1/policy/evaluate", &question).await?.expect(200)?.body)
}
