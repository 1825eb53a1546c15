//! The story of one action: told from what is recorded and proven, whatever else the database says.

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::auditor::Auditor;
use super::{settled, until_sequenced};
use crate::actions::scene::{Scene, expect, id_of};
use crate::approvals::people::{answer, approve, demand};

const REASON: &str = "queue | grows `fast`\n@everybody look";

async fn story(reader: &Caller, id: &str) -> Result<Value> {
    Ok(reader.get(&format!("/api/v1/actions/{id}/story")).await?.expect(200)?.body)
}

fn steps(story: &Value) -> Result<&Vec<Value>> {
    story["steps"].as_array().context("a story has steps")
}

/// The first step of a kind.
fn step<'s>(story: &'s Value, kind: &str) -> Result<&'s Value> {
    let found = steps(story)?.iter().find(|step| step["kind"] == kind);
    found.with_context(|| format!("no {kind} in {story:#}"))
}

/// The codes of remarks, each with the kind of the entry it is about.
fn remarks(story: &Value) -> Result<Vec<(String, String)>> {
    let kind = |remark: &Value| {
        let about = steps(story)?.iter().find(|step| step["entryId"] == remark["entryId"]);
        Ok((
            remark["code"].as_str().context("a remark has a code")?.to_owned(),
            about.and_then(|step| step["kind"].as_str()).unwrap_or_default().to_owned(),
        ))
    };
    story["remarks"].as_array().context("a story has remarks")?.iter().map(kind).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(code, kind)| ((*code).to_owned(), (*kind).to_owned())).collect()
}

/// A heal that somebody agreed to.
async fn healed(scene: &Scene) -> Result<Value> {
    scene.deploy_small(&["web"]).await?;
    demand(scene, "four-eyes", json!({ "approvals": [{ "role": "sre", "min": 1 }] })).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let mut request = scene.scale("web", 2);
    request["reason"] = json!(REASON);
    let asked = scene.asked(&request, 0).await?.expect(202)?.body;
    approve(&anna, &asked).await?;
    let ended = scene.ended(&id_of(&asked)?).await?;
    expect(&ended, "succeeded", "rollout-complete");
    until_sequenced(&scene.stack).await?;
    Ok(ended)
}

#[tokio::test]
async fn a_story_is_what_the_log_holds_of_an_action_with_what_its_entries_name() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let action = healed(&scene).await?;
    let id = id_of(&action)?;
    let auditor = scene.stack.new_person("otto", &["auditor"]).await?;

    let told = story(&auditor, &id).await?;
    let recorded = scene.entries(&id).await?;
    assert_eq!(steps(&told)?.len(), recorded.len());
    for (step, entry) in steps(&told)?.iter().zip(&recorded) {
        assert_eq!((&step["entryId"], &step["data"]), (&entry["id"], &entry["data"]));
        let path = format!("/api/v1/audit/entries/{}/evidence", entry["id"].as_str().context("an id")?);
        let evidence = auditor.get(&path).await?.expect(200)?.body;
        assert_eq!(step["index"], evidence["index"], "{step}");
        assert!(step["index"].as_u64() < told["checkpointSize"].as_u64(), "{step}");
    }
    assert_eq!(told["remarks"], json!([]), "nothing is missing");
    assert_eq!(told["outcome"]["code"], action["outcome"]["code"]);

    let requested = step(&told, "action.requested")?;
    assert_eq!(requested["beside"], json!({ "standing": "as-recorded", "content": { "text": REASON } }));
    assert_eq!(requested["data"]["keyId"], scene.stack.registered_client().key_id.as_str());
    let decided = &step(&told, "decision.made")?["beside"]["content"];
    assert_eq!(decided["rules"][1]["reason"], "looked at by others", "{decided}");
    let asked = &step(&told, "approval.requested")?["beside"]["content"];
    assert_eq!((&asked["params"], &asked["actionId"]), (&json!({ "replicas": 2 }), &json!(id)));
    let order = &step(&told, "order.signed")?["beside"]["content"];
    assert_eq!(order["signed"]["instruction"]["preconditions"]["fields"]["replicas"], 1);
    let receipts: Vec<_> = steps(&told)?.iter().filter(|step| step["data"]["stage"] == "finished").collect();
    let [receipt] = receipts[..] else { panic!("one final receipt: {told:#}") };
    let receipt = &receipt["beside"]["content"];
    assert_eq!(receipt["signed"]["stage"]["result"]["steps"], action["outcome"]["steps"]);
    assert_eq!(receipt["keyId"], action["outcome"]["receipt"]["signatures"][0]["keyid"]);

    // Whoever asked for it sees it, and nobody else who asks for actions does.
    assert_eq!(story(&scene.client, &id).await?["steps"], told["steps"]);
    let other = scene.stack.new_client("other-bot", &scene.stack.admin_user().email).await?;
    let other = scene.stack.caller_of(&other)?;
    assert_eq!(other.get(&format!("/api/v1/actions/{id}/story")).await?.status, 404);

    for _ in 0..5 {
        story(&auditor, &id).await?;
    }
    let me = auditor.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();
    let path = format!("/api/v1/audit/entries?kind=audit.read&principal={}", me.as_str().context("a name")?);
    let readings = scene.admin.get(&path).await?.expect(200)?.body;
    let of_story = |entry: &&Value| entry["data"]["filter"]["story"] == id.as_str();
    let readings = readings["items"].as_array().into_iter().flatten().filter(of_story).count();
    assert!((1..6).contains(&readings), "one a minute, and minutes turn: {readings}");
    Ok(())
}

