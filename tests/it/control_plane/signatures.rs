//! Signed requests that are refused: one public answer, the precise reason in metrics and log.

mod cases;
#[path = "../../../shared/contract/tests/it/http_signature_profile/draft.rs"]
#[expect(dead_code, reason = "what it shares with the contract's own tests is not all needed here")]
mod draft;
mod table;

use aegis_tests::callers::{Caller, Finished};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use http::HeaderValue;
use http::header::HOST;
use reqwest::Method;
use serde_json::{Value, json};

use super::log::{entries, metric, refusals};

const PATH: &str = "/api/v1/actions";

struct Scene {
    stack: Stack,
    body: Value,
}

impl Scene {
    async fn start() -> Result<Self> {
        let stack = Stack::start(StackOptions::default()).await?;
        let body = stack.action("restart", "Deployment", "web", &json!({}));
        Ok(Self { stack, body })
    }

    fn signed(&self, caller: &Caller) -> Result<Finished> {
        caller.request(Method::POST, PATH).header("idempotency-key", "key").json(&self.body).finish()
    }

    /// A sound request, changed after it was signed.
    fn tampered(&self, change: impl Fn(&mut Finished)) -> Result<Finished> {
        let mut request = self.signed(&self.stack.client()?)?;
        change(&mut request);
        Ok(request)
    }
}

#[tokio::test]
async fn a_refusal_is_recorded_once_a_minute_for_each_key_and_reason() -> Result<()> {
    let scene = Scene::start().await?;
    let stack = &scene.stack;
    let url = stack.control_plane(0).url();
    let secret = &stack.registered_client().secret;
    // Invented key ids count as one, however many.
    for number in 0..20 {
        let stranger = Caller::client(url, &format!("nobody-{number}"), secret)?;
        assert_eq!(scene.signed(&stranger)?.send().await?.status, 401);
    }
    let known = refusals(stack, "key-unknown").await?;
    assert!((1..=2).contains(&known), "a minute may have turned: {known}");
    let recorded = entries(&stack.admin()?, "kind=request.refused").await?;
    assert!(recorded.iter().all(|entry| entry["data"]["keyId"].is_null()), "{recorded:?}");

    for _ in 0..20 {
        assert_eq!(scene.tampered(|request| request.body.push(b' '))?.send().await?.status, 401);
    }
    let recorded = refusals(stack, "digest-mismatch").await?;
    assert!((1..=2).contains(&recorded), "{recorded}");
    assert_eq!(metric(stack, "aegis_signature_refusals_total{reason=\"digest-mismatch\"}").await?, 20.0);
    let entries = entries(&stack.admin()?, "kind=request.refused").await?;
    let of_key =
        entries.iter().find(|entry| entry["data"]["reason"] == "digest-mismatch").context("recorded")?;
    assert_eq!(of_key["data"]["keyId"], stack.registered_client().key_id.as_str());
    assert_eq!(of_key["principal"], "anonymous");
    Ok(())
}

#[tokio::test]
async fn a_replay_is_refused_and_recorded_with_its_key_also_by_another_replica_and_after_a_restart()
-> Result<()> {
    // Both are one service under one name, as behind a balancer.
    let name = "aegis.example";
    let settings = vec![("PUBLIC_AUTHORITIES".to_owned(), name.to_owned())];
    let options =
        StackOptions { control_planes: 2, control_plane_settings: settings, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    let client = stack.client()?.at(&format!("http://{name}"));
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    let mut request = client.request(Method::POST, "/api/v1/policy/evaluate").json(&question).finish()?;
    request.headers.insert(HOST, HeaderValue::from_static("aegis.example"));
    let mut at = |index: usize| {
        request.url = format!("{}/api/v1/policy/evaluate", stack.control_plane(index).url());
        request.clone()
    };
    at(0).send().await?.expect(200)?;
    for index in [0, 1] {
        assert_eq!(at(index).send().await?.expect(409)?.code(), "nonce-replayed", "replica {index}");
    }
    stack.control_plane(1).restart().await?;
    assert_eq!(at(1).send().await?.expect(409)?.code(), "nonce-replayed", "after a restart");
    let recorded = entries(&stack.admin()?, "kind=request.refused").await?;
    let key_id = json!(stack.registered_client().key_id);
    let is_of_key = |entry: &Value| entry["data"] == json!({ "reason": "nonce-replayed", "keyId": key_id });
    assert!(!recorded.is_empty() && recorded.iter().all(is_of_key), "{recorded:?}");
    assert_eq!(metric(&stack, "aegis_signature_refusals_total{reason=\"nonce-replayed\"}").await?, 1.0);
    Ok(())
}

#[tokio::test]
async fn two_keys_of_a_client_are_good_until_one_is_revoked() -> Result<()> {
    let scene = Scene::start().await?;
    let stack = &scene.stack;
    let first = stack.new_client("rotating-bot", &stack.admin_user().email).await?;
    let added: Value =
        serde_json::from_str(&stack.command(["client", "add-key", "--name", "rotating-bot"]).await?)?;
    let text = |member: &str| added[member].as_str().map(str::to_owned).context("printed");
    let second = Caller::client(stack.control_plane(0).url(), &text("keyId")?, &text("secret")?)?;
    let first_caller = stack.caller_of(&first)?;
    for caller in [&first_caller, &second] {
        let answer = caller.get("/api/v1/whoami").await?.expect(200)?;
        assert_eq!(answer.body["principal"], "client:rotating-bot");
    }
    assert!(stack.command(["client", "add-key", "--name", "rotating-bot"]).await.is_err(), "a third key");
    stack.command(["client", "revoke-key", "--key-id", &first.key_id]).await?;
    assert_eq!(first_caller.get("/api/v1/whoami").await?.expect(401)?.code(), "signature-invalid");
    second.get("/api/v1/whoami").await?.expect(200)?;
    let kinds = ["client.created", "client.key-added", "client.key-revoked"];
    for kind in kinds {
        let found = entries(&stack.admin()?, &format!("kind={kind}")).await?;
        assert!(found.iter().any(|entry| entry["data"]["client"] == "client:rotating-bot"), "{kind}");
    }
    Ok(())
}
