//! What has to be before a version counts, and the way back.

use aegis_tests::database::execute;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use http::{HeaderValue, Method};
use serde_json::json;

use super::scene::{activate, allowing, ask, path, store, test};
use crate::control_plane::log::entries;

#[tokio::test]
async fn a_version_whose_tests_fail_does_not_count() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let mut heal = allowing("heal", "bot", &["restart"]);
    heal["tests"] =
        json!([test("the bot may", "bot", "ALLOW"), test("others may as well", "other", "ALLOW")]);
    let refused = activate(&admin, &heal).await?;
    assert_eq!((refused.status, refused.code()), (422, "policy-tests-failed"), "{}", refused.text);
    let errors = refused.body["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!("/tests/1")), "{}", refused.text);
    assert_eq!(ask(&admin, "bot").await?["decision"], "DENY");

    heal["tests"] = json!([test("the bot may", "bot", "ALLOW")]);
    activate(&admin, &heal).await?.expect(200)?;
    assert_eq!(ask(&admin, "bot").await?["decision"], "ALLOW");

    // What else is active counts in the tests: here a freeze makes the bot's test fail.
    let mut freeze = allowing("freeze", "nobody", &[]);
    freeze["rules"][0] = json!({ "id": "all", "effect": "DENY", "reason": "frozen" });
    activate(&admin, &freeze).await?.expect(200)?;
    heal["description"] = json!("changed");
    let refused = activate(&admin, &heal).await?.expect(422)?;
    assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains("frozen"), "{}", refused.text);
    Ok(())
}