#[tokio::test]
async fn a_story_stays_when_tables_beside_the_log_are_changed_and_says_what_is_gone() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let id = id_of(&healed(&scene).await?)?;
    let before = story(&scene.admin, &id).await?;

    let tampering = format!(
        "set session_replication_role = replica; \
         update actions set state = 'failed', requested_by = 'client:somebody', outcome = '{{}}' where id = '{id}'; \
         delete from decisions where action_id = '{id}'; \
         update receipts set envelope = convert_to(replace(convert_from(envelope, 'UTF8'), '0', '1'), 'UTF8') \
             where action_id = '{id}'; \
         delete from audit.texts"
    );
    execute(&scene.stack.control_plane_database().superuser_url, tampering).await?;

    let after = story(&scene.admin, &id).await?;
    assert_eq!(after["outcome"], before["outcome"]);
    let told = |story: &Value| -> Result<Vec<Value>> {
        Ok(steps(story)?.iter().map(|step| json!([step["index"], step["principal"], step["data"]])).collect())
    };
    assert_eq!(told(&after)?, told(&before)?);
    assert_eq!(step(&after, "action.requested")?["beside"], json!({ "standing": "erased" }));
    assert_eq!(step(&after, "decision.made")?["beside"], json!({ "standing": "missing" }));
    assert_eq!(step(&after, "order.signed")?["beside"], step(&before, "order.signed")?["beside"]);
    let found = remarks(&after)?;
    for expected in [
        ("text-erased", "action.requested"),
        ("document-missing", "decision.made"),
        ("document-missing", "receipt.received"),
    ] {
        assert!(found.contains(&pairs(&[expected])[0]), "{expected:?} is not told: {found:?}");
    }

    // Put back after it was erased, and written by somebody else: neither is what was recorded.
    let text = step(&before, "action.requested")?["data"]["reason"]["textId"].clone();
    let forged =
        format!("insert into audit.texts values ('{}', 'no reason')", text.as_str().context("an id")?);
    execute(&scene.stack.control_plane_database().superuser_url, forged).await?;
    let forged = story(&scene.admin, &id).await?;
    assert_eq!(step(&forged, "action.requested")?["beside"], json!({ "standing": "missing" }));

    // An entry that is filed under the action, and says otherwise.
    let misfiled = format!(
        "set session_replication_role = replica; update audit.entries set action_id = '{id}' where index = 0"
    );
    execute(&scene.stack.control_plane_database().superuser_url, misfiled).await?;
    let misfiled = story(&scene.admin, &id).await?;
    assert_eq!(told(&misfiled)?, told(&before)?);
    assert!(remarks(&misfiled)?.iter().any(|(code, _)| code == "entry-misfiled"), "{misfiled}");
    Ok(())
}

