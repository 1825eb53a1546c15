//! Policies over the API: versions, what counts, and decisions taken from them.

mod activation;
mod modes;
mod replay;
mod scene;
mod sync;
mod tools;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::entries;

const PATH: &str = "/api/v1/policies/heal";

fn policy(reason: &str, actions: &[&str]) -> Value {
    json!({
        "schema": "aegis.policy/v1", "name": "heal", "description": "For tests.",
        "rules": [{ "id": "bots", "effect": "ALLOW", "reason": reason, "match": { "actions": actions } }],
    })
}

async fn activate(admin: &Caller, version: u32) -> Result<Answer> {
    admin.post(&format!("{PATH}/activate"), &json!({ "version": version })).await
}

async fn evaluate(caller: &Caller, question: &Value) -> Result<Answer> {
    caller.post("/api/v1/policy/evaluate", question).await
}

fn restart() -> Value {
    json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" })
}

#[tokio::test]
async fn a_policy_counts_from_its_activation_to_its_deactivation_and_every_step_is_recorded() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    assert_eq!(evaluate(&client, &restart()).await?.expect(200)?.body["decision"], "DENY");

    let created = admin.put(PATH, &policy("first", &["restart"]), None).await?.expect(201)?;
    assert_eq!((&created.headers["etag"], &created.headers["location"]), (&"\"1\"".parse()?, &PATH.parse()?));
    assert_eq!(
        evaluate(&client, &restart()).await?.expect(200)?.body["decision"],
        "DENY",
        "stored is not active"
    );
    activate(&admin, 1).await?.expect(200)?;
    let allowed = evaluate(&client, &restart()).await?.expect(200)?.body;
    assert_eq!((&allowed["decision"], &allowed["reason"]), (&json!("ALLOW"), &json!("first")));
    assert_eq!(allowed["rules"][0]["rule"], "bots", "{allowed}");

    let second = admin.put(PATH, &policy("second", &["restart"]), Some("\"1\"")).await?.expect(200)?;
    assert_eq!((&second.body["version"], &second.body["activeVersion"]), (&json!(2), &json!(1)));
    assert_eq!(evaluate(&client, &restart()).await?.body["reason"], "first");
    activate(&admin, 2).await?.expect(200)?;
    assert_eq!(evaluate(&client, &restart()).await?.body["reason"], "second");
    admin.post(&format!("{PATH}/deactivate"), &json!({})).await?.expect(200)?;
    assert_eq!(evaluate(&client, &restart()).await?.body["decision"], "DENY");

    let first = admin.get(&format!("{PATH}/versions/1")).await?.expect(200)?.body;
    assert_eq!(first["document"], policy("first", &["restart"]));
    assert_eq!(admin.get(&format!("{PATH}/versions/3")).await?.status, 404);
    assert_eq!(activate(&admin, 3).await?.status, 404);
    for (kind, count) in [("policy.version-stored", 2), ("policy.activated", 2), ("policy.deactivated", 1)] {
        assert_eq!(entries(&admin, &format!("kind={kind}")).await?.len(), count, "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let document = policy("x", &[]);
    let blind = admin.request(Method::PUT, PATH).json(&document).send().await?;
    assert_eq!((blind.status, blind.code()), (428, "precondition-required"));
    assert_eq!(admin.put(PATH, &document, Some("\"1\"")).await?.code(), "precondition-failed");
    admin.put(PATH, &document, None).await?.expect(201)?;
    assert_eq!(admin.put(PATH, &document, None).await?.expect(412)?.code(), "precondition-failed");

    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let request = admin.request(Method::PUT, PATH).header("if-match", "\"1\"");
        let request = request.json(&policy(&format!("writer {number}"), &[])).finish()?;
        writers.spawn(async move { request.send().await });
    }
    let mut statuses = Vec::new();
    while let Some(answer) = writers.join_next().await {
        statuses.push(answer??.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    let stale = admin.request(Method::POST, &format!("{PATH}/activate")).header("if-match", "\"1\"");
    assert_eq!(stale.json(&json!({ "version": 1 })).send().await?.status, 412);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_policy_is_said_with_its_place_and_what_is_not_enforced_is_refused() -> Result<()>
{
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let changed = |pointer: &str, value: Value| {
        let mut document = policy("x", &["restart"]);
        if let Some(place) = document.pointer_mut(pointer) {
            *place = value;
        }
        document
    };
    let mut later = policy("x", &["restart"]);
    later["rules"][0]["when"] = json!({ "path": "signal.name", "op": "eq", "value": "x" });
    for (document, code, pointer) in [
        (changed("/rules/0/effect", json!("PERHAPS")), "policy-invalid", "/rules/0/effect"),
        (changed("/rules/0/match/actions/0", json!("restrat")), "policy-invalid", "/rules/0/match/actions/0"),
        (changed("/name", json!("other")), "policy-invalid", "/name"),
        (later, "unsupported", "/rules/0/when/path"),
    ] {
        let refused = admin.put(PATH, &document, None).await?;
        assert_eq!((refused.status, refused.code()), (422, code), "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.text);
    }
    assert_eq!(admin.get(PATH).await?.status, 404);

    let checked = admin.post("/api/v1/policy/validate", &policy("x", &["restart"])).await?.expect(200)?.body;
    assert_eq!((&checked["name"], &checked["rules"][0]["id"]), (&json!("heal"), &json!("bots")));
    let refused =
        admin.post("/api/v1/policy/validate", &changed("/rules/0/effect", json!("PERHAPS"))).await?;
    assert_eq!(refused.status, 422);
    Ok(())
}

#[tokio::test]
async fn editors_get_the_schema_of_policies_in_the_draft_they_read() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let anonymous = stack.anonymous()?;
    for (query, draft) in [
        ("", "https://json-schema.org/draft/2020-12/schema"),
        ("?draft=2020-12", "https://json-schema.org/draft/2020-12/schema"),
        ("?draft=7", "http://json-schema.org/draft-07/schema#"),
    ] {
        let answer = anonymous.get(&format!("/api/v1/policy/schema{query}")).await?.expect(200)?;
        assert_eq!(answer.headers["content-type"], "application/schema+json");
        assert_eq!(answer.body["$schema"], draft);
        assert_eq!(answer.body["properties"]["schema"]["const"], "aegis.policy/v1", "{}", answer.text);
    }
    let refused = anonymous.get("/api/v1/policy/schema?draft=4").await?;
    assert_eq!((refused.status, refused.code()), (400, "invalid-parameter"), "{}", refused.text);
    Ok(())
}

#[tokio::test]
async fn a_row_slipped_into_the_database_is_not_obeyed_and_stops_decisions() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    admin.put(PATH, &policy("scale only", &["scale"]), None).await?.expect(201)?;
    activate(&admin, 1).await?.expect(200)?;
    let forged = policy("forged", &[]).to_string();
    let database = &stack.control_plane_database().superuser_url;
    execute(
        database,
        format!(
            "insert into policy_versions (name, version, document, digest, created_by, created_at, entry_id) \
             select name, 2, '{forged}', 'sha256:' || encode(sha256('{forged}'), 'hex'), created_by, created_at, entry_id \
             from policy_versions; update policies set latest_version = 2, active_version = 2"
        ),
    )
    .await?;
    let refused = evaluate(&client, &restart()).await?;
    assert_eq!((refused.status, refused.code()), (503, "state-not-in-log"), "{}", refused.text);
    let asked = client.ask(&stack.action("restart", "Deployment", "web", &json!({})), 0).await?;
    assert_eq!((asked.status, asked.code()), (503, "state-not-in-log"), "{}", asked.text);
    // A version that was stored, but never activated, is not obeyed either.
    execute(database, "update policies set active_version = null".to_owned()).await?;
    assert_eq!(evaluate(&client, &restart()).await?.code(), "state-not-in-log");
    execute(database, "update policies set active_version = 1".to_owned()).await?;
    assert_eq!(evaluate(&client, &restart()).await?.expect(200)?.body["decision"], "DENY");
    Ok(())
}

#[tokio::test]
async fn only_an_admin_asks_on_behalf_of_others_and_decisions_are_kept() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    let user = stack.new_person("ursula", &["user", "sre-lead"]).await?;
    let mut question = restart();
    question["principal"] = json!("client:somebody");
    question["roles"] = json!(["sre-lead"]);
    for caller in [&client, &user] {
        assert_eq!(evaluate(caller, &question).await?.expect(403)?.code(), "forbidden");
    }
    let evaluated = evaluate(&admin, &question).await?.expect(200)?.body;
    let id = evaluated["decisionId"].as_str().context("a decision has an id")?;
    let decision = admin.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body;
    assert_eq!(decision["request"]["principal"], "client:somebody");
    assert_eq!(decision["facts"], Value::Null);
    assert_eq!(client.get(&format!("/api/v1/decisions/{id}")).await?.status, 404, "it is not about them");
    let made = entries(&admin, "kind=decision.made").await?;
    assert!(made.iter().any(|entry| entry["data"]["decisionId"] == id));

    // One's own roles are known; others are a claim.
    let mut own = restart();
    own["roles"] = json!(["admin"]);
    assert_eq!(evaluate(&user, &own).await?.status, 403);
    let own = evaluate(&user, &restart()).await?.expect(200)?.body;
    let id = own["decisionId"].as_str().context("a decision has an id")?;
    let decision = user.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body;
    assert_eq!(decision["request"]["roles"], json!(["sre-lead", "user"]));
    let nonsense = evaluate(&admin, &json!({ "action": "restart", "resource": "web" })).await?;
    assert_eq!((nonsense.status, &nonsense.body["errors"][0]["pointer"]), (400, &json!("/resource")));
    Ok(())
}
