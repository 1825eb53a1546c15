//! Clients: who makes and bounds them, what a scope hides, and that what is over is over at once, everywhere.

use std::time::Duration;

use aegis_contract::dsse::ReceiptKey;
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::log::{actions, entries, metric, refusals};

/// Machines may be slow; what is waited for takes milliseconds.
const WITHIN: Duration = Duration::from_secs(60);

/// So many seconds from now, by this machine's clock, which is the services' too.
#[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
fn ahead(seconds: i64) -> Result<String> {
    Ok(Timestamp::from_second(Timestamp::now().as_second() + seconds)?.to_string())
}

/// Adds a client of the first admin, with these members besides.
async fn make(stack: &Stack, name: &str, members: &Value) -> Result<Answer> {
    let mut body = json!({ "name": name, "owner": stack.admin_user().email });
    for (member, value) in members.as_object().context("members")? {
        body[member] = value.clone();
    }
    stack.admin()?.post("/api/v1/clients", &body).await
}

/// The caller that signs with the newest key of a client as it was answered.
fn caller(stack: &Stack, client: &Value) -> Result<Caller> {
    let key = &client["keys"][0];
    let (id, secret) = key["id"].as_str().zip(key["secret"].as_str()).context("a key with its secret")?;
    Caller::client(stack.control_plane(0).url(), id, secret)
}

async fn whoami(caller: &Caller) -> Result<u16> {
    Ok(caller.get("/api/v1/whoami").await?.status)
}

#[tokio::test]
async fn a_client_sends_no_more_requests_a_minute_than_it_was_given() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let bounded = make(&stack, "bounded", &json!({ "requestsPerMinute": 3 })).await?.expect(201)?.body;
    let (bounded, free) = (caller(&stack, &bounded)?, stack.client()?);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(whoami(&bounded).await?);
    }
    // A slow machine gives one back in the meantime.
    assert_eq!(statuses[..3], [200; 3], "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(whoami(&free).await?, 200);
    Ok(())
}