#[tokio::test]
async fn a_story_says_where_it_stands_and_what_never_came() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let running = scene.occupy("web").await?;
    let queued = scene.ask(&scene.restart_anyway("web")).await?;
    until_sequenced(&scene.stack).await?;
    let open = ("outcome-open", "");
    assert_eq!(
        remarks(&story(&scene.admin, &running).await?)?,
        pairs(&[("order-open", "order.signed"), open])
    );
    assert_eq!(
        remarks(&story(&scene.admin, &queued).await?)?,
        pairs(&[("intent-open", "action.intent"), open])
    );
    scene.posted(&format!("/api/v1/actions/{queued}/cancel")).await?.expect(200)?;
    until_sequenced(&scene.stack).await?;
    let cancelled = story(&scene.admin, &queued).await?;
    assert_eq!(remarks(&cancelled)?, pairs(&[("intent-not-ordered", "action.intent")]));
    assert_eq!(cancelled["outcome"]["state"], "cancelled");

    scene.deploy_small(&["api"]).await?;
    demand(&scene, "four-eyes", json!({ "approvals": [{ "role": "sre", "min": 1 }] })).await?;
    let asked = scene.asked(&scene.restart("api"), 0).await?.expect(202)?.body;
    until_sequenced(&scene.stack).await?;
    let id = id_of(&asked)?;
    assert_eq!(
        remarks(&story(&scene.admin, &id).await?)?,
        pairs(&[("approval-open", "approval.requested"), open])
    );
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    // Who is asked sees what it is about.
    story(&anna, &id).await?;
    answer(&anna, "deny", &asked).await?.expect(200)?;
    until_sequenced(&scene.stack).await?;
    let denied = story(&scene.admin, &id).await?;
    assert_eq!((&denied["outcome"]["state"], remarks(&denied)?), (&json!("denied"), vec![]));
    assert_eq!(step(&denied, "approval.denied")?["beside"]["content"]["text"], "not now");

    let freeze = |name: &str, mode: &str| {
        json!({
            "schema": "aegis.policy/v1", "name": name, "description": "Nothing.", "mode": mode,
            "rules": [{ "id": "all", "effect": "DENY", "reason": "a freeze" }],
        })
    };
    scene.admin.activate_policy(&freeze("next", "shadow")).await?;
    let asked = id_of(&scene.asked(&scene.restart("api"), 0).await?.expect(202)?.body)?;
    let (own, all) = (story(&scene.client, &asked).await?, story(&scene.admin, &asked).await?);
    assert_eq!(step(&all, "decision.made")?["beside"]["content"]["shadow"]["effect"], "DENY");
    assert!(!own.to_string().contains("\"next\""), "whoever asked is not told of the shadow: {own}");

    scene.admin.activate_policy(&freeze("freeze", "enforce")).await?;
    let refused = scene.asked(&scene.restart("api"), 0).await?.expect(403)?.body;
    until_sequenced(&scene.stack).await?;
    let refused = story(&scene.admin, refused["actionId"].as_str().context("it is named")?).await?;
    assert_eq!(remarks(&refused)?, pairs(&[("denied", "decision.made")]));
    scene.mend("web").await
}

#[tokio::test]
async fn a_story_is_printed_for_people_and_as_a_page_that_no_value_can_break() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let action = healed(&scene).await?;
    let id = id_of(&action)?;
    settled(&scene.stack).await?;
    let auditor = Auditor::of(&scene.stack).await?;
    let told = story(&scene.admin, &id).await?;

    let text = auditor.ask("table", &["action", "story", &id]).await?;
    let page = auditor.ask("table", &["action", "story", &id, "--report"]).await?;
    for step in steps(&told)? {
        let index = step["index"].to_string();
        assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("{index} "))), "{text}");
        assert!(page.contains(&format!("\n| {index} | ")), "{page}");
    }
    for told in ["policy says ALLOW", "agreed to", "signed the order of attempt 1", "executor  written —"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(page.contains("| reason | ``queue \\| grows `fast` @everybody look`` |"), "{page}");
    assert!(page.contains(&format!("aegisctl audit export --action-id {id}")), "{page}");
    let rows = page.lines().filter(|line| line.starts_with('|'));
    assert!(rows.clone().count() > 10 && rows.clone().all(|row| row.ends_with('|')), "{page}");
    let same: Value = serde_json::from_str(&auditor.ask("json", &["action", "story", &id]).await?)?;
    assert_eq!(same["steps"], told["steps"]);
    Ok(())
}
