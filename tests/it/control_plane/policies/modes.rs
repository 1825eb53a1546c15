//! Policies that are decided beside the answer: what they would have changed is told, stored and counted.

use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{activate, allowing, store, test};
use crate::control_plane::log::{entries, metric};

/// A policy that denies restarts, in some mode.
fn denying(name: &str, mode: &str) -> Value {
    json!({
        "schema": "aegis.policy/v1", "name": name, "mode": mode,
        "rules": [{ "id": "no-restarts", "effect": "DENY", "reason": "later", "match": { "actions": ["restart"] } }],
    })
}

#[tokio::test]
async fn policies_that_warn_or_stand_in_the_shadow_change_no_answer_but_are_stored_and_counted() -> Result<()>
{
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, client) = (stack.admin()?, stack.client()?);
    let principal = client.get("/api/v1/whoami").await?.expect(200)?.body["principal"].clone();
    let name = principal.as_str().and_then(|name| name.strip_prefix("client:")).context("a client")?;
    activate(&admin, &allowing("heal", name, &["restart"])).await?.expect(200)?;
    activate(&admin, &denying("soon", "warn")).await?.expect(200)?;
    let mut wider = denying("next", "shadow");
    let grant = json!({ "id": "scale", "effect": "ALLOW", "match": { "actions": ["scale"] } });
    wider["rules"].as_array_mut().context("rules")?.push(grant);
    activate(&admin, &wider).await?.expect(200)?;

    let ask = async |action: &str| {
        let question = json!({ "action": action, "resource": "k8s/local/shop/Deployment/web" });
        let answer = client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?.body;
        let path = format!("/api/v1/decisions/{}", answer["decisionId"].as_str().context("an id")?);
        let (own, all) = (client.get(&path).await?.expect(200)?, admin.get(&path).await?.expect(200)?);
        anyhow::Ok((answer, own.body, all.body))
    };
    let (answer, own, all) = ask("restart").await?;
    assert_eq!((&answer["decision"], &answer["rules"][0]["policy"]), (&json!("ALLOW"), &json!("heal")));
    assert_eq!(answer["warnings"][0]["policy"], "soon", "whoever asked is warned: {answer}");
    assert_eq!(own["warnings"], answer["warnings"]);
    assert_eq!((&all["shadow"]["effect"], &all["shadow"]["reason"]), (&json!("DENY"), &json!("later")));
    assert!(
        !answer.to_string().contains("next") && own.get("shadow").is_none(),
        "but not told of the shadow"
    );

    // A grant in the shadow grants nothing.
    let (answer, _, all) = ask("scale").await?;
    assert_eq!((&answer["decision"], &answer.get("warnings")), (&json!("DENY"), &None));
    assert_eq!(all["shadow"]["effect"], "ALLOW");
    // And what nothing would change is as if they were not there.
    let (_, _, all) = ask("rollback").await?;
    assert!(all.get("shadow").is_none() && all.get("warnings").is_none(), "{all}");

    let made = entries(&admin, "kind=decision.made").await?;
    let diverging: Vec<Vec<&str>> = made
        .iter()
        .map(|entry| {
            let all = entry["data"]["divergences"].as_array().into_iter().flatten();
            all.filter_map(|divergence| divergence["rule"].as_str()).collect()
        })
        .collect();
    assert_eq!(diverging, [vec!["no-restarts", "no-restarts"], vec!["scale"], vec![]]);
    for (policy, mode, count) in [("soon", "warn", 1.0), ("next", "shadow", 2.0)] {
        let line = format!("aegis_policy_divergences_total{{policy=\"{policy}\",mode=\"{mode}\"}}");
        assert!((metric(&stack, &line).await? - count).abs() < f64::EPSILON, "{line} {count}");
    }
    // Their rules are not among those never used.
    let usage = admin.get("/api/v1/policy/usage?since=2020-01-01T00:00:00Z").await?.expect(200)?.body;
    let used = usage["rules"].as_array().context("rules")?.iter();
    let used: Vec<String> = used
        .map(|rule| format!("{} {}", rule["rule"].as_str().unwrap_or_default(), rule["decisions"]))
        .collect();
    assert_eq!(used, ["bots 1", "no-restarts 1", "scale 1", "no-restarts 1"]);
    Ok(())
}

#[tokio::test]
async fn a_policy_in_the_shadow_is_tested_as_if_it_counted_before_it_may_stand_there() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    let mut draft = allowing("heal", "bot", &["restart"]);
    draft["mode"] = json!("shadow");
    draft["tests"] = json!([test("the bot will", "bot", "DENY")]);
    assert_eq!(activate(&admin, &draft).await?.code(), "policy-tests-failed");
    draft["tests"] = json!([test("the bot will", "bot", "ALLOW")]);
    activate(&admin, &draft).await?.expect(200)?;
    // No grant stands in a policy that only warns.
    draft["mode"] = json!("warn");
    let refused = store(&admin, &draft).await?;
    assert_eq!((refused.status, refused.code()), (422, "policy-invalid"), "{}", refused.text);
    Ok(())
}
