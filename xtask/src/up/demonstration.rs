//! The main job, shown step by step: a workload breaks, a signed heal request arrives, policy decides, the executor
//! acts, the audit log tells the story. Each step is checked; the first that did not happen ends it with an error.

use std::time::Duration;

use aegis_tests::eventually::until;
use aegis_tests::kubernetes::Kubernetes;
use aegis_tests::progress;
use aegis_tests::stack::Stack;
use aegis_tests::workload::{deployment, waiting_reason};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// An image that runs on a real cluster too.
const HEALTHY_IMAGE: &str = "registry.k8s.io/pause:3.10";
/// A tag that crashes on the test bed, and cannot be pulled on a real cluster.
const BROKEN_IMAGE: &str = "registry.k8s.io/pause:crash";
/// Marks a namespace of somebody's cluster as one the demonstration may use.
const CLAIM: &str = "aegis.dev/demonstration";

/// Creates the demonstration's namespace on a cluster that is not ours; refuses one that somebody else made.
pub(super) async fn claim_namespace(kubernetes: &Kubernetes, namespace: &str) -> Result<()> {
    let existing = kubernetes.read(&format!("/api/v1/namespaces/{namespace}")).await;
    if let Ok(existing) = existing {
        let existing: Value = serde_json::from_str(&existing)?;
        ensure!(
            existing["metadata"]["labels"][CLAIM] == "true",
            "the cluster has a namespace `{namespace}` already, and the demonstration would break a workload in it; \
             label it {CLAIM}=true to allow that"
        );
        return Ok(());
    }
    let metadata = json!({ "name": namespace, "labels": { CLAIM: "true" } });
    kubernetes.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await
}

/// Runs the demonstration in the stack's first namespace.
pub(super) async fn run(stack: &Stack) -> Result<()> {
    eprintln!("\nThe main job, on {}:\n", stack.kubernetes().kubeconfig().display());
    break_a_workload(stack).await?;
    let action = ask_for_a_rollback(stack).await?;
    show_decision(stack, &action).await?;
    show_outcome(stack, &action).await?;
    show_audit_trail(stack, &action).await
}

async fn break_a_workload(stack: &Stack) -> Result<()> {
    let (kubernetes, namespace) = (stack.kubernetes(), stack.namespace());
    let step = progress::step("a workload runs");
    kubernetes.apply_in(namespace, deployment("web", HEALTHY_IMAGE, 3)).await?;
    kubernetes.wait_rolled_out(namespace, "deployment/web").await?;
    step.done_with(&format!("{namespace}/Deployment/web, 3 pods of {HEALTHY_IMAGE}"));

    let step = progress::step("a new image breaks it");
    kubernetes.apply_in(namespace, deployment("web", BROKEN_IMAGE, 3)).await?;
    let broken = |pod: &Value| ["CrashLoopBackOff", "ImagePullBackOff"].contains(&waiting_reason(pod));
    let pod = kubernetes.wait_for_pod(namespace, "web", "does not start", broken).await?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    step.done_with(&format!("{name} is in {}", waiting_reason(&pod)));
    Ok(())
}

/// Returns the action as it stands when it has ended.
async fn ask_for_a_rollback(stack: &Stack) -> Result<Value> {
    let client = stack.registered_client();
    let step = progress::step("a signed heal request arrives");
    let mut request = stack.action("rollback", "Deployment", "web", &json!({}));
    request["reason"] = json!("the new image does not start");
    request["metadata"] = json!({ "severity": "high" });
    let answer = stack.client()?.ask(&request, 60).await?.expect(202)?;
    let id = answer.body["id"].as_str().context("an action has an id")?;
    step.done_with(&format!(
        "rollback of web, signed by {} with key {}, action {id}",
        client.principal, client.key_id
    ));
    Ok(answer.body)
}

async fn show_decision(stack: &Stack, action: &Value) -> Result<()> {
    let step = progress::step("policy decides");
    let id = action["decisionId"].as_str().context("an action has a decision")?;
    let decision = stack.admin()?.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body;
    ensure!(decision["decision"] == "ALLOW", "the decision is {}", decision["decision"]);
    let rules = decision["rules"].as_array().filter(|rules| !rules.is_empty());
    let rules: Vec<_> = rules.context("a decision names its rules")?.iter().map(rule_name).collect();
    step.done_with(&format!(
        "ALLOW by {}: {}",
        rules.join(", "),
        decision["reason"].as_str().unwrap_or_default()
    ));
    Ok(())
}

fn rule_name(rule: &Value) -> String {
    match rule {
        Value::String(name) => name.clone(),
        rule => format!(
            "{}/{}",
            rule["policy"].as_str().unwrap_or_default(),
            rule["rule"].as_str().or(rule["id"].as_str()).unwrap_or_default()
        ),
    }
}

async fn show_outcome(stack: &Stack, action: &Value) -> Result<()> {
    let step = progress::step("the executor rolls back");
    ensure!(action["state"] == "succeeded", "the action is {}: {}", action["state"], action["outcome"]);
    let (kubernetes, namespace) = (stack.kubernetes(), stack.namespace());
    until("the healthy image serving again", Duration::from_secs(60), async || {
        let web = kubernetes.get(namespace, "deployment/web").await?;
        let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
        Ok(image == HEALTHY_IMAGE
            && web["status"]["updatedReplicas"] == 3
            && web["status"]["readyReplicas"] == 3)
    })
    .await?;
    step.done_with(&format!("3 pods of {HEALTHY_IMAGE} again"));
    for taken in action["outcome"]["steps"].as_array().into_iter().flatten() {
        eprintln!("    {}  {:12} {}", text(taken, "at"), text(taken, "name"), text(taken, "message"));
    }
    Ok(())
}

async fn show_audit_trail(stack: &Stack, action: &Value) -> Result<()> {
    let step = progress::step("the audit log tells the story");
    let id = text(action, "id");
    let entries =
        stack.admin()?.get(&format!("/api/v1/audit/entries?actionId={id}")).await?.expect(200)?.body;
    let entries = entries["items"].as_array().filter(|entries| !entries.is_empty());
    let entries = entries.context("the audit log holds no entry of the action")?;
    step.done_with(&format!("{} entries", entries.len()));
    // The newest comes first; a story is told from its beginning.
    for entry in entries.iter().rev() {
        eprintln!("    {}  {:22} {}", text(entry, "at"), text(entry, "kind"), text(entry, "principal"));
    }
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
