//! One request, however often it is sent.

use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::{actions, entries};

const PATH: &str = "/api/v1/actions";

async fn stack_with_workload() -> Result<Stack> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    stack.kubernetes().wait_rolled_out(stack.namespace(), "deployment/web").await?;
    Ok(stack)
}

#[tokio::test]
async fn fifty_copies_of_one_retry_make_one_action_and_one_write() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let client = stack.client()?;
    let body = stack.action("scale", "Deployment", "web", &json!({ "replicas": 3 }));
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request =
            client.request(Method::POST, PATH).header("idempotency-key", "retried").json(&body).finish()?;
        copies.spawn(async move { request.send().await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = copies.join_next().await {
        answers.push(answer??);
    }
    // A copy that had to wait too long for another is told so, and answered when it asks again.
    for answer in &mut answers {
        while answer.status == 409 && answer.code() == "in-progress" {
            *answer = client.ask_with_key("retried", &body, 0).await?;
        }
    }
    for answer in &answers {
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let ids: Vec<(u16, &Value, &Value)> = answers
        .iter()
        .map(|answer| (answer.status, &answer.body["id"], &answer.body["decisionId"]))
        .collect();
    assert!(ids.iter().all(|answer| *answer == ids[0]), "{ids:?}");

    let id = ids[0].1.as_str().context("an id")?;
    let ended = client.get(&format!("{PATH}/{id}?wait=60")).await?.expect(200)?.body;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(actions(&stack).await?, 1);
    assert_eq!(entries(&stack.admin()?, "kind=action.requested").await?.len(), 1);
    assert_eq!(stack.cluster()?.audit().writes_by_agent(id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_with_the_present_state() -> Result<()> {
    let stack = stack_with_workload().await?;
    let client = stack.client()?;
    let body = stack.action("scale", "Deployment", "web", &json!({ "replicas": 2 }));
    let denied = client.ask_with_key("denied", &body, 0).await?.expect(403)?.body;
    stack.allow_everything().await?;
    let again = client.ask_with_key("denied", &body, 0).await?.expect(403)?.body;
    for member in ["code", "actionId", "decisionId", "reason"] {
        assert_eq!(denied[member], again[member], "a denial stays one");
    }

    let queued = client.ask_with_key("allowed", &body, 0).await?.expect(202)?.body;
    // `wait` asks for nothing else.
    let ended = client.ask_with_key("allowed", &body, 60).await?.expect(202)?.body;
    assert_eq!((&ended["id"], &ended["decisionId"]), (&queued["id"], &queued["decisionId"]));
    assert_eq!(ended["state"], "succeeded");
    assert_eq!(actions(&stack).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_caller() -> Result<()> {
    let stack = stack_with_workload().await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let body = stack.action("scale", "Deployment", "web", &json!({ "replicas": 2 }));
    let other = stack.action("scale", "Deployment", "web", &json!({ "replicas": 4 }));
    let first = client.ask_with_key("key", &body, 0).await?.expect(403)?.body;
    assert_eq!(client.ask_with_key("key", &other, 0).await?.expect(409)?.code(), "idempotency-key-reused");
    let of_admin = admin.ask_with_key("key", &other, 0).await?.expect(403)?.body;
    assert_ne!(first["actionId"], of_admin["actionId"]);
    assert_eq!(
        admin.ask_with_key("key", &other, 0).await?.expect(403)?.body["actionId"],
        of_admin["actionId"]
    );
    assert_eq!(actions(&stack).await?, 2);
    Ok(())
}

#[tokio::test]
async fn identical_bytes_are_a_replay_whatever_became_of_the_first() -> Result<()> {
    let stack = stack_with_workload().await?;
    let client = stack.client()?;
    let body = stack.action("scale", "Deployment", "web", &json!({ "replicas": 2 }));
    let request =
        client.request(Method::POST, PATH).header("idempotency-key", "once").json(&body).finish()?;
    let first = request.send().await?.expect(403)?.body;
    for _ in 0..3 {
        assert_eq!(request.send().await?.expect(409)?.code(), "nonce-replayed");
    }
    // Another nonce of the same key is the retry it should have been.
    assert_eq!(client.ask_with_key("once", &body, 0).await?.expect(403)?.body["actionId"], first["actionId"]);
    assert_eq!(actions(&stack).await?, 1);
    // One nonce in two different requests is a replay as well.
    let nonce = "0123456789abcdef";
    let with_nonce =
        |key: &'static str| client.request(Method::POST, PATH).header("idempotency-key", key).nonce(nonce);
    with_nonce("a").json(&body).send().await?.expect(403)?;
    assert_eq!(with_nonce("b").json(&body).send().await?.expect(409)?.code(), "nonce-replayed");
    Ok(())
}
