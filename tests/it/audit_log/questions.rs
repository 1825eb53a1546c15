//! Auditors' questions, each answered by one command: what was active, who held which role, what was changed.

use aegis_tests::callers::Caller;
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::auditor::Auditor;
use super::{WITHIN, until_sequenced};
use crate::actions::scene::{Scene, expect, id_of};
use crate::approvals::people::{answer, approve, demand};

/// The entries of a kind, oldest first.
async fn recorded(admin: &Caller, kind: &str) -> Result<Vec<Value>> {
    let page = admin.get(&format!("/api/v1/audit/entries?kind={kind}&limit=200")).await?.expect(200)?.body;
    let mut entries = page["items"].as_array().context("items")?.clone();
    entries.reverse();
    Ok(entries)
}

fn at(entry: &Value) -> Result<&str> {
    entry["at"].as_str().context("an entry has a time")
}

fn policy(name: &str, effect: &str) -> Value {
    let rule = json!({ "id": "all", "effect": effect, "reason": "a test" });
    json!({ "schema": "aegis.policy/v1", "name": name, "description": "A test.", "rules": [rule] })
}

async fn asked(auditor: &Auditor, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&auditor.ask("json", &[&["audit"], args].concat()).await?)?)
}

#[tokio::test]
async fn which_policies_were_active_at_a_time_and_who_activated_them_is_told_by_entries() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let before = now_at(&admin).await?;
    for (name, effect) in [("first", "ALLOW"), ("second", "DENY"), ("first", "DENY")] {
        admin.activate_policy(&policy(name, effect)).await?;
    }
    admin.post("/api/v1/policies/second/deactivate", &json!({})).await?.expect(200)?;
    until_sequenced(&stack).await?;
    // What stands in the tables today has no part in it.
    let owner = &stack.control_plane_database().superuser_url;
    let forged = "set session_replication_role = replica; update policies set active_version = null";
    aegis_tests::database::execute(owner, forged.to_owned()).await?;

    let auditor = Auditor::of(&stack).await?;
    let activated = recorded(&admin, "policy.activated").await?;
    let deactivated = recorded(&admin, "policy.deactivated").await?;
    let me = activated[0]["principal"].clone();
    let active = async |time: &str| -> Result<(Value, Vec<Value>)> {
        let told = asked(&auditor, &["policies", "--at", time]).await?;
        let policies = told["policies"].as_array().context("policies")?.iter();
        let short = policies
            .map(|active| {
                assert_eq!(active["activated"]["by"], me, "{active}");
                json!([active["name"], active["version"], active["activated"]["entryId"]])
            })
            .collect();
        Ok((told["policySetDigest"].clone(), short))
    };
    assert_eq!(active(&before).await?, (Value::Null, vec![]));
    let [one, two, three] = &activated[..] else { panic!("three activations: {activated:?}") };
    let first = json!(["first", 1, one["id"]]);
    let second = json!(["second", 1, two["id"]]);
    let first_again = json!(["first", 2, three["id"]]);
    for (entry, expected) in [
        (one, vec![first.clone()]),
        (two, vec![first, second.clone()]),
        (three, vec![first_again.clone(), second]),
        (&deactivated[0], vec![first_again]),
    ] {
        assert_eq!(active(at(entry)?).await?, (entry["data"]["policySetDigest"].clone(), expected));
    }
    let now = asked(&auditor, &["policies"]).await?;
    assert_eq!(now["madeBy"]["entryId"], deactivated[0]["id"]);
    assert!(now["madeBy"]["index"].is_u64(), "{now}");

    let readings = recorded(&admin, "audit.read").await?;
    let of_policies = readings.iter().filter(|entry| entry["data"]["filter"]["policies"].is_object());
    assert!(of_policies.count() >= 6, "each time that was asked about: {readings:?}");
    Ok(())
}

/// A time after everything that was recorded so far, as the server tells it.
async fn now_at(admin: &Caller) -> Result<String> {
    let told = admin.get("/api/v1/audit/policies").await?.expect(200)?.body;
    Ok(told["at"].as_str().context("a time")?.to_owned())
}

