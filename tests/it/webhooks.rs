//! Who outside is told what happens: of everything, once as a rule, and at last whatever breaks.

mod asking;
mod scene;

use std::time::Duration;

use aegis_tests::certificates::Authority;
use aegis_tests::database::execute;
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::Matching;
use aegis_tests::paths::checkout;
use aegis_tests::ports;
use aegis_tests::process::{Launch, Process};
use aegis_tests::python::python_with;
use aegis_tests::receiver::{Manner, Receiver};
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use self::scene::{Hooks, PRIVATE};
use crate::actions::scene::{WITHIN, id_of};

#[tokio::test]
async fn every_outcome_and_every_trouble_is_told_once_to_everybody_who_asked_for_it() -> Result<()> {
    let hooks =
        Hooks::open(StackOptions { control_planes: 2, order_proxy: true, ..StackOptions::default() }).await?;
    let scene = &hooks.scene;
    let (everything, outcomes, others) =
        (Receiver::start().await?, Receiver::start().await?, Receiver::start().await?);
    let requester = &scene.stack.registered_client().principal;
    hooks.set("everything", &json!({ "url": everything.url() })).await?;
    let theirs = json!({ "url": outcomes.url(), "events": ["action.ended"], "requestedBy": [requester] });
    hooks.set("outcomes", &theirs).await?;
    hooks.set("others", &json!({ "url": others.url(), "requestedBy": ["client:somebody-else"] })).await?;

    scene.deploy_small(&["web", "lost"]).await?;
    let veto = json!({ "id": "frozen", "effect": "DENY", "reason": "frozen",
        "match": { "resources": ["k8s/*/*/Deployment/frozen"] } });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "freeze", "description": "", "rules": [veto] });
    scene.admin.activate_policy(&policy).await?;
    let mut ids = Vec::new();
    ids.push((id_of(&scene.carry_out(&scene.scale("web", 2)).await?)?, "succeeded"));
    ids.push((id_of(&scene.carry_out(&scene.restart("absent")).await?)?, "refused"));
    let denied = scene.asked(&scene.restart("frozen"), 0).await?.expect(403)?.body;
    ids.push((denied["actionId"].as_str().context("an id")?.to_owned(), "denied"));
    let at_work = scene.occupy("stuck").await?;
    let waiting = scene.ask(&scene.scale("stuck", 2)).await?;
    scene.posted(&format!("/api/v1/actions/{waiting}/cancel")).await?.expect(200)?;
    ids.push((waiting, "cancelled"));
    let orders = scene.stack.orders()?;
    let broken = orders.answer(Matching::path("wait="), StatusCode::INTERNAL_SERVER_ERROR, "{}");
    let lost = scene.ask(&scene.restart("lost")).await?;
    scene.until_state(&lost, "unknown").await?;
    drop(broken);
    scene.mend("stuck").await?;
    for id in [&at_work, &lost] {
        scene.ended(id).await?;
    }
    ids.extend([(at_work, "succeeded"), (lost.clone(), "succeeded")]);

    hooks.until_all_delivered("everything").await?;
    hooks.until_all_delivered("outcomes").await?;
    let told = everything.received();
    let mut expected = 0;
    for (id, state) in &ids {
        let entries = scene.entries(id).await?;
        let worth = |entry: &&Value| {
            matches!(entry["kind"].as_str(), Some("action.ended" | "action.unknown" | "order.not-accepted"))
        };
        for entry in entries.iter().filter(worth) {
            expected += 1;
            let found: Vec<_> = told.iter().filter(|told| Some(told.id()) == entry["id"].as_str()).collect();
            assert_eq!(found.len(), 1, "told once: {entry}");
            let body = &found[0].body;
            assert_eq!((&body["type"], &body["timestamp"]), (&entry["kind"], &entry["at"]));
            let data = &body["data"];
            assert_eq!((&data["entryId"], &data["principal"]), (&entry["id"], &entry["principal"]));
            assert_eq!(data["details"], entry["data"]);
            let action = scene.action(id).await?;
            for member in ["id", "type", "target", "params", "dryRun", "requestedBy"] {
                assert_eq!(data["action"][member], action[member], "{member}");
            }
        }
        let ended: Vec<_> = outcomes
            .received()
            .into_iter()
            .filter(|told| told.body["data"]["action"]["id"] == **id)
            .collect();
        assert_eq!(ended.len(), 1, "{id}");
        assert_eq!(ended[0].body["data"]["details"]["state"], *state);
    }
    assert_eq!(told.len(), expected, "nothing else is told: {told:?}");
    assert_eq!(outcomes.received().len(), ids.len());
    let kinds = |kind: &str| {
        told.iter()
            .filter(|told| told.body["type"] == kind && told.body["data"]["action"]["id"] == *lost)
            .count()
    };
    assert!(kinds("action.unknown") == 1 && kinds("order.not-accepted") >= 1, "{told:?}");
    assert!(others.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_is_down_broken_or_silent_is_told_when_it_is_back_and_holds_up_nobody() -> Result<()>
{
    let hooks = Hooks::open(StackOptions::default()).await?;
    let (bad, good, trap) = (Receiver::start().await?, Receiver::start().await?, Receiver::start().await?);
    hooks.set("bad", &json!({ "url": bad.url() })).await?;
    hooks.set("good", &json!({ "url": good.url() })).await?;

    bad.stop_listening();
    let id = hooks.end_one().await?;
    hooks.until_attempted("bad", &id, 1).await?;
    bad.answer(Manner::Status(StatusCode::INTERNAL_SERVER_ERROR));
    bad.listen().await?;
    // By itself, after some seconds.
    hooks.until_attempted("bad", &id, 2).await?;
    bad.answer(Manner::Header(StatusCode::TEMPORARY_REDIRECT, "location", trap.url()));
    hooks.hurry().await?;
    hooks.until_attempted("bad", &id, 3).await?;
    bad.answer(Manner::Header(StatusCode::TOO_MANY_REQUESTS, "retry-after", "3600".to_owned()));
    hooks.hurry().await?;
    hooks.until_attempted("bad", &id, 4).await?;
    let asked_for: jiff::Timestamp =
        hooks.delivery("bad", &id).await?["dueAt"].as_str().context("due")?.parse()?;
    #[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
    let patience = asked_for.duration_since(jiff::Timestamp::now());
    assert!(patience.as_secs() > 3_000, "{patience}");
    bad.answer(Manner::Silence);
    hooks.hurry().await?;
    until("the silent receiver being asked", WITHIN, async || Ok(bad.received().len() == 4)).await?;
    let second = hooks.end_one().await?;
    hooks.until_delivered("good", &second).await?;
    hooks.until_attempted("bad", &id, 5).await?;
    assert_ne!(hooks.delivery("bad", &second).await?["state"], "delivered");
    bad.answer(Manner::Status(StatusCode::OK));
    hooks.hurry().await?;
    for id in [&id, &second] {
        hooks.until_delivered("bad", id).await?;
        hooks.until_delivered("good", id).await?;
    }

    let delivery = hooks.delivery("bad", &id).await?;
    let log = delivery["log"].as_array().context("a log")?;
    let mut told: Vec<_> = log
        .iter()
        .map(|attempt| (attempt["status"].as_u64(), attempt["error"].as_str().unwrap_or_default()))
        .collect();
    told.reverse();
    let statuses: Vec<_> = told.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [None, Some(500), Some(307), Some(429), None, Some(200)], "{delivery}");
    assert!(told[0].1.contains("refused"), "{delivery}");
    assert!(told[2].1.contains("redirects are not followed"), "{delivery}");
    assert!(told[4].1.contains("no answer within 15 s"), "{delivery}");
    assert!(log[1]["latencyMilliseconds"].as_u64() >= Some(14_000), "{delivery}");
    assert!(trap.received().is_empty(), "a redirect was followed");

    let came: Vec<_> = bad.received().into_iter().filter(|came| came.id() == id).collect();
    assert!(came.windows(2).all(|pair| pair[0].text == pair[1].text), "{came:?}");
    let times: Vec<u64> =
        came.iter().map(|came| came.header("webhook-timestamp").parse()).collect::<Result<_, _>>()?;
    assert!(times.is_sorted() && times.first() < times.last(), "the time is that of the attempt: {times:?}");
    assert_eq!(good.received().len(), 2);
    Ok(())
}

