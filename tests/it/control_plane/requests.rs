//! Asking for actions: what is done, what is refused, and what stands in the log afterwards.

use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::{deployment, stateful_set};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::{actions, entries, story};

/// The whole story of an action that went well.
const DONE: [&str; 7] = [
    "action.requested",
    "decision.made",
    "action.intent",
    "order.signed",
    "receipt.received",
    "receipt.received",
    "action.ended",
];

async fn stack_with_workload() -> Result<Stack> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 2)).await?;
    stack.kubernetes().wait_rolled_out(stack.namespace(), "deployment/web").await?;
    Ok(stack)
}

/// Writes of the stack's executor in its namespace that had an effect.
fn writes(stack: &Stack) -> Result<usize> {
    let writes = stack.cluster()?.audit().writes_by_executor()?;
    Ok(writes.iter().filter(|write| write.is_in(stack.namespace()) && write.is_effective_write()).count())
}

#[tokio::test]
async fn each_action_type_acts_once_and_its_whole_story_is_recorded() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let kubernetes = stack.kubernetes();
    kubernetes.apply_in(stack.namespace(), stateful_set("db", "app:1", 1)).await?;
    kubernetes.wait_rolled_out(stack.namespace(), "statefulset/db").await?;
    let pod = kubernetes.pods(stack.namespace(), "web").await?;
    let pod =
        pod.first().and_then(|pod| pod["metadata"]["name"].as_str()).context("web has pods")?.to_owned();
    let client = stack.client()?;

    for (action_type, kind, name, params) in [
        ("restart-pod", "Pod", pod.as_str(), json!({})),
        ("restart", "Deployment", "web", json!({})),
        ("restart", "StatefulSet", "db", json!({})),
        ("scale", "Deployment", "web", json!({ "replicas": 3 })),
    ] {
        let before = writes(&stack)?;
        let action = client.ask(&stack.action(action_type, kind, name, &params), 60).await?.expect(202)?;
        let location = action.headers.get("location").and_then(|value| value.to_str().ok());
        assert_eq!(location, action.body["id"].as_str().map(|id| format!("/api/v1/actions/{id}")).as_deref());
        assert_eq!(action.body["state"], "succeeded", "{action_type} {kind}: {}", action.text);
        assert_eq!(writes(&stack)? - before, 1, "{action_type} {kind}");
        let told = story(&stack, &action.body["id"]).await?;
        for kind in DONE {
            assert!(told.iter().any(|told| told == kind), "{kind} is not in {told:?}");
        }
        assert_eq!(told.iter().filter(|kind| *kind == "action.ended").count(), 1);
        assert!(action.body["outcome"]["receipt"]["signatures"].is_array(), "{}", action.text);
    }

    kubernetes.apply_in(stack.namespace(), deployment("web", "app:bad-pull", 3)).await?;
    let action =
        client.ask(&stack.action("rollback", "Deployment", "web", &json!({})), 60).await?.expect(202)?;
    assert_eq!(action.body["state"], "succeeded", "{}", action.text);
    let web = kubernetes.get(stack.namespace(), "deployment/web").await?;
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "app:1");
    Ok(())
}

