//! Signed requests that are refused: one public answer, the precise reason in metrics and log.

use aegis_tests::callers::{Caller, Finished};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use http::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::{actions, entries, metric, refusals};

const PATH: &str = "/api/v1/actions";

/// The time on this machine, which is the services' time too.
#[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

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

    /// A request signed with these times, in seconds from now.
    fn timed(&self, created: i64, expires: i64) -> Result<Finished> {
        let (created, expires) =
            (now() + SignedDuration::from_secs(created), now() + SignedDuration::from_secs(expires));
        let client = self.stack.client()?;
        let draft = client.request(Method::POST, PATH).header("idempotency-key", "key").json(&self.body);
        draft.times(created, expires).finish()
    }

    /// A sound request, changed after it was signed.
    fn tampered(&self, change: impl Fn(&mut Finished)) -> Result<Finished> {
        let mut request = self.signed(&self.stack.client()?)?;
        change(&mut request);
        Ok(request)
    }
}

fn set(request: &mut Finished, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("tests send headers that can be sent");
    request.headers.insert(HeaderName::from_static(name), value);
}

fn edit(request: &mut Finished, name: &'static str, from: &str, to: &str) {
    let text = request.headers[name].to_str().expect("signature headers are ASCII").replace(from, to);
    set(request, name, &text);
}

#[tokio::test]
async fn every_wrong_signature_has_one_public_answer_and_its_own_recorded_reason() -> Result<()> {
    let scene = Scene::start().await?;
    let stack = &scene.stack;
    let key_id = stack.registered_client().key_id.clone();
    let revoked = stack.new_client("revoked-bot", &stack.admin_user().email).await?;
    stack.command(["client", "revoke-key", "--key-id", &revoked.key_id]).await?;
    let stranger =
        Caller::client(stack.control_plane(0).url(), "nobody-1", &stack.registered_client().secret)?;
    let foreign = Caller::client(stack.control_plane(0).url(), &key_id, &revoked.secret)?;

    let cases: Vec<(&str, Finished)> = vec![
        ("digest-mismatch", scene.tampered(|request| request.body.push(b' '))?),
        ("signature-wrong", scene.tampered(|request| request.url.push_str("?wait=1"))?),
        ("signature-wrong", scene.tampered(|request| request.method = Method::GET)?),
        ("signature-wrong", scene.tampered(|request| set(request, "idempotency-key", "other"))?),
        ("component-extra", scene.tampered(|request| drop(request.headers.remove("idempotency-key")))?),
        ("signature-missing", scene.tampered(|request| drop(request.headers.remove("signature")))?),
        ("digest-missing", scene.tampered(|request| drop(request.headers.remove("content-digest")))?),
        (
            "tag-wrong",
            scene.tampered(|request| edit(request, "signature-input", "tag=\"aegis\"", "tag=\"x\""))?,
        ),
        ("label-wrong", scene.tampered(|request| edit(request, "signature-input", "aegis=(", "other=("))?),
        (
            "parameter-missing",
            scene.tampered(|request| edit(request, "signature-input", ";keyid=", ";tag2="))?,
        ),
        ("component-missing", scene.tampered(|request| edit(request, "signature-input", "\"@query\" ", ""))?),
        (
            "algorithm-mismatch",
            scene.tampered(|request| edit(request, "signature-input", ";tag=", ";alg=\"ed25519\";tag="))?,
        ),
        ("authority-mismatch", scene.tampered(|request| set(request, "host", "elsewhere.example"))?),
        ("signature-wrong", scene.signed(&foreign)?),
        ("key-unknown", scene.signed(&stranger)?),
        ("key-revoked", scene.signed(&stack.caller_of(&revoked)?)?),
        ("expired", scene.timed(-120, -60)?),
        ("created-in-future", scene.timed(30, 60)?),
        ("lifetime-too-long", scene.timed(0, 400)?),
        ("lifetime-reversed", scene.timed(0, -1)?),
    ];
    let times = ["expired", "created-in-future", "lifetime-too-long", "lifetime-reversed"];
    for (reason, request) in cases {
        let counted = format!("aegis_signature_refusals_total{{reason=\"{reason}\"}}");
        let before = metric(stack, &counted).await?;
        let answer = request.send().await?;
        assert_eq!((answer.status, answer.code()), (401, "signature-invalid"), "{reason}: {}", answer.text);
        assert!(!answer.text.contains(reason), "{reason} is told: {}", answer.text);
        assert_eq!(
            answer.body["serverTime"].is_string(),
            times.contains(&reason),
            "{reason}: {}",
            answer.text
        );
        assert_eq!(metric(stack, &counted).await? - before, 1.0, "{reason} is not counted");
        assert!(refusals(stack, reason).await? > 0, "{reason} is not recorded");
    }

    assert_eq!(actions(stack).await?, 0);
    // What is not covered has no influence.
    let sound = scene.tampered(|request| set(request, "x-forwarded-for", "10.0.0.1"))?;
    assert_eq!(sound.send().await?.expect(403)?.code(), "policy-denied");
    Ok(())
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
async fn a_replay_is_refused_and_recorded_with_its_key() -> Result<()> {
    let scene = Scene::start().await?;
    let request = scene.signed(&scene.stack.client()?)?;
    request.send().await?.expect(403)?;
    assert_eq!(request.send().await?.expect(409)?.code(), "nonce-replayed");
    assert_eq!(refusals(&scene.stack, "nonce-replayed").await?, 1);
    assert_eq!(metric(&scene.stack, "aegis_signature_refusals_total{reason=\"nonce-replayed\"}").await?, 1.0);
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