#[tokio::test]
async fn nobody_activates_what_they_stored_where_four_eyes_are_asked_for() -> Result<()> {
    let settings = vec![("POLICY_FOUR_EYES".to_owned(), "true".to_owned())];
    let options = StackOptions { control_plane_settings: settings, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    let (writer, other) = (stack.admin()?, stack.new_person("adam", &["admin"]).await?);
    let heal = allowing("heal", "bot", &["restart"]);
    let refused = activate(&writer, &heal).await?;
    assert_eq!((refused.status, refused.code()), (403, "four-eyes"), "{}", refused.text);
    let address = format!("{}/activate", path(&heal)?);
    // The entry says who it was, whatever somebody writes into the row beside it.
    let blame =
        "set session_replication_role = replica; update policy_versions set created_by = 'user:nobody'";
    execute(&stack.control_plane_database().superuser_url, blame.to_owned()).await?;
    assert_eq!(writer.post(&address, &json!({ "version": 1 })).await?.code(), "four-eyes");
    other.post(&address, &json!({ "version": 1 })).await?.expect(200)?;
    // What the other one stores is the first one's to activate.
    store(&other, &allowing("heal", "bot", &["scale"])).await?.expect(200)?;
    assert_eq!(other.post(&address, &json!({ "version": 2 })).await?.code(), "four-eyes");
    writer.post(&address, &json!({ "version": 2 })).await?.expect(200)?;
    // To take rights away one person is enough, but a prohibition is a right's end that two agreed on.
    writer.post(&format!("{}/deactivate", path(&heal)?), &json!({})).await?.expect(200)?;
    let mut freeze = allowing("freeze", "nobody", &[]);
    freeze["rules"][0] = json!({ "id": "all", "effect": "DENY", "reason": "frozen" });
    let address = format!("{}/activate", path(&freeze)?);
    store(&writer, &freeze).await?.expect(201)?;
    other.post(&address, &json!({ "version": 1 })).await?.expect(200)?;
    for person in [&writer, &other] {
        let refused = person.post(&format!("{}/deactivate", path(&freeze)?), &json!({})).await?;
        assert_eq!((refused.status, refused.code()), (403, "four-eyes"), "{}", refused.text);
    }
    freeze["mode"] = json!("off");
    store(&writer, &freeze).await?.expect(200)?;
    other.post(&address, &json!({ "version": 2 })).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn no_change_of_the_set_lends_its_entry_to_what_somebody_slipped_in() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    for (name, client) in [("heal", "bot"), ("other", "helper")] {
        activate(&admin, &allowing(name, client, &["restart"])).await?.expect(200)?;
    }
    let database = &stack.control_plane_database().superuser_url;
    let wider = allowing("slipped", "intruder", &["restart"]);
    store(&admin, &wider).await?.expect(201)?;
    execute(database, "update policies set active_version = 1 where name = 'slipped'".to_owned()).await?;

    let version = json!({ "version": 1 });
    for (refused, what) in [
        (admin.post("/api/v1/policies/other/deactivate", &json!({})).await?, "a deactivation"),
        (admin.post("/api/v1/policies/heal/activate", &version).await?, "an activation"),
    ] {
        assert_eq!((refused.status, refused.code()), (503, "state-not-in-log"), "{what}: {}", refused.text);
    }
    // What was slipped in can be put out, and what was put out by hand as well: then decisions are taken again.
    admin.post("/api/v1/policies/slipped/deactivate", &json!({})).await?.expect(200)?;
    assert_eq!(ask(&admin, "intruder").await?["decision"], "DENY");
    execute(database, "update policies set active_version = null where name = 'heal'".to_owned()).await?;
    admin.post("/api/v1/policies/heal/deactivate", &json!({})).await?.expect(200)?;
    assert_eq!(ask(&admin, "helper").await?["decision"], "ALLOW");
    // The list of what was activated is held against its own digest.
    execute(
        database,
        "update policy_sets set members = '[]'; update policies set active_version = 1 where name = 'slipped'".to_owned(),
    )
    .await?;
    let refused = admin.post("/api/v1/policies/slipped/deactivate", &json!({})).await?;
    assert_eq!((refused.status, refused.code()), (503, "state-not-in-log"), "{}", refused.text);
    Ok(())
}

#[tokio::test]
async fn a_policy_goes_back_to_the_version_that_was_active_before() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    for client in ["first", "second"] {
        activate(&admin, &allowing("heal", client, &["restart"])).await?.expect(200)?;
    }
    store(&admin, &allowing("heal", "third", &["restart"])).await?.expect(200)?;
    let found = admin.get("/api/v1/policies/heal").await?.expect(200)?.body;
    assert_eq!((&found["activeVersion"], &found["previousVersion"]), (&json!(2), &json!(1)));

    admin.post("/api/v1/policies/heal/activate", &json!({ "version": 1 })).await?.expect(200)?;
    assert_eq!(ask(&admin, "first").await?["decision"], "ALLOW");
    assert_eq!(ask(&admin, "second").await?["decision"], "DENY");
    // Back and forth, also past a time in which it did not count.
    admin.post("/api/v1/policies/heal/deactivate", &json!({})).await?.expect(200)?;
    let found = admin.get("/api/v1/policies/heal").await?.expect(200)?.body;
    assert_eq!((&found["activeVersion"], &found["previousVersion"]), (&json!(null), &json!(1)));
    let steps = entries(&admin, "kind=policy.activated").await?;
    assert_eq!(steps.iter().map(|step| step["data"]["version"].clone()).collect::<Vec<_>>(), [1, 2, 1]);
    Ok(())
}

#[tokio::test]
async fn nobody_activates_or_deactivates_on_what_they_have_not_seen() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let heal = allowing("heal", "bot", &["restart"]);
    activate(&admin, &heal).await?.expect(200)?;
    let seen = admin.get(&path(&heal)?).await?.headers["etag"].clone();
    store(&admin, &allowing("heal", "other", &["restart"])).await?.expect(200)?;
    let act = async |verb: &str, body: serde_json::Value, tag: &HeaderValue| {
        let request = admin.request(Method::POST, &format!("{}/{verb}", path(&heal)?));
        request.header("if-match", tag.to_str()?).json(&body).send().await
    };
    for (verb, body) in [("activate", json!({ "version": 2 })), ("deactivate", json!({}))] {
        let refused = act(verb, body, &seen).await?;
        assert_eq!(refused.status, 412, "{verb}: {}", refused.text);
    }
    assert_eq!(ask(&admin, "bot").await?["decision"], "ALLOW");
    let seen = admin.get(&path(&heal)?).await?.headers["etag"].clone();
    act("deactivate", json!({}), &seen).await?.expect(200)?;
    assert_eq!(ask(&admin, "bot").await?["decision"], "DENY");
    Ok(())
}