#[tokio::test]
async fn what_policy_denies_is_recorded_and_nothing_is_written() -> Result<()> {
    let stack = stack_with_workload().await?;
    let request = stack.action("restart", "Deployment", "web", &json!({}));
    let denied = stack.client()?.ask(&request, 5).await?.expect(403)?;
    assert_eq!((denied.code(), &denied.body["reason"]), ("policy-denied", &json!("no rule allows this")));

    let id = denied.body["actionId"].as_str().context("the action is named")?;
    let action = stack.client()?.get(&format!("/api/v1/actions/{id}")).await?.expect(200)?.body;
    assert_eq!((&action["state"], &action["outcome"]["code"]), (&json!("denied"), &json!("policy-denied")));
    assert_eq!(action["decisionId"], denied.body["decisionId"]);
    assert_eq!(story(&stack, &action["id"]).await?, ["action.requested", "decision.made", "action.ended"]);

    let decision = denied.body["decisionId"].as_str().context("the decision is named")?;
    let decision = stack.client()?.get(&format!("/api/v1/decisions/{decision}")).await?.expect(200)?.body;
    assert_eq!((&decision["decision"], &decision["rules"]), (&json!("DENY"), &json!([])));
    // Everything it takes to decide again.
    assert_eq!(decision["facts"]["replicas"], 2, "{decision}");
    assert_eq!(decision["request"]["principal"], stack.registered_client().principal.as_str());
    for given in ["decidedAt", "zoneDataVersion", "policySetDigest"] {
        assert!(decision[given].is_string(), "{given}: {decision}");
    }
    assert_eq!(writes(&stack)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_target_that_cannot_be_seen_is_decided_without_facts() -> Result<()> {
    let stack = stack_with_workload().await?;
    let client = stack.client()?;
    let absent = stack.action("restart", "Deployment", "absent", &json!({}));
    let mut elsewhere = stack.action("restart", "Deployment", "web", &json!({}));
    elsewhere["target"]["namespace"] = json!("default");

    for request in [&absent, &elsewhere] {
        assert_eq!(client.ask(request, 5).await?.expect(403)?.code(), "policy-denied");
    }
    stack.allow_everything().await?;
    for (request, code) in [(&absent, "target-absent"), (&elsewhere, "namespace-not-allowed")] {
        let refused = client.ask(request, 5).await?.expect(202)?.body;
        assert_eq!((&refused["state"], &refused["outcome"]["code"]), (&json!("refused"), &json!(code)));
        let told = story(&stack, &refused["id"]).await?;
        assert_eq!(told, ["action.requested", "decision.made", "action.ended"], "no order was signed");
    }
    assert_eq!(writes(&stack)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_with_its_place_and_leaves_nothing() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let client = stack.client()?;
    let good = stack.action("restart", "Deployment", "web", &json!({}));
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        if let Some(place) = changed.pointer_mut(pointer) {
            *place = value;
        }
        changed.to_string()
    };
    let twice = good.to_string().replacen('{', "{\"type\":\"scale\",", 1);
    let extra = good.to_string().replacen('{', "{\"force\":true,", 1);

    for (body, status, code, pointer) in [
        (with("/type", json!("destroy")), 400, "invalid", "/type"),
        (with("/target/namespace", json!("Shop")), 400, "invalid", "/target/namespace"),
        (with("/params", json!({ "force": true })), 400, "invalid", "/params"),
        (with("/params", json!({ "canary": true, "pods": "unhealthy" })), 400, "invalid", "/params/canary"),
        (with("/params", json!({ "canary": true, "duringRollout": true })), 400, "invalid", "/params/canary"),
        (twice, 400, "invalid", ""),
        (extra, 400, "invalid", ""),
        ("{".to_owned(), 400, "invalid", ""),
        (with("/reason", json!("x".repeat(70_000))), 413, "too-large", ""),
        (with("/target/kind", json!("Pod")), 422, "target-kind", ""),
        (with("/target/kind", json!("CronJob")), 422, "target-kind", ""),
        (with("/target/cluster", json!("elsewhere")), 422, "unknown-cluster", ""),
    ] {
        let draft = client.request(Method::POST, "/api/v1/actions").header("idempotency-key", "k");
        let answer = draft.bytes(body.clone()).send().await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{body:.200}\n{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.body["requestId"].is_string(), "{}", answer.text);
        if !pointer.is_empty() {
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{}", answer.text);
        }
    }
    let without_key = client.post("/api/v1/actions", &good).await?;
    assert_eq!((without_key.status, without_key.code()), (400, "idempotency-key-required"));
    let too_long = client.ask(&good, 61).await?;
    assert_eq!((too_long.status, too_long.code()), (400, "invalid-parameter"));

    assert_eq!(actions(&stack).await?, 0);
    assert_eq!(entries(&stack.admin()?, "kind=action.requested").await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn without_the_executor_nothing_is_recorded_and_the_same_bytes_may_come_again() -> Result<()> {
    let options = StackOptions { order_proxy: true, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    stack.allow_everything().await?;
    let client = stack.client()?;
    let request = client.request(Method::POST, "/api/v1/actions?wait=60").header("idempotency-key", "once");
    let request =
        request.json(&stack.action("scale", "Deployment", "web", &json!({ "replicas": 2 }))).finish()?;

    let cut_off = stack.orders()?.cut_off();
    let refused = request.send().await?;
    assert_eq!((refused.status, refused.code()), (503, "executor-unavailable"), "{}", refused.text);
    assert_eq!(actions(&stack).await?, 0);
    drop(cut_off);

    // It recorded nothing, so it spent no nonce.
    let accepted = request.send().await?.expect(202)?;
    assert_eq!(accepted.body["state"], "succeeded", "{}", accepted.text);
    assert_eq!(request.send().await?.expect(409)?.code(), "nonce-replayed");
    Ok(())
}

#[tokio::test]
async fn a_slow_executor_is_given_a_second_and_no_more() -> Result<()> {
    let options = StackOptions { order_proxy: true, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    stack.allow_everything().await?;
    let mut hold = stack.orders()?.hold(Matching::any(), Moment::BeforePassingOn);
    let started = std::time::Instant::now();
    let client = stack.client()?;
    let request = stack.action("restart", "Deployment", "web", &json!({}));
    let refused = client.ask(&request, 0).await?;
    assert_eq!((refused.status, refused.code()), (503, "executor-unavailable"));
    assert!(started.elapsed().as_millis() < 3_000, "{:?}", started.elapsed());
    hold.reached().await?;
    Ok(())
}

#[tokio::test]
async fn a_rehearsal_goes_the_whole_way_and_changes_nothing() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let mut request = stack.action("scale", "Deployment", "web", &json!({ "replicas": 5 }));
    request["dryRun"] = json!(true);
    let action = stack.client()?.ask(&request, 60).await?.expect(202)?.body;
    assert_eq!(
        (&action["state"], &action["outcome"]["code"]),
        (&json!("succeeded"), &json!("dry-run")),
        "{action}"
    );
    let told = story(&stack, &action["id"]).await?;
    assert!(told.iter().any(|kind| kind == "order.signed"), "{told:?}");
    let web = stack.kubernetes().get(stack.namespace(), "deployment/web").await?;
    assert_eq!(web["spec"]["replicas"], 2);
    assert_eq!(writes(&stack)?, 0);
    Ok(())
}

#[tokio::test]
async fn clients_see_only_their_own_actions_and_lists_come_in_pages() -> Result<()> {
    let stack = stack_with_workload().await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let other = stack.new_client("other-bot", &stack.admin_user().email).await?;
    let other = stack.caller_of(&other)?;
    let request = stack.action("restart", "Deployment", "web", &json!({}));
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(client.ask(&request, 0).await?.expect(403)?.body["actionId"].clone());
    }
    let foreign = other.ask(&request, 0).await?.expect(403)?.body["actionId"].clone();

    let path = format!("/api/v1/actions/{}", foreign.as_str().context("an id")?);
    assert_eq!(client.get(&path).await?.expect(404)?.code(), "not-found");
    assert_eq!(other.get(&path).await?.expect(200)?.body["id"], foreign);
    assert_eq!(
        admin.get("/api/v1/actions").await?.expect(200)?.body["items"].as_array().map(Vec::len),
        Some(6)
    );
    let asked_by = "/api/v1/actions?requestedBy=client:other-bot";
    assert_eq!(client.get(asked_by).await?.expect(200)?.body["items"], json!([]));
    assert_eq!(admin.get(asked_by).await?.expect(200)?.body["items"][0]["id"], foreign);

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/actions?limit=2{cursor}")).await?.expect(200)?.body;
        let items = page["items"].as_array().context("items")?;
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|action| action["id"].clone()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!(seen, ids, "the newest first, each once");
    for query in ["limit=0", "limit=201", "cursor=x", "state=done", "colour=red"] {
        let refused = client.get(&format!("/api/v1/actions?{query}")).await?;
        assert_eq!((refused.status, refused.code()), (400, "invalid-parameter"), "{query}");
    }
    Ok(())
}