#[tokio::test]
async fn what_was_delivered_but_not_recorded_is_delivered_again_under_the_same_id() -> Result<()> {
    let hooks = Hooks::open(StackOptions::default()).await?;
    let receiver = Receiver::start().await?;
    hooks.set("hook", &json!({ "url": receiver.url() })).await?;
    receiver.answer(Manner::Silence);
    let id = hooks.end_one().await?;
    until("the notification", WITHIN, async || Ok(!receiver.received().is_empty())).await?;
    let control_plane = hooks.scene.stack.control_plane(0);
    control_plane.kill()?;
    receiver.answer(Manner::Status(StatusCode::OK));
    control_plane.restart().await?;
    hooks.hurry().await?;
    hooks.until_delivered("hook", &id).await?;
    let ids: Vec<_> = receiver.received().iter().map(|came| came.id().to_owned()).collect();
    assert_eq!(ids, [id.clone(), id.clone()]);
    let delivery = hooks.delivery("hook", &id).await?;
    assert_eq!(delivery["attempts"], 2, "{delivery}");
    assert_eq!(delivery["log"].as_array().map(Vec::len), Some(1), "only one was recorded: {delivery}");
    Ok(())
}

#[tokio::test]
async fn what_nobody_takes_is_given_up_at_last_and_sent_again_on_command() -> Result<()> {
    let hooks = Hooks::open(StackOptions::default()).await?;
    let receiver = Receiver::start().await?;
    hooks.set("hook", &json!({ "url": receiver.url() })).await?;
    receiver.answer(Manner::Status(StatusCode::BAD_GATEWAY));
    let id = hooks.end_one().await?;
    let mut pause = Duration::ZERO;
    for attempts in 1..=11 {
        hooks.until_attempted("hook", &id, attempts).await?;
        let delivery = hooks.delivery("hook", &id).await?;
        let due: jiff::Timestamp = delivery["dueAt"].as_str().context("due")?.parse()?;
        let begun: jiff::Timestamp = delivery["log"][0]["at"].as_str().context("at")?.parse()?;
        let next = due.duration_since(begun).unsigned_abs();
        // Each pause is three times the one before, give or take two fifths, until they are six hours.
        assert!(next > pause || next > Duration::from_secs(4 * 60 * 60), "{attempts}: {pause:?}, {next:?}");
        pause = next;
        hooks.hurry().await?;
    }
    hooks.until_state("hook", &id, "dead").await?;
    assert_eq!(receiver.received().len(), 12);
    hooks.hurry().await?;
    let dead = hooks.admin().get("/api/v1/webhooks/hook/deliveries?state=dead").await?.expect(200)?.body;
    assert_eq!(dead["items"][0]["id"], *id, "{dead}");
    assert_eq!(dead["items"].as_array().map(Vec::len), Some(1));

    receiver.answer(Manner::Status(StatusCode::OK));
    let path = format!("/api/v1/webhooks/hook/deliveries/{id}/redeliver");
    hooks.admin().post(&path, &json!({})).await?.expect(202)?;
    hooks.until_delivered("hook", &id).await?;
    assert_eq!(receiver.received().len(), 13);
    assert!(receiver.received().iter().all(|came| came.id() == id));

    // Who says that it is gone is not asked again.
    receiver.answer(Manner::Status(StatusCode::GONE));
    let gone = hooks.end_one().await?;
    hooks.until_state("hook", &gone, "dead").await?;
    assert_eq!(hooks.delivery("hook", &gone).await?["attempts"], 1);
    Ok(())
}

