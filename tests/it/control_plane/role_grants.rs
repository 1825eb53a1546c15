//! Giving people roles: as policy allows it, and where it asks people, by more than one.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::stack::Stack;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::log::entries;
use super::people::{ask, id_of, role, stack};

/// Lets admins give every role but `root`, and asks so many people-leads about `sre-lead`.
async fn activate(admin: &Caller, leads: u32, more: &[Value]) -> Result<()> {
    let mut rules = vec![
        json!({ "id": "admins-give", "effect": "ALLOW", "reason": "admins give roles",
                "match": { "roles": ["admin"], "resources": ["aegis/role/*"] } }),
        json!({ "id": "no-root", "effect": "DENY", "reason": "nobody is root",
                "match": { "resources": ["aegis/role/root"] } }),
        json!({ "id": "by-two", "effect": "REQUIRE", "reason": "leads are chosen together",
                "match": { "resources": ["aegis/role/sre-lead"] },
                "approvals": [{ "role": "people-lead", "min": leads }] }),
    ];
    rules.extend_from_slice(more);
    let policy = json!({ "schema": "aegis.policy/v1", "name": "give-roles", "description": "Who gives which role.",
                         "rules": rules });
    admin.activate_policy(&policy).await
}

async fn answer(person: &Caller, grant: &Value, what: &str) -> Result<Answer> {
    let id = grant["id"].as_str().context("a grant has an id")?;
    person.post(&format!("/api/v1/role-grants/{id}/{what}"), &json!({})).await
}

async fn waiting(person: &Caller) -> Result<usize> {
    let page = person.get("/api/v1/role-grants").await?.expect(200)?.body;
    Ok(page["items"].as_array().context("items")?.len())
}

async fn roles_of(admin: &Caller, id: &str) -> Result<Value> {
    Ok(admin.get(&format!("/api/v1/users/{id}")).await?.expect(200)?.body["roles"].clone())
}

async fn grant_by_operator(stack: &Stack, name: &str, role: &str) -> Result<()> {
    let email = format!("{name}@example.com");
    stack.command(["user", "grant", "--email", &email, "--role", role]).await.map(drop)
}

#[tokio::test]
async fn a_role_is_given_only_as_policy_allows_and_by_several_where_it_asks_for_them() -> Result<()> {
    let stack = stack().await?;
    let admin = stack.admin()?;
    let ursula = stack.new_person("ursula", &["user"]).await?;
    let lena = stack.new_person("lena", &["people-lead"]).await?;
    let (ursula_id, admin_id) = (id_of(&admin, "ursula").await?, id_of(&admin, "admin").await?);
    let give = |id: &str, name: &str| {
        let (admin, id, name) = (admin.clone(), id.to_owned(), name.to_owned());
        async move { role(&admin, Method::PUT, &id, &name).await }
    };

    // No policy, no role; the operator's command line is how it begins.
    let denied = give(&ursula_id, "sre").await?.expect(403)?;
    assert_eq!((denied.code(), denied.body.get("actionId")), ("policy-denied", None), "{}", denied.text);
    let id = denied.body["decisionId"].as_str().context("decisionId")?;
    let decision = admin.get(&format!("/api/v1/decisions/{id}")).await?.expect(200)?.body;
    assert_eq!(decision["request"]["resource"], "aegis/role/sre", "{decision}");
    assert_eq!(roles_of(&admin, &ursula_id).await?, json!(["user"]));

    activate(&admin, 1, &[]).await?;
    assert_eq!(give(&ursula_id, "sre").await?.expect(200)?.body["roles"], json!(["sre", "user"]));
    give(&ursula_id, "sre").await?.expect(200)?;
    assert_eq!(give(&ursula_id, "root").await?.expect(403)?.body["reason"], "nobody is root");
    assert_eq!(give(&ursula_id, "Not A Role").await?.status, 400);
    assert_eq!(give(&admin_id, "sre").await?.expect(403)?.code(), "four-eyes");
    let taken = role(&admin, Method::DELETE, &ursula_id, "sre").await?.expect(200)?.body;
    assert_eq!(taken["roles"], json!(["user"]));

    // It waits for another person: neither who asked, nor whom it is for, nor who is not asked.
    let grant = give(&ursula_id, "sre-lead").await?.expect(202)?;
    assert_eq!(
        grant.headers["location"],
        format!("/api/v1/role-grants/{}", grant.body["id"].as_str().unwrap_or(""))
    );
    let grant = grant.body;
    assert_eq!(grant["groups"], json!([{ "role": "people-lead", "min": 1, "missing": 1 }]));
    assert_eq!(give(&ursula_id, "sre-lead").await?.expect(202)?.body["id"], grant["id"]);
    let stranger = stack.new_person("sten", &["user"]).await?;
    assert_eq!(answer(&stranger, &grant, "approve").await?.status, 404);
    assert_eq!(answer(&stranger, &grant, "deny").await?.status, 404);
    let auditor = stack.new_person("audrey", &["auditor"]).await?;
    assert_eq!(answer(&auditor, &grant, "approve").await?.expect(403)?.code(), "not-an-approver");
    for name in ["admin", "ursula"] {
        grant_by_operator(&stack, name, "people-lead").await?;
    }
    for own in [&admin, &ursula] {
        assert_eq!(answer(own, &grant, "approve").await?.expect(403)?.code(), "not-an-approver");
    }
    assert_eq!((waiting(&lena).await?, waiting(&auditor).await?, waiting(&stranger).await?), (1, 1, 0));
    assert_eq!(roles_of(&admin, &ursula_id).await?, json!(["people-lead", "user"]));
    let given = answer(&lena, &grant, "approve").await?.expect(200)?.body;
    assert_eq!(given["state"], "granted", "{given}");
    assert_eq!(roles_of(&admin, &ursula_id).await?, json!(["people-lead", "sre-lead", "user"]));
    assert_eq!(answer(&lena, &grant, "approve").await?.expect(409)?.code(), "grant-not-waiting");
    let changes = entries(&admin, "kind=user.roles-changed").await?;
    let change = changes.last().context("an entry")?;
    assert_eq!(change["data"]["approvals"][0]["entryId"], given["given"][0]["entryId"], "{change}");
    assert_eq!(
        (&change["data"]["onBehalfOf"], &change["data"]["grantId"]),
        (&json!(format!("user:{admin_id}")), &grant["id"])
    );
    Ok(())
}

