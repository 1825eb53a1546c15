//! Making the active set equal a folder.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use serde_json::{Value, json};

use super::scene::{activate, allowing, ask, store, test};
use crate::control_plane::log::entries;

async fn sync(admin: &Caller, managed_by: &str, documents: &[Value], plan: bool) -> Result<Answer> {
    let body = json!({ "managedBy": managed_by, "documents": documents, "plan": plan });
    admin.post("/api/v1/policy/sync", &body).await
}

fn steps(synced: &Answer) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = synced.body["steps"].as_array().expect("an answer has steps");
    steps.iter().map(|step| format!("{} {}", text(&step["change"]), text(&step["name"]))).collect()
}

#[tokio::test]
async fn the_active_policies_equal_the_folder_in_one_step_and_are_read_only_elsewhere() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let (a, b) = (allowing("a", "bot-a", &["restart"]), allowing("b", "bot-b", &["restart"]));
    // One is as it should be, one is stored only, and one should not be there.
    activate(&admin, &a).await?.expect(200)?;
    store(&admin, &b).await?.expect(201)?;
    activate(&admin, &allowing("old", "bot-old", &["restart"])).await?.expect(200)?;
    let c = allowing("c", "bot-c", &["restart"]);

    let planned =
        sync(&admin, "acme/policies", &[a.clone(), b.clone(), c.clone()], true).await?.expect(200)?;
    assert_eq!(steps(&planned), ["adopt a", "activate b", "create c", "deactivate old"]);
    assert_eq!(ask(&admin, "bot-c").await?["decision"], "DENY", "a plan changes nothing");

    let synced =
        sync(&admin, "acme/policies", &[a.clone(), b.clone(), c.clone()], false).await?.expect(200)?;
    assert_eq!(steps(&synced), steps(&planned));
    for (client, decision) in
        [("bot-a", "ALLOW"), ("bot-b", "ALLOW"), ("bot-c", "ALLOW"), ("bot-old", "DENY")]
    {
        assert_eq!(ask(&admin, client).await?["decision"], decision, "{client}");
    }
    assert_eq!(
        steps(&sync(&admin, "acme/policies", &[a.clone(), b.clone(), c.clone()], false).await?),
        [""; 0]
    );
    let synced = entries(&admin, "kind=policy.synced").await?;
    assert_eq!(synced.len(), 1, "nothing to do is nothing to record: {synced:?}");

    // Read-only for everybody else, and for another sync.
    let mut changed = c.clone();
    changed["description"] = json!("by hand");
    for refused in [
        store(&admin, &changed).await?,
        admin.post("/api/v1/policies/c/activate", &json!({ "version": 1 })).await?,
        admin.post("/api/v1/policies/c/deactivate", &json!({})).await?,
        sync(&admin, "somebody/else", &[changed.clone()], false).await?,
    ] {
        assert_eq!((refused.status, refused.code()), (409, "policy-managed"), "{}", refused.text);
        assert_eq!(refused.body["managedBy"], "acme/policies");
    }
    admin.post("/api/v1/policies/c/release", &json!({})).await?.expect(204)?;
    activate(&admin, &changed).await?.expect(200)?;
    // The next sync puts it right.
    let again = sync(&admin, "acme/policies", &[a, b, c], false).await?.expect(200)?;
    assert_eq!(steps(&again), ["update c"]);
    Ok(())
}

#[tokio::test]
async fn a_sync_with_a_failing_test_or_a_broken_document_changes_nothing() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let a = allowing("a", "bot-a", &["restart"]);
    let mut b = allowing("b", "bot-b", &["restart"]);
    b["tests"] = json!([
        test("a may, by the other document", "bot-a", "ALLOW"),
        test("but c may not", "bot-c", "ALLOW")
    ]);
    let refused = sync(&admin, "x", &[a.clone(), b.clone()], false).await?;
    assert_eq!((refused.status, refused.code()), (422, "policy-tests-failed"), "{}", refused.text);
    assert_eq!(refused.body["errors"][0]["pointer"], "/documents/1/tests/1");
    b["rules"][0]["effect"] = json!("PERHAPS");
    let refused = sync(&admin, "x", &[a.clone(), b.clone()], false).await?;
    assert_eq!((refused.status, refused.code()), (422, "policy-invalid"), "{}", refused.text);
    assert_eq!(refused.body["errors"][0]["pointer"], "/documents/1/rules/0/effect");
    let twice = sync(&admin, "x", &[a.clone(), a], false).await?;
    assert_eq!((twice.status, twice.code()), (400, "invalid-parameter"), "{}", twice.text);
    assert_eq!(admin.get("/api/v1/policies").await?.body["items"], json!([]));
    Ok(())
}
