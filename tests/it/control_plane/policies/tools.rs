//! Check, diff, test, who-can and simulate, asked of a control plane.

use aegis_tests::stack::{Stack, StackOptions};
use anyhow::Result;
use serde_json::{Value, json};

use super::scene::{activate, allowing, test};
use crate::control_plane::log::entries;

#[tokio::test]
async fn drafts_are_checked_compared_and_tested_with_what_is_known_of_people_and_executors() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    stack.new_person("sigrid", &["sre-lead"]).await?;
    activate(&admin, &allowing("heal", "bot", &["restart"])).await?.expect(200)?;
    let clean = admin.post("/api/v1/policy/check", &json!({})).await?.expect(200)?.body;
    assert_eq!(clean, json!({ "findings": [], "undecided": [] }));

    let same = allowing("same", "bot", &["restart"]);
    let checked =
        admin.post("/api/v1/policy/check", &json!({ "documents": [same] })).await?.expect(200)?.body;
    assert_eq!(
        (&checked["findings"][0]["kind"], &checked["findings"][0]["policy"]),
        (&json!("redundant"), &json!("same"))
    );
    assert_eq!(checked["findings"][0]["decision"]["effect"], "ALLOW", "with the answer to its question");

    let mut wider = allowing("heal", "*", &["restart"]);
    let proposal = json!({ "documents": [wider.clone()] });
    let diff = admin.post("/api/v1/policy/diff", &proposal).await?.expect(200)?.body;
    assert_eq!(diff["gained"][0]["rules"], json!([{ "policy": "heal", "rule": "bots" }]), "{diff}");
    assert_eq!((&diff["lost"], &diff["changed"]), (&json!([]), &json!([])));
    let diff = admin.post("/api/v1/policy/diff", &json!({ "without": ["heal"] })).await?.expect(200)?.body;
    assert_eq!(diff["lost"].as_array().unwrap().len(), 1, "{diff}");

    wider["tests"] = json!([test("anybody", "x", "ALLOW"), test("nobody", "x", "DENY")]);
    let tested = admin.post("/api/v1/policy/test", &json!({ "documents": [wider] })).await?.expect(200)?.body;
    assert_eq!(tested["passed"], false);
    assert_eq!(tested["policies"]["heal"]["results"][1]["differences"][0]["field"], "decision", "{tested}");
    assert_eq!(tested["policies"]["heal"]["coverage"][0]["notApplied"], false);

    let broken = json!({ "documents": [allowing("heal", "bot", &["restrat"])] });
    for tool in ["check", "diff", "test"] {
        let refused = admin.post(&format!("/api/v1/policy/{tool}"), &broken).await?;
        assert_eq!((refused.status, refused.code()), (422, "policy-invalid"), "{tool}: {}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], "/documents/0/rules/0/match/actions/0");
    }
    Ok(())
}

#[tokio::test]
async fn an_executor_that_does_not_allow_a_namespace_is_known_to_the_check() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    stack.allow_everything().await?;
    // The executor reports its allowlist with its first answer.
    client.ask(&stack.action("restart", "Deployment", "absent", &json!({})), 5).await?;
    let mut draft = allowing("bank", "bot", &["restart"]);
    draft["rules"][0]["match"]["resources"] = json!(["k8s/local/bank/**"]);
    let checked = admin
        .post("/api/v1/policy/check", &json!({ "documents": [draft], "whole": true }))
        .await?
        .expect(200)?
        .body;
    let kinds: Vec<&Value> =
        checked["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
    assert_eq!(kinds, [&json!("namespace-unserved")], "{checked}");
    Ok(())
}

#[tokio::test]
async fn who_can_do_something_is_said_by_rule_and_by_name() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let sigrid = stack.new_person("sigrid", &["sre-lead"]).await?;
    let sigrid = sigrid.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();
    let mut leads = allowing("leads", "nobody", &[]);
    leads["rules"][0]["match"] = json!({ "roles": ["sre-lead"], "actions": ["restart"] });
    leads["rules"][0]["time"] =
        json!({ "zone": "UTC", "windows": [{ "days": ["mon-sun"], "from": "00:00", "to": "24:00" }] });
    activate(&admin, &leads).await?.expect(200)?;
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    let found = admin.post("/api/v1/policy/who-can", &question).await?.expect(200)?.body;
    assert_eq!(
        (&found["grants"][0]["policy"], &found["grants"][0]["roles"]),
        (&json!("leads"), &json!(["sre-lead"]))
    );
    let people: Vec<&Value> =
        found["subjects"].as_array().unwrap().iter().map(|subject| &subject["principal"]).collect();
    assert_eq!(people, [&sigrid], "{found}");
    let nobody = json!({ "action": "scale", "resource": "k8s/local/shop/Deployment/web" });
    let found = admin.post("/api/v1/policy/who-can", &nobody).await?.expect(200)?.body;
    assert_eq!((&found["grants"], &found["subjects"]), (&json!([]), &json!([])));
    let refused =
        admin.post("/api/v1/policy/who-can", &json!({ "action": "scale", "resource": "web" })).await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    Ok(())
}

#[tokio::test]
async fn a_simulation_shows_every_comparison_and_records_nothing() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    activate(&admin, &allowing("heal", "bot", &["restart"])).await?.expect(200)?;
    let mut draft = allowing("heal", "bot", &["restart"]);
    draft["rules"][0]["when"] = json!({ "path": "target.rollout", "op": "eq", "value": "failed" });
    let facts = json!({
        "observedAt": "2026-11-20T12:00:00Z", "uid": "u", "generation": 1, "readyReplicas": 1, "availableReplicas": 1,
        "updatedReplicas": 1, "paused": false, "rollout": "complete",
    });
    let question = json!({
        "principal": "client:bot", "action": "restart", "resource": "k8s/local/shop/Deployment/web",
        "at": "2026-11-20T12:00:10Z", "facts": facts,
    });
    let before = entries(&admin, "kind=decision.made").await?.len();
    let active = admin.post("/api/v1/policy/simulate", &question).await?.expect(200)?.body;
    assert_eq!(active["decision"]["effect"], "ALLOW");
    let mut asked = question.clone();
    asked["proposal"] = json!({ "documents": [draft] });
    let drafted = admin.post("/api/v1/policy/simulate", &asked).await?.expect(200)?.body;
    assert_eq!(drafted["decision"]["effect"], "DENY");
    let comparison = &drafted["rules"][0]["comparisons"][0];
    assert_eq!(
        (&comparison["found"], &comparison["verdict"]),
        (&json!("complete"), &json!("false")),
        "{drafted}"
    );
    assert_eq!(drafted["explanation"]["nearestMiss"]["rule"], "bots");
    asked["at"] = json!("2026-11-20T12:05:00Z");
    let stale = admin.post("/api/v1/policy/simulate", &asked).await?.expect(200)?.body;
    assert_eq!(stale["rules"][0]["comparisons"][0]["verdict"]["unknown"]["cause"], "stale", "{stale}");
    assert_eq!(entries(&admin, "kind=decision.made").await?.len(), before);
    Ok(())
}
