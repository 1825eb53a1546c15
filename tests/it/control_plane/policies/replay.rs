//! Past decisions under other policies, and which rules were used.

use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::scene::{activate, allowing, ask, path, store};
use crate::control_plane::log::entries;
use crate::executor::bench::now;

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

#[tokio::test]
async fn a_replay_tells_what_would_have_been_decided_otherwise_and_by_which_rule() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    activate(&admin, &allowing("heal", "a", &["restart"])).await?.expect(200)?;
    for client in ["a", "a", "a", "b", "b", "c"] {
        ask(&admin, client).await?;
    }
    // The draft lets b instead of a.
    let draft = allowing("heal", "b", &["restart"]);
    let request = json!({ "since": LONG_AGO, "proposal": { "documents": [draft] } });
    let done = admin.post("/api/v1/policy/replay", &request).await?.expect(200)?.body;
    let report = &done["report"];
    for (field, count) in [
        ("decisions", 6),
        ("replayable", 6),
        ("unchanged", 1),
        ("newlyAllowed", 2),
        ("newlyDenied", 3),
        ("changedLimits", 0),
    ] {
        assert_eq!(report[field], count, "{field}: {report}");
    }
    let by_rule = json!([{ "policy": "heal", "rule": "bots", "newlyAllowed": 2, "newlyDenied": 3,
        "changedApprovals": 0, "changedLimits": 0, "changedConditions": 0 }]);
    assert_eq!(report["byRule"], by_rule);
    let samples = report["samples"].as_array().unwrap();
    let of = |kind: &str| samples.iter().filter(|sample| sample["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("newlyAllowed").len(), of("newlyDenied").len()), (2, 3), "{report}");
    assert_eq!(of("newlyDenied")[0]["question"]["principal"], "client:a");

    // A span that ends before the first decision, and what nothing changes.
    let empty = json!({ "since": LONG_AGO, "until": "2020-01-02T00:00:00Z" });
    assert_eq!(
        admin.post("/api/v1/policy/replay", &empty).await?.expect(200)?.body["report"]["decisions"],
        0
    );
    let same = admin.post("/api/v1/policy/replay", &json!({ "since": LONG_AGO })).await?.expect(200)?.body;
    assert_eq!((&same["report"]["unchanged"], &same["report"]["byRule"]), (&json!(6), &json!([])));

    let recorded = entries(&admin, "kind=policy.replayed").await?;
    let first = &recorded[0];
    assert_eq!((recorded.len(), &first["id"]), (3, &done["entryId"]));
    assert_eq!(first["data"]["report"]["newlyDenied"], 3);
    assert_eq!(first["data"]["report"]["samples"], Value::Null, "questions stay out of the log");
    Ok(())
}

#[tokio::test]
async fn where_a_replay_is_asked_for_only_one_of_exactly_what_becomes_active_will_do() -> Result<()> {
    let settings = vec![("POLICY_REPLAY_DAYS".to_owned(), "30".to_owned())];
    let options = StackOptions { control_plane_settings: settings, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    let admin = stack.admin()?;
    let heal = allowing("heal", "a", &["restart"]);
    let refused = activate(&admin, &heal).await?;
    assert_eq!((refused.status, refused.code()), (409, "replay-required"), "{}", refused.text);
    let replay = |mut request: Value, document: Value| {
        request["proposal"] = json!({ "documents": [document] });
        let admin = admin.clone();
        async move {
            let done = admin.post("/api/v1/policy/replay", &request).await?.expect(200)?.body;
            anyhow::Ok(done["entryId"].clone())
        }
    };
    let address = format!("{}/activate", path(&heal)?);
    let whole = json!({ "since": LONG_AGO });
    let recently = json!({ "since": now() - SignedDuration::from_hours(29 * 24) });
    let before = json!({ "since": LONG_AGO, "until": now() - SignedDuration::from_hours(25) });
    for (what, replayed) in [
        ("other policies", replay(whole.clone(), allowing("heal", "b", &["restart"])).await?),
        ("too short a span", replay(recently, heal.clone()).await?),
        ("too long ago", replay(before, heal.clone()).await?),
    ] {
        let refused = admin.post(&address, &json!({ "version": 1, "replay": replayed })).await?;
        assert_eq!((refused.status, refused.code()), (409, "replay-required"), "{what}: {}", refused.text);
    }
    let this = replay(whole, heal.clone()).await?;
    let wrong = admin
        .post(&address, &json!({ "version": 1, "replay": "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90" }))
        .await?;
    assert_eq!(wrong.code(), "replay-required", "{}", wrong.text);
    admin.post(&address, &json!({ "version": 1, "replay": this })).await?.expect(200)?;
    let activated = &entries(&admin, "kind=policy.activated").await?[0];
    assert_eq!(activated["data"]["replay"]["entryId"], this, "{activated}");
    // Rights are taken away without one.
    admin.post(&format!("{}/deactivate", path(&heal)?), &json!({})).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn rules_are_listed_with_their_last_use_and_those_never_used_without() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let mut heal = allowing("heal", "a", &["restart"]);
    let unused = json!({ "id": "unused", "effect": "DENY", "match": { "principals": ["client:nobody"] } });
    heal["rules"].as_array_mut().unwrap().push(unused);
    activate(&admin, &heal).await?.expect(200)?;
    store(&admin, &allowing("resting", "a", &["restart"])).await?.expect(201)?;
    for client in ["a", "a", "b"] {
        ask(&admin, client).await?;
    }
    let usage = admin.get(&format!("/api/v1/policy/usage?since={LONG_AGO}")).await?.expect(200)?.body;
    let rules = usage["rules"].as_array().unwrap();
    let found: Vec<(&str, &Value)> =
        rules.iter().map(|rule| (rule["rule"].as_str().unwrap(), &rule["decisions"])).collect();
    assert_eq!(found, [("bots", &json!(2)), ("unused", &json!(0))], "{usage}");
    assert!(rules[0]["lastUsedAt"].is_string() && rules[1]["lastUsedAt"].is_null(), "{usage}");
    Ok(())
}
