//! Policies from the command line: stored, tried on questions and on history, synced from a folder.

use std::path::Path;

use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use serde_json::{Value, json};

use super::Terminal;

fn write(folder: &Path, name: &str, document: &Value) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, document.to_string())?;
    Ok(path.display().to_string())
}

/// Lets somebody restart, whatever it is.
fn restarts(principal: &str) -> Value {
    json!({
        "schema": "aegis.policy/v1", "name": "restarts", "description": "Who may restart.",
        "rules": [{
            "id": "restart", "effect": "ALLOW", "reason": "harmless",
            "match": { "principals": [principal], "actions": ["restart"] },
        }],
    })
}

#[tokio::test]
async fn policies_are_checked_stored_and_activated_from_files() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = Terminal::of_admin(&stack)?;
    let folder = tempfile::tempdir()?;
    let mut policy = restarts("user:*");
    let good = write(folder.path(), "good.json", &policy)?;
    policy["rules"][0]["effect"] = json!("PERHAPS");
    let bad = write(folder.path(), "bad.json", &policy)?;

    let said = admin.run(&["policy", "validate", &good, &bad]).await?;
    let checked = said.expect(2)?;
    assert_eq!((&checked["items"][0]["valid"], &checked["items"][1]["valid"]), (&json!(true), &json!(false)));
    assert!(said.stderr.contains("/rules/0/effect"), "{}", said.stderr);
    assert_eq!(admin.run(&["policy", "apply", &bad]).await?.code, Some(2));

    // Stored twice, activated by hand, then stored and activated in one go.
    admin.run(&["policy", "apply", &good]).await?.expect(0)?;
    admin.run(&["policy", "apply", &good]).await?.expect(0)?;
    let active = |listed: &Value| listed["items"][0]["activeVersion"].clone();
    assert_eq!(active(&admin.run(&["policy", "list"]).await?.expect(0)?), Value::Null);
    admin.run(&["policy", "activate", "restarts", "--version", "1"]).await?.expect(0)?;
    assert_eq!(active(&admin.run(&["policy", "list"]).await?.expect(0)?), 1);
    admin.run(&["policy", "apply", &good, "--activate"]).await?.expect(0)?;
    assert_eq!(active(&admin.run(&["policy", "list"]).await?.expect(0)?), 3);

    let document = admin.run(&["policy", "get", "restarts", "--document"]).await?.expect(0)?;
    assert_eq!(document["rules"][0]["effect"], "ALLOW");
    admin.run(&["policy", "deactivate", "restarts"]).await?.expect(0)?;
    assert_eq!(active(&admin.run(&["policy", "list"]).await?.expect(0)?), Value::Null);
    assert_eq!(admin.run(&["policy", "get", "absent"]).await?.code, Some(6));
    Ok(())
}

#[tokio::test]
async fn a_draft_is_tried_on_questions_and_on_history_and_gates_tell_by_their_exit_codes() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (Terminal::of_admin(&stack)?, Terminal::of_client(&stack)?);
    let principal = stack.registered_client().principal.as_str();
    let folder = tempfile::tempdir()?;
    let active = write(folder.path(), "active.json", &restarts(principal))?;
    let draft = write(folder.path(), "draft.json", &restarts("client:somebody-else"))?;
    admin.run(&["policy", "apply", &active, "--activate"]).await?.expect(0)?;

    let target = format!("k8s/{}/{}/Deployment/absent", stack.cluster_name(), stack.namespace());
    let simulate = ["policy", "simulate", "restart", &target, "--principal", principal];
    assert_eq!(admin.run(&simulate).await?.expect(0)?["decision"]["effect"], "ALLOW");
    let denied = admin.run(&[&simulate[..], &["--with", &draft, "--all-rules"]].concat()).await?.expect(3)?;
    assert_eq!(denied["rules"][0]["mismatches"], json!(["principals"]), "{denied}");
    let can = |found: &Value| {
        let subjects = found["subjects"].as_array().cloned().unwrap_or_default();
        subjects.iter().any(|subject| subject["principal"] == principal)
    };
    let who = ["policy", "who-can", "restart", &target];
    assert!(can(&admin.run(&who).await?.expect(0)?));
    assert!(!can(&admin.run(&[&who[..], &["--with", &draft]].concat()).await?.expect(0)?));

    // One decision to be taken again: the draft would have denied it.
    let place = format!("{}/deployment/absent", stack.namespace());
    client.run(&["heal", "restart", &place, "--wait"]).await?.expect(4)?;
    let replay = ["policy", "replay", "--since", "1h", "--with", &draft];
    let report = admin.run(&replay).await?.expect(1)?["report"].clone();
    assert_eq!((&report["decisions"], &report["newlyDenied"]), (&json!(1), &json!(1)), "{report}");
    admin.run(&[&replay[..], &["--accept", "newly-allowed"]].concat()).await?.expect(1)?;
    admin.run(&[&replay[..], &["--accept", "newly-denied,newly-allowed"]].concat()).await?.expect(0)?;
    admin.run(&["policy", "replay", "--since", "1h", "--min-replayable", "100"]).await?.expect(0)?;
    let usage = admin.run(&["policy", "usage"]).await?.expect(0)?;
    assert_eq!((&usage["items"][0]["rule"], &usage["items"][0]["decisions"]), (&json!("restart"), &json!(1)));
    assert_eq!(admin.run(&["policy", "usage", "--unused"]).await?.expect(0)?["items"], json!([]));
    Ok(())
}

#[tokio::test]
async fn a_folder_becomes_what_is_active_and_a_version_comes_back_by_hand() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = Terminal::of_admin(&stack)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().display().to_string();
    write(folder.path(), "restarts.json", &restarts("client:first"))?;

    let plan = ["policy", "sync", &path, "--managed-by", "acme/policies", "--plan"];
    let planned = admin.run(&plan).await?.expect(1)?;
    assert_eq!(planned["steps"][0]["change"], "create", "{planned}");
    let sync = &plan[..5];
    admin.run(sync).await?.expect(0)?;
    assert_eq!(admin.run(&plan).await?.expect(0)?["steps"], json!([]));
    let changed = write(folder.path(), "restarts.json", &restarts("client:second"))?;
    admin.run(sync).await?.expect(0)?;

    // What belongs to the folder is changed there, or released first.
    let refused = admin.run(&["policy", "apply", &changed]).await?;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("acme/policies"), "{}", refused.stderr);
    admin.run(&["policy", "release", "restarts"]).await?.expect(0)?;
    let back = admin.run(&["policy", "rollback", "restarts"]).await?.expect(0)?;
    assert_eq!((&back["activeVersion"], &back["previousVersion"]), (&json!(1), &json!(2)), "{back}");
    Ok(())
}
