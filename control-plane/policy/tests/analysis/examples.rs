//! Each kind of finding and of change, on rules that people could have written.

use std::collections::{BTreeMap, BTreeSet};

use aegis_policy::analyse::{self, Checked, Circumstances, Subject, check, diff, who_can};
use aegis_policy::{Effect, PolicySet, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A Friday.
fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

const STEPS: u64 = 1_000_000;

fn of(rules: &Value) -> PolicySet {
    super::set(&[json!({ "schema": "aegis.policy/v1", "name": "p", "rules": rules })])
}

fn found(checked: &Checked) -> Vec<String> {
    checked.findings.iter().map(|finding| format!("{} {}", finding.rule, finding.kind)).collect()
}

fn names(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_finding_is_found_and_nothing_else() {
    let set = of(&json!([
        { "id": "bots", "effect": "ALLOW", "match": { "principals": ["client:*"], "resources": ["k8s/prod/shop/**", "k8s/prod/billing/**"] } },
        { "id": "web-bot", "effect": "ALLOW", "match": { "principals": ["client:web"], "resources": ["k8s/prod/shop/Deployment/web"] } },
        { "id": "no-system", "effect": "DENY", "match": { "resources": ["k8s/*/kube-*/**"] } },
        { "id": "dns", "effect": "ALLOW", "match": { "resources": ["k8s/prod/kube-system/Deployment/dns"] } },
        { "id": "contradiction", "effect": "ALLOW", "when": { "all": [
            { "path": "metadata.level", "op": "lt", "value": 3 }, { "path": "metadata.level", "op": "gt", "value": 4 } ] } },
        { "id": "wrong-kind", "effect": "ALLOW", "match": { "actions": ["restart-pod"], "resources": ["k8s/*/*/Deployment/*"] } },
        { "id": "old", "effect": "ALLOW", "match": { "roles": ["sre"] }, "expiresAt": "2026-11-01T00:00:00Z" },
        { "id": "no-such-sunday", "effect": "DENY", "time": { "zone": "UTC", "windows": [{ "days": ["sun"], "dates": ["2026-12-24"], "from": "00:00", "to": "24:00" }] } },
        { "id": "care", "effect": "REQUIRE", "match": { "resources": ["k8s/prod/shop/**"] }, "approvals": [{ "role": "lead", "min": 1 }, { "role": "owner", "min": 2 }] }
    ]));
    let holders = BTreeMap::from([
        ("lead".to_owned(), names(&["user:1", "user:2"])),
        ("owner".to_owned(), names(&["user:3"])),
    ]);
    let allowlists = BTreeMap::from([("prod".to_owned(), names(&["shop"]))]);
    let circumstances = Circumstances { holders: Some(holders), allowlists: Some(allowlists) };
    let checked = check(&set, &circumstances, now(), STEPS);
    assert_eq!(checked.undecided, []);
    assert_eq!(
        found(&checked),
        [
            "bots namespace-unserved",
            "web-bot redundant",
            "dns shadowed",
            "contradiction unreachable",
            "wrong-kind unreachable",
            "old expired",
            "no-such-sunday never-opens",
            "care approval-impossible",
        ]
    );
    assert!(checked.findings[0].message.contains("k8s/prod/billing/**"), "{}", checked.findings[0].message);
    assert_eq!(checked.findings[2].related[0].rule, "no-system");
}

#[test]
fn who_is_alone_in_a_role_cannot_approve_their_own_action() {
    let set = of(&json!([
        { "id": "people", "effect": "ALLOW", "match": { "principals": ["user:*"] }, "approvals": [{ "role": "lead", "min": 1 }] }
    ]));
    let of = |people: &[&str]| Circumstances {
        holders: Some(BTreeMap::from([("lead".to_owned(), names(people))])),
        allowlists: None,
    };
    let alone = check(&set, &of(&["user:1"]), now(), STEPS);
    assert_eq!(found(&alone), ["people approval-impossible"]);
    assert_eq!(alone.findings[0].witness.question.principal().as_str(), "user:1");
    assert_eq!(found(&check(&set, &of(&["user:1", "user:2"]), now(), STEPS)), [""; 0]);
}

#[test]
fn an_obligation_makes_a_rule_matter() {
    let set = of(&json!([
        { "id": "all", "effect": "ALLOW" },
        { "id": "all-but-slowly", "effect": "ALLOW", "limits": [{ "type": "cooldown", "per": "target", "seconds": 60 }] },
        { "id": "slower", "effect": "REQUIRE", "limits": [{ "type": "cooldown", "per": "target", "seconds": 600 }] },
        { "id": "as-slow", "effect": "REQUIRE", "match": { "actions": ["scale"] }, "limits": [{ "type": "cooldown", "per": "target", "seconds": 600 }] }
    ]));
    let checked = check(&set, &Circumstances::default(), now(), STEPS);
    // The cooldown of the second is never what counts; the first makes up for what it allows.
    assert_eq!(found(&checked), ["all-but-slowly redundant", "as-slow redundant"]);
}

#[test]
fn what_is_over_budget_or_too_tangled_is_said() {
    let rules = json!([
        { "id": "a", "effect": "ALLOW", "match": { "resources": ["k8s/prod/shop/**"] }, "when": { "all": [
            { "path": "metadata.ip", "op": "cidr", "value": "10.0.0.0/8" }, { "path": "metadata.ip", "op": "prefix", "value": "11." } ] } }
    ]);
    let checked = check(&of(&rules), &Circumstances::default(), now(), STEPS);
    assert_eq!(checked.findings, []);
    assert!(checked.undecided[0].reason.contains("metadata.ip"), "{:?}", checked.undecided);
    let checked = check(&of(&rules), &Circumstances::default(), now(), 3);
    assert_eq!((checked.findings.len(), checked.undecided.is_empty()), (0, false));
    assert!(!diff(&of(&rules), &PolicySet::empty(), now(), 3).undecided.is_empty());
}

#[test]
fn a_diff_shows_access_gained_and_lost_and_obligations_changed() {
    let before = of(&json!([
        { "id": "web", "effect": "ALLOW", "match": { "principals": ["client:web"], "resources": ["k8s/prod/shop/**"] } },
        { "id": "no-db", "effect": "DENY", "match": { "resources": ["k8s/*/*/*/db"] } },
        { "id": "night", "effect": "ALLOW", "match": { "roles": ["sre"] }, "time": { "zone": "UTC", "windows": [{ "days": ["mon-sun"], "from": "20:00", "to": "06:00" }] } }
    ]));
    let after = of(&json!([
        { "id": "web", "effect": "ALLOW", "match": { "principals": ["client:web*"], "resources": ["k8s/prod/shop/**"] },
          "limits": [{ "type": "concurrency", "per": "cluster", "max": 1 }] },
        { "id": "night", "effect": "ALLOW", "match": { "roles": ["sre"] }, "time": { "zone": "UTC", "windows": [{ "days": ["mon-sun"], "from": "20:00", "to": "05:30" }] } }
    ]));
    let diff = diff(&before, &after, now(), STEPS);
    assert_eq!(diff.undecided, []);
    let rules = |changes: &[analyse::Change]| {
        let rules = changes.iter().flat_map(|change| &change.rules);
        rules.map(|rule| rule.rule.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(rules(&diff.gained), names(&["web", "night", "no-db"]));
    assert_eq!(rules(&diff.lost), names(&["night"]));
    let lost_at = diff.lost[0].witness.at.to_string();
    assert!(lost_at.ends_with("T05:30:00Z"), "{lost_at}");
    let obligations: Vec<_> = diff.changed.iter().map(|change| change.obligation.clone().unwrap()).collect();
    assert_eq!(obligations, ["new: limit: 1 at once per cluster"]);
    assert_eq!(diff.changed[0].after.effect, Effect::Allow);
    let nothing = analyse::diff(&before, &before, now(), STEPS);
    assert_eq!(nothing, analyse::Diff::default());
}

#[test]
fn who_can_names_rules_people_and_what_is_demanded() {
    let set = of(&json!([
        { "id": "bots", "effect": "ALLOW", "match": { "principals": ["client:bot"], "resources": ["k8s/prod/**"] },
          "when": { "path": "metadata.severity", "op": "eq", "value": "high" } },
        { "id": "people", "effect": "ALLOW", "match": { "roles": ["sre"], "resources": ["k8s/prod/shop/**"] } },
        { "id": "elsewhere", "effect": "ALLOW", "match": { "roles": ["dev"], "resources": ["k8s/dev/**"] } },
        { "id": "not-now", "effect": "ALLOW", "match": { "roles": ["auditor"] }, "time": { "zone": "UTC", "windows": [{ "days": ["mon"], "from": "00:00", "to": "24:00" }] } },
        { "id": "care", "effect": "REQUIRE", "match": { "principals": ["user:*"] }, "approvals": [{ "role": "lead", "min": 2 }] }
    ]));
    let subject = |principal: &str, roles: &[&str]| Subject {
        principal: principal.to_owned(),
        roles: roles.iter().map(ToString::to_string).collect(),
    };
    let subjects = [
        subject("client:bot", &[]),
        subject("client:other", &[]),
        subject("user:1", &["sre"]),
        subject("user:2", &["dev", "auditor"]),
    ];
    let resource = Resource::parse("k8s/prod/shop/Deployment/web").unwrap();
    let found = who_can(&set, "restart", &resource, &subjects, now(), STEPS);
    assert_eq!(found.undecided, []);
    let grants: Vec<_> =
        found.grants.iter().map(|grant| (grant.rule.rule.as_str(), grant.is_conditional)).collect();
    assert_eq!(grants, [("bots", true), ("people", false)]);
    let people: Vec<_> = found
        .subjects
        .iter()
        .map(|subject| (subject.principal.as_str(), subject.is_conditional, subject.always.len()))
        .collect();
    assert_eq!(people, [("client:bot", true, 0), ("user:1", false, 2)]);
    assert_eq!(found.subjects[1].always, ["approval by at least 2 × lead", "approval by lead within 900 s"]);
}

#[test]
fn five_hundred_rules_are_well_within_the_budget() {
    let mut rules = vec![
        json!({ "id": "no-system", "effect": "DENY", "match": { "resources": ["k8s/*/kube-*/**"] } }),
        json!({ "id": "no-zero", "effect": "DENY", "match": { "actions": ["scale"] },
            "when": { "path": "params.replicas", "op": "lt", "value": 1 } }),
    ];
    for team in 0..500 {
        rules.push(json!({
            "id": format!("team-{team}"), "effect": "ALLOW",
            "match": { "principals": [format!("client:bot-{team}"), format!("client:{team}-*")], "roles": [format!("role-{}", team % 7)],
                "actions": ["restart", "scale"], "resources": [format!("k8s/prod/team-{team}/**"), format!("k8s/dev/team-{team}-*/Deployment/*")] },
            "when": { "any": [{ "path": format!("metadata.key-{}", team % 5), "op": "gt", "value": team % 11 },
                { "path": "metadata.severity", "op": "in", "value": ["high", "critical"] }] },
            "time": { "zone": "Europe/Berlin", "windows": [{ "days": ["mon-fri"], "from": format!("{:02}:00", team % 9), "to": "18:00" }] }
        }));
    }
    let set = of(&json!(rules));
    let checked = check(&set, &Circumstances::default(), now(), analyse::STEPS_DEFAULT);
    assert_eq!((found(&checked), checked.undecided), (vec![], vec![]));
    rules[17]["match"]["roles"] = json!([]);
    let diff = diff(&set, &of(&json!(rules)), now(), analyse::STEPS_DEFAULT);
    assert_eq!((diff.gained.len(), diff.lost.len(), diff.changed.len(), diff.undecided.len()), (1, 0, 0, 0));
}