#[tokio::test]
async fn a_python_library_verifies_what_comes_over_tls_also_while_the_secret_changes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("authority"))?;
    authority.issue_server("receiver", "receiver")?;
    let trusted = authority.path("ca.crt").to_str().context("a path")?.to_owned();
    let hooks = Hooks::with(StackOptions::default(), &[("SSL_CERT_FILE", &trusted)]).await?;
    let port = ports::free()?;
    let created = hooks.set("python", &json!({ "url": format!("https://localhost:{port}/") })).await?;
    let secret_file = folder.path().join("secret");
    let first = created["secret"].as_str().context("a secret")?;
    std::fs::write(&secret_file, first)?;
    let peer = checkout().join("tests/peers/standardwebhooks");
    let launch = Launch::new(python_with(&peer.join("requirements.txt")).await?)
        .arg(peer.join("receive.py"))
        .args(["--port", &port.to_string(), "--certificate"])
        .arg(authority.path("receiver.crt"))
        .arg("--key")
        .arg(authority.path("receiver.key"))
        .arg("--secret-file")
        .arg(&secret_file);
    let _receiver = Process::start("receiver", launch, &folder.path().join("log"))?;

    let id = hooks.test("python").await?;
    // It may not listen yet.
    until("the peer's verdict", WITHIN, async || {
        hooks.hurry().await?;
        Ok(hooks.delivery("python", &id).await?["state"] == "delivered")
    })
    .await?;
    assert_eq!(hooks.delivery("python", &id).await?["log"][0]["status"], 204);

    // For a day the receiver may know either secret.
    let rotated =
        hooks.admin().post("/api/v1/webhooks/python/rotate-secret", &json!({})).await?.expect(200)?.body;
    let second = rotated["secret"].as_str().context("a secret")?;
    assert_ne!(first, second);
    hooks.until_delivered("python", &hooks.test("python").await?).await?;
    std::fs::write(&secret_file, second)?;
    hooks.until_delivered("python", &hooks.test("python").await?).await?;
    let over = "update webhooks set previous_secret_until = clock_timestamp()";
    execute(&hooks.scene.stack.control_plane_database().superuser_url, over.to_owned()).await?;
    hooks.until_delivered("python", &hooks.test("python").await?).await?;
    std::fs::write(&secret_file, first)?;
    let refused = hooks.test("python").await?;
    hooks.until_attempted("python", &refused, 1).await?;
    assert_eq!(hooks.delivery("python", &refused).await?["log"][0]["status"], 401);
    Ok(())
}