#[tokio::test]
async fn admins_make_bound_and_end_clients_and_every_change_is_recorded_without_any_secret() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin()?;
    let bounds = json!({
        "scope": { "actions": ["restart"], "namespaces": ["prod-*/shop"] }, "requestsPerMinute": 60,
        "expiresAt": ahead(86_400)?, "keyExpiresAt": ahead(3_600)?,
    });
    let made = make(&stack, "alert-bot", &bounds).await?.expect(201)?;
    assert_eq!(made.headers["cache-control"], "no-store");
    assert_eq!(made.headers["location"], "/api/v1/clients/alert-bot");
    let first = caller(&stack, &made.body)?;
    let secret = made.body["keys"][0]["secret"].as_str().context("a secret")?.to_owned();
    let shown = admin.get("/api/v1/clients/alert-bot").await?.expect(200)?;
    assert!(!shown.text.contains(&secret), "a secret is shown once");
    for member in ["scope", "requestsPerMinute", "expiresAt"] {
        assert_eq!(shown.body[member], bounds[member], "{member}");
    }
    assert_eq!(shown.body["ownerEmail"], stack.admin_user().email.as_str());
    assert_eq!(first.get("/api/v1/whoami").await?.expect(200)?.body["scope"], bounds["scope"]);
    assert_eq!(make(&stack, "alert-bot", &json!({})).await?.expect(409)?.code(), "already-exists");

    let path = "/api/v1/clients/alert-bot";
    let change = json!({ "scope": null, "requestsPerMinute": null });
    let changed = admin.patch(path, &change).await?.expect(200)?.body;
    assert_eq!((&changed["scope"], &changed["requestsPerMinute"]), (&json!({}), &Value::Null));
    assert_eq!(changed["expiresAt"], bounds["expiresAt"], "what is left out stays");
    // Again changes nothing, and is no entry.
    admin.patch(path, &change).await?.expect(200)?;

    let keys = format!("{path}/keys");
    let rotated = admin.post(&keys, &json!({})).await?.expect(201)?.body;
    let second = caller(&stack, &rotated)?;
    assert_eq!(admin.post(&keys, &json!({})).await?.expect(409)?.code(), "already-exists");
    assert_eq!((whoami(&first).await?, whoami(&second).await?), (200, 200), "both are good meanwhile");
    let old = made.body["keys"][0]["id"].as_str().context("an id")?;
    let revoke = async |client: &str| admin.delete(&format!("/api/v1/clients/{client}/keys/{old}")).await;
    make(&stack, "other-bot", &json!({})).await?.expect(201)?;
    revoke("other-bot").await?.expect(404)?;
    revoke("alert-bot").await?.expect(204)?;
    revoke("alert-bot").await?.expect(404)?;
    for part in stack.control_planes() {
        assert_eq!(whoami(&first.at(part.url())).await?, 401, "revoked at once, everywhere");
    }

    for (step, expected) in [("disable", 401), ("disable", 401), ("enable", 200), ("enable", 200)] {
        let answer = admin.post(&format!("{path}/{step}"), &json!({})).await?.expect(200)?;
        assert_eq!(answer.body["disabledAt"].is_string(), step == "disable", "{}", answer.text);
        for part in stack.control_planes() {
            assert_eq!(whoami(&second.at(part.url())).await?, expected, "{step} counts at once, everywhere");
        }
    }

    let page = admin.get("/api/v1/clients?limit=1").await?.expect(200)?.body;
    assert_eq!(page["items"][0]["name"], "alert-bot");
    let next = page["nextCursor"].as_str().context("there are more")?;
    let page = admin.get(&format!("/api/v1/clients?cursor={next}")).await?.expect(200)?.body;
    let names = page["items"].as_array().context("items")?.iter().map(|client| client["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), [Some("demo-bot"), Some("other-bot")]);

    let recorded = entries(&admin, "from=2020-01-01T00:00:00Z").await?;
    let of_bot = recorded.iter().filter(|entry| entry["data"]["client"] == "client:alert-bot");
    let kinds: Vec<_> = of_bot.clone().filter_map(|entry| entry["kind"].as_str()).collect();
    let expected = ["created", "changed", "key-added", "key-revoked", "disabled", "enabled"]
        .map(|kind| format!("client.{kind}"));
    assert_eq!(kinds, expected);
    let me = admin.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();
    assert!(of_bot.clone().all(|entry| entry["principal"] == me && entry["requestId"].is_string()));
    let said = of_bot.clone().next().context("created")?;
    assert_eq!(said["data"]["scope"], bounds["scope"]);
    assert!(!json!(recorded).to_string().contains(&secret), "a secret is in the log");
    Ok(())
}

#[tokio::test]
async fn what_a_client_cannot_be_is_refused_with_its_place() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    for (members, code, place) in [
        (json!({ "scope": { "actions": ["reboot"] } }), "invalid", "/scope/actions/0"),
        (json!({ "scope": { "namespaces": ["shop"] } }), "invalid", "/scope/namespaces/0"),
        (json!({ "scope": { "actions": [] } }), "invalid", "/scope/actions"),
        (json!({ "scope": { "kinds": [] } }), "invalid", "/scope/kinds"),
        (json!({ "requestsPerMinute": 0 }), "invalid", "/requestsPerMinute"),
        (json!({ "expiresAt": ahead(-60)? }), "invalid", "/expiresAt"),
        (json!({ "keyExpiresAt": ahead(-60)? }), "invalid", "/keyExpiresAt"),
        (json!({ "publicKey": "-----BEGIN PUBLIC KEY-----" }), "invalid-parameter", ""),
        (json!({ "secret": "mine" }), "invalid", "/secret"),
        (json!({ "name": "Not-A-Name" }), "invalid-parameter", ""),
    ] {
        let refused = make(&stack, "bot", &members).await?.expect(400)?;
        assert_eq!(refused.code(), code, "{members}: {}", refused.text);
        let pointer = refused.body["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(pointer, place, "{members}: {}", refused.text);
    }
    for owner in ["nobody@example.com", "no\0body@example.com"] {
        let nobody = make(&stack, "bot", &json!({ "owner": owner })).await?;
        assert_eq!(nobody.expect(404)?.body["detail"], "there is no such owner");
    }
    let clients = stack.admin()?.get("/api/v1/clients").await?.expect(200)?.body;
    assert_eq!(clients["items"].as_array().map(Vec::len), Some(1), "only the stack's own: {clients}");
    Ok(())
}

#[tokio::test]
async fn a_scope_is_looked_at_before_policy_and_what_lies_outside_is_refused_recorded_and_absent()
-> Result<()> {
    let namespaces = vec!["shop".to_owned(), "billing".to_owned()];
    let stack = Stack::start(StackOptions { namespaces, ..StackOptions::default() }).await?;
    stack.allow_everything().await?;
    let admin = stack.admin()?;
    let made = make(&stack, "bot", &json!({})).await?.expect(201)?.body;
    let (bot, principal) = (caller(&stack, &made)?, "client:bot");
    let [shop, billing] = stack.namespaces() else { anyhow::bail!("two namespaces") };
    let action = |kind: &str, namespace: &str| {
        let mut action = stack.action(kind, "Deployment", "absent", &json!({}));
        action["target"]["namespace"] = namespace.into();
        if kind == "scale" {
            action["params"] = json!({ "replicas": 1 });
        }
        action
    };
    let mut ids = Vec::new();
    for (kind, namespace) in [("restart", shop), ("scale", shop), ("restart", billing)] {
        let accepted = bot.ask(&action(kind, namespace), 0).await?.expect(202)?.body;
        ids.push(accepted["id"].as_str().context("an id")?.to_owned());
    }
    let decision =
        bot.get(&format!("/api/v1/actions/{}", ids[2])).await?.expect(200)?.body["decisionId"].clone();
    let decision = decision.as_str().context("a decision")?;
    let before = actions(&stack).await?;

    let scope = json!({ "scope": { "actions": ["restart"], "namespaces": [format!("local/{shop}")] } });
    admin.patch("/api/v1/clients/bot", &scope).await?.expect(200)?;
    let question = |action: &str, resource: String| json!({ "action": action, "resource": resource });
    for (asked, namespace) in [("scale", shop), ("restart", billing)] {
        // So that each is the first of its reason, key and minute.
        execute(&stack.control_plane_database().superuser_url, "delete from refusals".to_owned()).await?;
        let refused = bot.ask(&action(asked, namespace), 0).await?.expect(403)?;
        assert_eq!(refused.code(), "outside-scope", "{}", refused.text);
        let id = refused.body["requestId"].as_str().context("a request")?;
        let recorded = entries(&admin, &format!("kind=request.refused&requestId={id}")).await?;
        let [entry] = &recorded[..] else { anyhow::bail!("not recorded once: {recorded:?}") };
        let resource = format!("k8s/local/{namespace}/Deployment/absent");
        let data = json!({
            "reason": "outside-scope", "keyId": made["keys"][0]["id"], "action": asked, "resource": resource,
        });
        assert_eq!((&entry["data"], &entry["principal"]), (&data, &json!(principal)));
        let evaluated = bot.post("/api/v1/policy/evaluate", &question(asked, resource)).await?;
        assert_eq!(evaluated.expect(403)?.code(), "outside-scope");
    }
    let policies = question("restart", "aegis/policy/p".to_owned());
    bot.post("/api/v1/policy/evaluate", &policies).await?.expect(403)?;
    assert_eq!(actions(&stack).await?, before, "nothing was decided");
    assert_eq!(metric(&stack, "aegis_scope_refusals_total").await?, 5.0);
    // What a broken request says is told first, as to everybody.
    bot.ask(&json!({ "type": "scale" }), 0).await?.expect(400)?;

    let listed = async || {
        let page = bot.get("/api/v1/actions").await?.expect(200)?.body;
        let items = page["items"].as_array().context("items")?.clone();
        anyhow::Ok(
            items
                .iter()
                .map(|action| action["id"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(listed().await?, [ids[0].clone()]);
    for id in &ids[1..] {
        let path = format!("/api/v1/actions/{id}");
        bot.get(&path).await?.expect(404)?;
        bot.get(&format!("{path}/story")).await?.expect(404)?;
        bot.post(&format!("{path}/cancel"), &json!({})).await?.expect(404)?;
        admin.get(&path).await?.expect(200)?;
    }
    bot.get(&format!("/api/v1/decisions/{decision}")).await?.expect(404)?;
    bot.ask(&action("restart", shop), 0).await?.expect(202)?;

    let wider =
        json!({ "scope": { "namespaces": [format!("loc*/{shop}"), format!("*/{}*", &billing[..7])] } });
    admin.patch("/api/v1/clients/bot", &wider).await?.expect(200)?;
    assert_eq!(listed().await?.len(), 4, "what is inside again is there again");
    bot.get(&format!("/api/v1/decisions/{decision}")).await?.expect(200)?;

    // Within its scope it may do what policy allows, and no more.
    let none = json!({
        "schema": "aegis.policy/v1", "name": "none", "description": "Nobody restarts anything.",
        "rules": [{ "id": "none", "effect": "DENY", "reason": "a test says no", "match": { "actions": ["restart"] } }],
    });
    admin.activate_policy(&none).await?;
    assert_eq!(bot.ask(&action("restart", shop), 0).await?.expect(403)?.code(), "policy-denied");
    Ok(())
}

#[tokio::test]
async fn a_key_and_a_client_end_by_themselves_and_a_key_that_is_over_makes_room() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin()?;
    let brief = make(&stack, "brief-key", &json!({ "keyExpiresAt": ahead(3_600)? })).await?.expect(201)?.body;
    let short = make(&stack, "brief-bot", &json!({ "expiresAt": ahead(3_600)? })).await?.expect(201)?.body;
    let (brief, short) = (caller(&stack, &brief)?, caller(&stack, &short)?);
    assert_eq!((whoami(&brief).await?, whoami(&short).await?), (200, 200));
    let database = &stack.control_plane_database().superuser_url;
    for (table, whose) in [("client_keys", "expires_at is not null"), ("clients", "name = 'brief-bot'")] {
        let soon = format!("update {table} set expires_at = now() + interval '1 second' where {whose}");
        execute(database, soon).await?;
    }
    for part in stack.control_planes() {
        for caller in [&brief, &short] {
            let caller = caller.at(part.url());
            until("the end of its time", WITHIN, async || Ok(whoami(&caller).await? == 401)).await?;
        }
    }
    for reason in ["key-expired", "client-expired"] {
        assert!(refusals(&stack, reason).await? >= 1, "{reason}");
    }
    // Two live ones beside the one that is over.
    let keys = "/api/v1/clients/brief-key/keys";
    let second = caller(&stack, &admin.post(keys, &json!({})).await?.expect(201)?.body)?;
    admin.post(keys, &json!({})).await?.expect(201)?;
    assert_eq!(whoami(&second).await?, 200);
    // Bounding an ended client otherwise does not need its end to be moved; moving it lets it go on.
    let path = "/api/v1/clients/brief-bot";
    admin.patch(path, &json!({ "requestsPerMinute": 5 })).await?.expect(200)?;
    assert_eq!(whoami(&short).await?, 401);
    admin.patch(path, &json!({ "expiresAt": null })).await?.expect(200)?;
    assert_eq!(whoami(&short).await?, 200);
    Ok(())
}

#[tokio::test]
async fn the_last_use_of_each_key_is_shown_to_the_minute_and_written_no_oftener() -> Result<()> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let admin = stack.admin()?;
    let pair = ReceiptKey::from_seed(&[9; 32]);
    let made = make(&stack, "pair-bot", &json!({ "publicKey": pair.public_pem() })).await?.expect(201)?.body;
    let key = &made["keys"][0];
    assert_eq!((&key["algorithm"], &key["secret"]), (&json!("ed25519"), &Value::Null));
    assert_eq!(key["lastUsedAt"], Value::Null);
    let id = key["id"].as_str().context("an id")?;
    let bot = Caller::client(stack.control_plane(0).url(), id, &pair.to_pkcs8_pem())?;
    // A wrong signature is no use.
    let thief = Caller::client(stack.control_plane(0).url(), id, &stack.registered_client().secret)?;
    assert_eq!(whoami(&thief).await?, 401);

    let last_use = async || {
        let shown = admin.get("/api/v1/clients/pair-bot").await?.expect(200)?.body;
        anyhow::Ok(shown["keys"][0]["lastUsedAt"].as_str().map(str::to_owned))
    };
    assert_eq!(last_use().await?, None);
    assert_eq!(whoami(&bot).await?, 200);
    eventually("a noted use", WITHIN, async || last_use().await).await?;
    let set = async |at: &str| {
        let sql = format!("update client_keys set last_used_at = {at} where id = '{id}'");
        execute(&stack.control_plane_database().superuser_url, sql).await
    };
    // However slow the machine: within the minute.
    set("now() + interval '10 minutes'").await?;
    let version =
        async || text(&stack, format!("select xmin::text from client_keys where id = '{id}'")).await;
    let before = version().await?;
    for round in 0..40 {
        assert_eq!(whoami(&bot.at(stack.control_plane(round % 2).url())).await?, 200);
    }
    assert_eq!(version().await?, before, "written again");
    set("now() - interval '2 minutes'").await?;
    let earlier = last_use().await?;
    assert_eq!(whoami(&bot).await?, 200);
    until("a later use", WITHIN, async || Ok(last_use().await? > earlier)).await
}

async fn text(stack: &Stack, sql: String) -> Result<String> {
    let mut connection = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    Ok(raw_sql(AssertSqlSafe(sql)).fetch_one(&mut connection).await?.try_get(0)?)
}
