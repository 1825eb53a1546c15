//! The starter policies of `policies/`: each can be read, and does what it says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aegis_policy::{Decision, Effect, Policy, PolicySet, Question, document, evaluate};
use serde_json::{Value, json};

fn starter_policies() -> Vec<(String, Policy)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let policy = document::parse(&std::fs::read(&path).unwrap())
                .unwrap_or_else(|problems| panic!("{}: {problems:?}", path.display()));
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), policy)
        })
        .collect()
}

fn ask(
    principal: &str,
    roles: &[&str],
    action: &str,
    resource: &str,
    params: &Value,
    severity: &Value,
) -> Decision {
    let policies = starter_policies().into_iter().map(|(_, policy)| (1, policy)).collect();
    let mut question = json!({
        "principal": principal, "roles": roles, "action": action, "resource": resource, "params": params
    });
    if !severity.is_null() {
        question["metadata"] = json!({ "severity": severity });
    }
    let question: Question = serde_json::from_value(question).unwrap();
    evaluate(&PolicySet::new(policies).unwrap(), &question, None, "2026-11-22T03:00:00Z".parse().unwrap())
}

#[test]
fn every_starter_policy_is_named_like_its_file() {
    let policies = starter_policies();
    assert!(!policies.is_empty());
    for (file, policy) in policies {
        assert_eq!(policy.name(), file);
        assert!(!policy.description().is_empty(), "{file}");
    }
}

#[test]
fn the_starter_policies_together_answer_as_they_describe() {
    let (shop, system) = ("k8s/local/shop/Deployment/web", "k8s/local/kube-system/Deployment/dns");
    let none = || json!({});
    let to = |replicas: u32| json!({ "replicas": replicas });
    let bot = "client:demo-bot";
    for (principal, roles, action, resource, params, severity, expected) in [
        (bot, &[][..], "rollback", shop, none(), json!("critical"), "ALLOW bot-heals"),
        (bot, &[], "restart", shop, none(), json!("high"), "ALLOW bot-heals"),
        (bot, &[], "restart", shop, none(), json!("low"), "DENY"),
        (bot, &[], "restart", shop, none(), Value::Null, "DENY"),
        (bot, &[], "restart", shop, none(), json!(1), "DENY"),
        (bot, &[], "scale", shop, to(10), json!("high"), "ALLOW bot-scales"),
        (bot, &[], "scale", shop, to(11), json!("high"), "DENY"),
        (bot, &[], "scale", shop, to(0), json!("high"), "DENY no-scale-to-zero"),
        (bot, &[], "scale", shop, none(), json!("high"), "DENY no-scale-to-zero"),
        (bot, &[], "restart", "k8s/local/bank/Deployment/web", none(), json!("high"), "DENY"),
        (bot, &[], "restart", system, none(), json!("high"), "DENY no-system"),
        ("client:other", &[], "restart", shop, none(), json!("high"), "DENY"),
        ("client:other", &["admin"], "restart", shop, none(), json!("high"), "DENY"),
        ("user:7", &["admin"], "restart", shop, none(), Value::Null, "ALLOW people-heal"),
        ("user:7", &["sre"], "scale", shop, to(50), Value::Null, "ALLOW people-heal"),
        ("user:7", &["sre"], "scale", shop, to(0), Value::Null, "DENY no-scale-to-zero"),
        ("user:7", &["user", "auditor"], "restart", shop, none(), Value::Null, "DENY"),
        ("user:7", &["admin"], "restart", system, none(), Value::Null, "DENY no-system"),
        ("user:7", &["admin"], "grant", "aegis/role/user", none(), Value::Null, "ALLOW admins-give"),
        (
            "user:7",
            &["admin"],
            "grant",
            "aegis/role/sre-lead",
            none(),
            Value::Null,
            "ALLOW admins-give by-two",
        ),
        ("user:7", &["admin"], "grant", "aegis/role/admin", none(), Value::Null, "ALLOW admins-give by-two"),
        ("user:7", &["user"], "grant", "aegis/role/user", none(), Value::Null, "DENY"),
    ] {
        let decision = ask(principal, roles, action, resource, &params, &severity);
        let mut found = decision.effect.to_string();
        for rule in &decision.rules {
            found = format!("{found} {}", rule.rule);
        }
        assert_eq!(found, expected, "{principal} {roles:?} {action} {resource} {params} {severity}");
    }
    assert_eq!(ask(bot, &[], "restart", shop, &none(), &json!("high")).effect, Effect::Allow);
}