#[tokio::test]
async fn a_waiting_role_is_decided_again_and_stands_on_nothing_that_counts_no_more() -> Result<()> {
    let stack = stack().await?;
    let admin = stack.admin()?;
    stack.new_user("ursula", &["user"]).await?;
    let lena = stack.new_person("lena", &["people-lead"]).await?;
    let marta = stack.new_person("marta", &["people-lead"]).await?;
    let omar = stack.new_person("omar", &["people-lead"]).await?;
    let bela = stack.new_person("bela", &["admin"]).await?;
    let (ursula, lena_id) = (id_of(&admin, "ursula").await?, id_of(&admin, "lena").await?);
    activate(&admin, 2, &[]).await?;
    let ask_for = |by: &Caller| {
        let (by, id) = (by.clone(), ursula.clone());
        async move { anyhow::Ok(role(&by, Method::PUT, &id, "sre-lead").await?.expect(202)?.body) }
    };

    // A word counts only while whoever gave it may sign in, and holds the role.
    let grant = ask_for(&admin).await?;
    answer(&lena, &grant, "approve").await?.expect(200)?;
    answer(&lena, &grant, "approve").await?.expect(200)?;
    ask(&admin, &lena_id, "disable").await?.expect(200)?;
    let after = answer(&marta, &grant, "approve").await?.expect(200)?.body;
    assert_eq!((&after["state"], &after["groups"][0]["missing"]), (&json!("waiting"), &json!(1)), "{after}");
    let counts: Vec<_> =
        after["given"].as_array().into_iter().flatten().map(|word| &word["counts"]).collect();
    assert_eq!(counts, [&json!(false), &json!(true)]);
    let given = answer(&omar, &grant, "approve").await?.expect(200)?.body;
    assert_eq!(given["state"], "granted", "{given}");
    role(&admin, Method::DELETE, &ursula, "sre-lead").await?.expect(200)?;
    ask(&admin, &lena_id, "enable").await?.expect(200)?;

    // A no ends it, also that of who asked.
    let grant = ask_for(&admin).await?;
    assert_eq!(answer(&marta, &grant, "deny").await?.expect(200)?.body["state"], "denied");
    assert_eq!(answer(&omar, &grant, "approve").await?.code(), "grant-not-waiting");
    let grant = ask_for(&admin).await?;
    assert_eq!(answer(&admin, &grant, "deny").await?.expect(200)?.body["state"], "denied");

    // So does the end of what the requester was allowed, of policy's consent, and of the time.
    let grant = ask_for(&bela).await?;
    stack.command(["user", "revoke", "--email", "bela@example.com", "--role", "admin"]).await?;
    assert_eq!(answer(&marta, &grant, "approve").await?.expect(200)?.body["state"], "denied");
    let grant = ask_for(&admin).await?;
    let veto = json!({ "id": "frozen", "effect": "DENY", "reason": "no new leads this year",
                       "match": { "resources": ["aegis/role/sre-lead"] } });
    activate(&admin, 2, &[veto]).await?;
    assert_eq!(answer(&marta, &grant, "approve").await?.expect(200)?.body["state"], "denied");
    activate(&admin, 2, &[]).await?;
    let grant = ask_for(&admin).await?;
    let superuser = &stack.control_plane_database().superuser_url;
    execute(superuser, "update role_grants set expires_at = now()".to_owned()).await?;
    assert_eq!(answer(&marta, &grant, "approve").await?.expect(409)?.body["state"], "expired");
    let reasons = entries(&admin, "kind=role-grant.denied").await?;
    let reasons: Vec<_> = reasons.iter().filter_map(|entry| entry["data"]["reason"].as_str()).collect();
    assert_eq!(reasons, ["said-no", "said-no", "requester-lost-permission", "policy-denied"]);

    // A word that somebody slips in, and a request that was turned into another, are not in the log.
    let grant = ask_for(&admin).await?;
    let id = grant["id"].as_str().context("id")?;
    let slip = format!(
        "insert into role_grant_approvals select '{id}'::uuid, id, gen_random_uuid() from users where email = 'lena@example.com'"
    );
    execute(superuser, slip).await?;
    assert_eq!(answer(&marta, &grant, "approve").await?.expect(503)?.code(), "state-not-in-log");
    execute(superuser, format!("delete from role_grant_approvals where grant_id = '{id}'")).await?;
    execute(superuser, format!("update role_grants set role = 'admin' where id = '{id}'")).await?;
    assert_eq!(answer(&marta, &grant, "approve").await?.expect(503)?.code(), "state-not-in-log");
    assert_eq!(roles_of(&admin, &ursula).await?, json!(["user"]));
    Ok(())
}
