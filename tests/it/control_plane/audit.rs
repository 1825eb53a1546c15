//! The audit log: only ever added to, searchable, and readable by those who may.

use aegis_tests::database::execute;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::json;

use super::log::entries;

#[tokio::test]
async fn nobody_changes_an_entry_neither_the_application_nor_the_owner() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let database = stack.control_plane_database();
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    stack.client()?.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    let before = entries(&stack.admin()?, "kind=policy.activated").await?;
    for statement in [
        "update audit.entries set kind = 'forged'",
        "delete from audit.entries",
        "truncate audit.entries cascade",
        "truncate audit.entries_from_0",
        "update audit.pending set kind = 'forged'",
        "truncate audit.pending",
        "update audit.tiles set hashes = ''",
        "delete from audit.tiles",
        "truncate audit.tiles",
        "update audit.checkpoints set note = ''",
        "delete from audit.checkpoints",
        "truncate audit.checkpoints",
        "update audit.outcomes set entry_id = action_id",
        "delete from audit.outcomes",
        "update policy_versions set document = '{}'",
        "delete from policy_versions",
        "truncate policy_versions cascade",
        "update decisions set effect = 'DENY'",
        "delete from decisions",
        "truncate decisions cascade",
    ] {
        for url in [&database.url, &database.owner_url] {
            assert!(execute(url, statement.to_owned()).await.is_err(), "{statement} as {url}");
        }
    }
    let drop_trigger = "drop trigger entries_refuse_change on audit.entries".to_owned();
    assert!(execute(&database.url, drop_trigger).await.is_err(), "the application is not the owner");
    assert_eq!(entries(&stack.admin()?, "kind=policy.activated").await?, before);
    Ok(())
}

#[tokio::test]
async fn entries_are_found_by_every_filter_and_come_in_pages() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let request = stack.action("restart", "Deployment", "absent", &json!({}));
    let first = client.ask(&request, 0).await?.expect(403)?;
    let second = client.ask(&request, 0).await?.expect(403)?.body;
    let id = second["actionId"].as_str().context("the action is named")?;

    let of_action = entries(&auditor, &format!("actionId={id}")).await?;
    assert_eq!(of_action.len(), 3, "{of_action:?}");
    assert!(of_action.iter().all(|entry| entry["actionId"] == id && entry["schema"] == "aegis.entry/v1"));
    let principal = &stack.registered_client().principal;
    let by_client = entries(&auditor, &format!("principal={principal}")).await?;
    assert_eq!(by_client.len(), 6);
    let requested = entries(&auditor, &format!("principal={principal}&kind=action.requested")).await?;
    assert_eq!(requested.len(), 2);
    let request_id = first.body["requestId"].as_str().context("a problem names its request")?;
    let by_request = entries(&auditor, &format!("requestId={request_id}")).await?;
    assert_eq!(by_request.len(), 3, "answer and entries name the same request");

    let middle = of_action[0]["at"].as_str().context("an entry has a time")?;
    let later = entries(&auditor, &format!("principal={principal}&from={middle}")).await?;
    let earlier = entries(&auditor, &format!("principal={principal}&to={middle}")).await?;
    assert_eq!((earlier.len(), later.len()), (3, 3));
    let page =
        auditor.get(&format!("/api/v1/audit/entries?principal={principal}&limit=4")).await?.expect(200)?.body;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(4));
    let cursor = page["nextCursor"].as_str().context("there is more")?;
    let path = format!("/api/v1/audit/entries?principal={principal}&limit=4&cursor={cursor}");
    let rest = auditor.get(&path).await?.expect(200)?.body;
    assert_eq!((rest["items"].as_array().map(Vec::len), rest.get("nextCursor")), (Some(2), None));
    for query in ["kind=action.undone", "from=yesterday", "actionId=7", "limit=0"] {
        assert_eq!(admin.get(&format!("/api/v1/audit/entries?{query}")).await?.status, 400, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn reading_the_log_is_an_entry_but_not_one_for_each_page() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let me = auditor.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();
    let me = me.as_str().context("a principal")?;
    for _ in 0..10 {
        auditor.get("/api/v1/audit/entries?kind=user.created").await?.expect(200)?;
    }
    auditor.get("/api/v1/audit/entries?kind=user.signed-in").await?.expect(200)?;
    let readings = entries(&stack.admin()?, &format!("kind=audit.read&principal={me}")).await?;
    let of_filter =
        |kind: &str| readings.iter().filter(|entry| entry["data"]["filter"]["kind"] == kind).count();
    assert!((1..=2).contains(&of_filter("user.created")), "a minute may have turned: {readings:?}");
    assert_eq!(of_filter("user.signed-in"), 1);
    Ok(())
}

#[tokio::test]
async fn what_people_write_stands_beside_the_log_and_can_be_erased() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let client = stack.client()?;
    let mut request = stack.action("restart", "Deployment", "absent", &json!({}));
    request["reason"] = json!("Jane Doe asked for it");
    let id = client.ask(&request, 0).await?.expect(403)?.body["actionId"].clone();
    let id = id.as_str().context("the action is named")?;
    let path = format!("/api/v1/actions/{id}");
    assert_eq!(client.get(&path).await?.expect(200)?.body["reason"], "Jane Doe asked for it");

    let told = entries(&stack.admin()?, &format!("actionId={id}")).await?;
    assert!(!json!(told).to_string().contains("Jane"), "{told:?}");
    assert!(told[0]["data"]["reason"]["hmac"].as_str().is_some_and(|hash| hash.starts_with("hmac-sha256:")));
    let people = entries(&stack.admin()?, "kind=user.created").await?;
    assert!(!json!(people).to_string().contains('@'), "people appear by their id: {people:?}");

    let owner = &stack.control_plane_database().owner_url;
    execute(owner, "update audit.texts set body = ''".to_owned()).await?;
    assert_eq!(client.get(&path).await?.expect(200)?.body["reason"], "");
    assert_eq!(entries(&stack.admin()?, &format!("actionId={id}")).await?, told);
    Ok(())
}

#[tokio::test]
async fn in_these_tests_no_change_of_state_is_committed_without_an_entry() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let database = stack.control_plane_database();
    let as_service = |sql: &str| execute(&database.url, sql.to_owned());
    let change = "update policy_set set digest = digest";
    let refused = as_service(change).await.unwrap_err();
    assert!(format!("{refused:#}").contains("without an entry"), "{refused:#}");
    let entry = "insert into audit.pending (id, kind, at, principal, body) \
        values (gen_random_uuid(), 'audit.read', now(), 'user:x', '{}')";
    as_service(&format!("begin; {change}; {entry}; commit")).await?;
    let refused = as_service(&format!("begin; {entry}; commit; begin; {change}; commit")).await;
    assert!(refused.is_err(), "an entry of an earlier transaction does not count");
    Ok(())
}