#[tokio::test]
async fn nobody_is_called_on_this_machine_or_in_private_networks_without_the_dangerous_switch() -> Result<()>
{
    let hooks = Hooks::open(StackOptions::default()).await?;
    let receiver = Receiver::start().await?;
    hooks.set("hook", &json!({ "url": receiver.url() })).await?;
    let control_plane = hooks.scene.stack.control_plane(0);
    control_plane.restart_with([(PRIVATE.0, "false")]).await?;
    for url in [
        receiver.url().as_str(),
        "https://localhost/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "http://hooks.example.com/",
    ] {
        let refused = hooks.put("new", &json!({ "url": url })).await?.expect(400)?;
        assert_eq!(refused.body["errors"][0]["pointer"], "/url", "{url}: {}", refused.text);
    }
    // What was stored when it was allowed is not called either.
    let id = hooks.test("hook").await?;
    hooks.until_attempted("hook", &id, 1).await?;
    let delivery = hooks.delivery("hook", &id).await?;
    assert!(
        delivery["log"][0]["error"].as_str().is_some_and(|error| error.starts_with("not sent")),
        "{delivery}"
    );
    assert!(receiver.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn every_change_of_a_webhook_is_recorded_and_its_secrets_are_told_once_and_nowhere_else() -> Result<()>
{
    let hooks = Hooks::open(StackOptions::default()).await?;
    let receiver = Receiver::start().await?;
    let url = format!("{}/T0KEN-in-the-path?key=T0KEN-in-the-query", receiver.url());
    let created = hooks.set("hook", &json!({ "url": url })).await?;
    let secret = created["secret"].as_str().context("a secret")?.to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let changed = hooks.put("hook", &json!({ "url": url, "events": ["action.ended"] })).await?.expect(200)?;
    assert!(changed.body["secret"].is_null() && !changed.text.contains(&secret));
    for wrong in
        [json!({ "url": url, "events": ["action.begun"] }), json!({ "url": url, "requestedBy": ["bot"] })]
    {
        hooks.put("hook", &wrong).await?.expect(400)?;
    }
    let rotated = hooks.admin().post("/api/v1/webhooks/hook/rotate-secret", &json!({})).await?.expect(200)?;
    let second = rotated.body["secret"].as_str().context("a secret")?.to_owned();
    let id = hooks.test("hook").await?;
    hooks.until_delivered("hook", &id).await?;
    receiver.stop_listening();
    hooks.until_attempted("hook", &hooks.test("hook").await?, 1).await?;
    let seen = [
        hooks.admin().get("/api/v1/webhooks").await?.expect(200)?.text,
        hooks.admin().get("/api/v1/webhooks/hook").await?.expect(200)?.text,
        hooks.delivery("hook", &id).await?.to_string(),
    ];
    hooks.admin().delete("/api/v1/webhooks/hook").await?.expect(204)?;
    hooks.admin().get("/api/v1/webhooks/hook").await?.expect(404)?;

    let entries = hooks.admin().get("/api/v1/audit/entries?limit=200").await?.expect(200)?.body;
    let mut kinds = Vec::new();
    for entry in entries["items"].as_array().context("items")? {
        let kind = entry["kind"].as_str().unwrap_or_default();
        if kind.starts_with("webhook.") {
            ensure!(entry["data"]["webhook"] == "hook", "{entry}");
            kinds.push(kind.to_owned());
        }
    }
    kinds.reverse();
    let recorded = ["stored", "stored", "secret-rotated", "tested", "tested", "deleted"];
    assert_eq!(kinds, recorded.map(|kind| format!("webhook.{kind}")));

    let mut texts = vec![entries.to_string()];
    for file in std::fs::read_dir(hooks.scene.stack.logs())? {
        texts.push(std::fs::read_to_string(file?.path())?);
    }
    assert!(
        texts.iter().all(|text| !text.contains("T0KEN")),
        "an address that may be a secret was written down"
    );
    for secret in [&secret, &second] {
        let bare = secret.trim_start_matches("whsec_");
        assert!(texts.iter().chain(&seen).all(|text| !text.contains(bare)), "a secret was written down");
    }
    Ok(())
}