#[tokio::test]
async fn who_held_which_role_when_and_who_gave_it_is_told_by_entries() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    stack.new_person("anna", &["user"]).await?;
    for verb in ["grant", "revoke"] {
        stack.command(["user", verb, "--email", "anna@example.com", "--role", "sre"]).await?;
    }
    let created = recorded(&admin, "user.created").await?;
    let anna = created.last().context("anna")?["data"]["user"].clone();
    let changed = recorded(&admin, "user.roles-changed").await?;
    let [granted, revoked] = &changed[..] else { panic!("two changes: {changed:?}") };
    let auditor = Auditor::of(&stack).await?;

    let held = async |args: &[&str], who: &Value| -> Result<Vec<Value>> {
        let told = asked(&auditor, &[&["roles"], args].concat()).await?;
        let holdings = told["holdings"].as_array().context("holdings")?.iter();
        let of_anna = holdings.filter(|holding| holding["principal"] == *who);
        let short = |holding: &Value| {
            json!([holding["role"], holding["given"]["entryId"], holding["taken"]["entryId"]])
        };
        Ok(of_anna.map(short).collect())
    };
    let user = json!(["user", created.last().context("anna")?["id"], null]);
    let sre = |until: &Value| json!(["sre", granted["id"], until]);
    assert_eq!(held(&["--at", at(granted)?], &anna).await?, [sre(&Value::Null), user.clone()]);
    assert_eq!(held(&["--at", at(revoked)?], &anna).await?, std::slice::from_ref(&user));
    assert_eq!(held(&["--from", at(granted)?], &anna).await?, [sre(&revoked["id"]), user.clone()]);
    assert_eq!(held(&["--from", at(revoked)?], &anna).await?, [user]);

    let client = json!(stack.registered_client().principal);
    let first = recorded(&admin, "client.created").await?[0]["id"].clone();
    assert_eq!(held(&[], &client).await?, [json!(["client", first, null])]);
    for query in ["at=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to=2026-01-01T00:00:00Z"] {
        assert_eq!(admin.get(&format!("/api/v1/audit/roles?{query}")).await?.status, 400, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn every_change_approver_and_outcome_of_a_period_is_in_its_report() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web", "api"]).await?;
    demand(&scene, "four-eyes", json!({ "approvals": [{ "role": "sre", "min": 1 }] })).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let agreed = scene.asked(&scene.scale("web", 2), 0).await?.expect(202)?.body;
    approve(&anna, &agreed).await?;
    let done = scene.ended(&id_of(&agreed)?).await?;
    expect(&done, "succeeded", "rollout-complete");
    let refused = scene.asked(&scene.restart("api"), 0).await?.expect(202)?.body;
    answer(&anna, "deny", &refused).await?.expect(200)?;
    let waiting = scene.asked(&scene.restart("api"), 0).await?.expect(202)?.body;
    until_sequenced(&scene.stack).await?;
    let auditor = Auditor::of(&scene.stack).await?;
    let me = anna.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();

    let report = asked(&auditor, &["report", "--from", "24h", "--format", "json"]).await?;
    assert_eq!(report["isComplete"], true);
    let bot = scene.stack.registered_client();
    let rows = report["actions"].as_array().context("actions")?;
    let told: Vec<Value> = rows
        .iter()
        .map(|row| {
            assert_eq!((&row["requestedBy"], &row["keyId"]), (&json!(bot.principal), &json!(bot.key_id)));
            json!([row["id"], row["type"], row["decision"], row["approvedBy"], row["deniedBy"], row["state"]])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!([agreed["id"], "scale", "ALLOW", [me], null, "succeeded"]),
            json!([refused["id"], "restart", "ALLOW", [], me, "denied"]),
            json!([waiting["id"], "restart", "ALLOW", [], null, "open"]),
        ]
    );
    let kinds: Vec<&str> = report["changes"]
        .as_array()
        .context("changes")?
        .iter()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    for kind in ["client.created", "user.created", "cluster.registered", "policy.activated"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }

    // A period that begins in the middle of an action tells who asked for it all the same.
    let signed = scene.entries(&id_of(&agreed)?).await?;
    let signed = signed.iter().find(|entry| entry["kind"] == "order.signed").context("an order")?;
    let later = asked(&auditor, &["report", "--from", at(signed)?, "--format", "json"]).await?;
    assert_eq!(later["actions"][0], rows[0]);

    // The same from what an auditor took away and proves.
    auditor.export("log", &[]).await?;
    let until = at(signed)?.parse::<Timestamp>()?.checked_add(SignedDuration::from_micros(1))?.to_string();
    let span = ["--from", "24h", "--to", &until, "--format", "json"];
    let live = asked(&auditor, &[&["report"], &span[..]].concat()).await?;
    let proven =
        asked(&auditor, &[&["report", "--bundle", "log", "--keys", "keys"], &span[..]].concat()).await?;
    assert_eq!((&live["actions"], &live["changes"]), (&proven["actions"], &proven["changes"]));
    assert_eq!((&proven["isComplete"], &proven["actions"][0]["state"]), (&json!(true), &json!("open")));

    let page = auditor.ask("table", &["audit", "report", "--from", "24h"]).await?;
    let table = auditor.ask("table", &["audit", "report", "--from", "24h", "--format", "csv"]).await?;
    for row in rows {
        let id = row["id"].as_str().context("an id")?;
        assert!(
            page.contains(&format!("| `{id}` |")) && table.contains(&format!("\r\n{id},")),
            "{page}{table}"
        );
    }
    eventually("the last one", WITHIN, async || {
        let path = format!("/api/v1/actions/{}/cancel", id_of(&waiting)?);
        ensure!(scene.posted(&path).await?.status == 200);
        Ok(Some(()))
    })
    .await
}
