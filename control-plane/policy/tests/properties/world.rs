//! A small world, so that generated rules and questions meet often.

use aegis_contract::facts::Facts;
use aegis_policy::{Decision, PolicySet, Question, document as reading, evaluate};
use jiff::Timestamp;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const PRINCIPALS: &[&str] = &["client:bot", "client:other", "user:7", "engine:detector"];
const RESOURCES: &[&str] = &[
    "k8s/prod/shop/Deployment/web",
    "k8s/prod/shop/Pod/web-0",
    "k8s/prod/kube-system/Deployment/dns",
    "k8s/dev/bank/StatefulSet/db",
];

fn comparison() -> impl Strategy<Value = Value> {
    let some = |path: &'static str, op: &'static str, values: Vec<Value>| {
        select(values).prop_map(move |value| json!({ "path": path, "op": op, "value": value }))
    };
    prop_oneof![
        some("metadata.a", "eq", vec![json!("x"), json!(1), json!(true)]),
        some("metadata.a", "neq", vec![json!("x"), json!(2)]),
        some("metadata.b", "in", vec![json!(["x", "y"]), json!([1, 2])]),
        some("metadata.b", "notIn", vec![json!(["x"]), json!([true])]),
        some("metadata.c", "lt", vec![json!(0), json!(1.5)]),
        some("target.replicas", "gte", vec![json!(2), json!(3)]),
        some("target.rollout", "eq", vec![json!("complete"), json!("failed")]),
        some("target.paused", "neq", vec![json!(true)]),
        some("params.replicas", "lte", vec![json!(0), json!(5)]),
        some("resource.namespace", "eq", vec![json!("shop")]),
        some("action", "in", vec![json!(["scale", "restart"])]),
        some("metadata.c", "between", vec![json!([0, 1]), json!([2, 2])]),
        some("metadata.a", "prefix", vec![json!("x"), json!("10.")]),
        some("metadata.b", "suffix", vec![json!("x"), json!(".1")]),
        some("principal", "glob", vec![json!("client:*"), json!("*o*")]),
        some("metadata.a", "cidr", vec![json!("10.0.0.0/8"), json!("::/0")]),
        some("metadata.b", "semver", vec![json!(">=1.2, <2"), json!("1.2.3-rc.1")]),
        some("roles", "anyOf", vec![json!(["sre", "guest"])]),
        some("roles", "allOf", vec![json!(["sre", "admin"])]),
        some("roles", "noneOf", vec![json!(["auditor"])]),
        select(vec!["metadata.a", "metadata.b", "metadata.c", "target.replicas", "target.rollout", "roles"])
            .prop_flat_map(|path| select(vec!["present", "absent"])
                .prop_map(move |op| json!({ "path": path, "op": op }))),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    comparison().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|members| json!({ "all": members })),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|members| json!({ "any": members })),
            inner.prop_map(|member| json!({ "not": member })),
        ]
    })
}

fn patterns(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![Just(Vec::new()), subsequence(of, 1..=of.len())]
}

/// A rule of this effect, all but its id.
pub(crate) fn rule(effect: &'static str) -> impl Strategy<Value = Value> {
    let matching = (
        patterns(&["client:*", "client:bot", "user:*", "*:7"]),
        patterns(&["sre", "a*"]),
        // `scale` stays possible, so that every rule may read its parameter.
        prop_oneof![Just(vec![]), Just(vec!["*"]), Just(vec!["scale", "restart-*"])],
        patterns(&["k8s/prod/**", "k8s/*/shop/*/*", "k8s/*/kube-*/**", "k8s/*/*/*/web*"]),
    );
    (matching, option::of(condition()), when(), demands(effect)).prop_map(
        move |((principals, roles, actions, resources), condition, when, demands)| {
            let mut rule = json!({
                "effect": effect, "reason": format!("{effect} it is"),
                "match": { "principals": principals, "roles": roles, "actions": actions, "resources": resources }
            });
            if let Some(condition) = condition {
                rule["when"] = if effect == "ALLOW" { condition } else { with_absence_said(&condition) };
            }
            for extra in [when, demands] {
                rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            }
            rule
        },
    )
}

/// Fields that say when a rule applies.
fn when() -> impl Strategy<Value = Value> {
    let window = (select(vec!["mon-fri", "sat-sun", "fri"]), select(vec!["00:00", "11:59", "22:00"]))
        .prop_map(|(days, from)| json!({ "days": [days], "from": from, "to": "12:01" }));
    let dates =
        select(vec!["2026-10-01/2026-12-31", "2026-11-20"]).prop_map(|dates| json!({ "dates": [dates] }));
    let instant = || {
        (1_790_000_000..1_800_000_000i64)
            .prop_map(|at| json!(Timestamp::from_second(at).unwrap().to_string()))
    };
    prop_oneof![
        6 => Just(json!({})),
        2 => prop_oneof![window, dates]
            .prop_map(|window| json!({ "time": { "zone": "UTC", "windows": [window] } })),
        1 => Just(json!({ "time": { "calendars": ["nights"] } })),
        1 => Just(json!({ "time": { "except": ["nights"] } })),
        1 => instant().prop_map(|at| json!({ "validFrom": at })),
        1 => instant().prop_map(|at| json!({ "expiresAt": at })),
    ]
}

fn limit() -> impl Strategy<Value = Value> {
    let per = || select(vec![json!("target"), json!("namespace"), json!(["target", "action"])]);
    prop_oneof![
        (per(), 1..4u32)
            .prop_map(|(per, minutes)| json!({ "type": "cooldown", "per": per, "seconds": minutes * 60 })),
        (per(), 1..3u32, 1..5u32).prop_map(
            |(per, hours, max)| json!({ "type": "rate", "per": per, "seconds": hours * 3600, "max": max })
        ),
        (per(), 1..4u32).prop_map(|(per, max)| json!({ "type": "concurrency", "per": per, "max": max })),
        (0..3u32, option::of(0..3u32)).prop_map(|(percent, pods)| {
            let mut limit = json!({ "type": "unavailable", "of": "target", "maxPercent": percent * 10 });
            if let Some(pods) = pods {
                limit["maxPods"] = json!(pods);
            }
            limit
        }),
        (option::of(0..3u32), option::of(3..6u32), 1..3u32).prop_map(|(min, max, step)| replicas(
            min,
            max,
            (min, max) == (None, None) || step > 1
        )),
        (per(), 1..3u32, 1..3u32).prop_map(|(per, failures, minutes)| json!({
            "type": "breaker", "per": per, "failures": failures, "seconds": 600, "openSeconds": minutes * 60
        })),
    ]
}

fn replicas(min: Option<u32>, max: Option<u32>, has_step: bool) -> Value {
    let mut limit = json!({ "type": "replicas" });
    for (name, bound) in [("min", min), ("max", max), ("maxStep", has_step.then_some(2))] {
        if let Some(bound) = bound {
            limit[name] = json!(bound);
        }
    }
    limit
}

/// Fields that say what a rule demands; a REQUIRE demands something.
pub(crate) fn demands(effect: &'static str) -> impl Strategy<Value = Value> {
    let approval = (select(vec!["sre", "lead"]), 1..3u32, select(vec![None, Some(60), Some(3600)]));
    let approval = approval.prop_map(|(role, min, expires)| {
        let mut group = json!({ "role": role, "min": min });
        if let Some(expires) = expires {
            group["expiresSeconds"] = json!(expires);
        }
        json!([group])
    });
    let limits = proptest::collection::vec(limit(), 1..4);
    let review = (select(vec!["security", "lead"]), 1..3u32);
    (option::of(limits), option::of(approval), any::<bool>(), option::of(review)).prop_map(
        move |(limits, approvals, dry_run_only, review)| {
            let mut demands = json!({});
            if effect == "DENY" {
                return demands;
            }
            if let Some(limits) = &limits {
                demands["limits"] = json!(limits);
            }
            if let Some(approvals) = &approvals {
                demands["approvals"] = approvals.clone();
            }
            if dry_run_only || (effect == "REQUIRE" && limits.is_none() && approvals.is_none()) {
                demands["dryRunOnly"] = json!(true);
            }
            if let (Some((role, hours)), "ALLOW") = (review, effect) {
                demands["breakGlass"] = json!({ "reviewRole": role, "reviewSeconds": hours * 3600 });
            }
            demands
        },
    )
}

/// The same condition, with a test of presence for every optional path that is always true.
fn with_absence_said(when: &Value) -> Value {
    let optional = [
        "metadata.a",
        "metadata.b",
        "metadata.c",
        "target.replicas",
        "target.rollout",
        "target.paused",
        "params.replicas",
        "roles",
    ];
    let mut members = vec![when.clone()];
    for path in optional {
        members.push(json!({ "any": [{ "path": path, "op": "present" }, { "path": path, "op": "absent" }] }));
    }
    json!({ "all": members })
}

pub(crate) fn rules() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(prop_oneof![4 => rule("ALLOW"), 1 => rule("DENY"), 2 => rule("REQUIRE")], 1..8)
        .prop_map(|mut rules| {
            for (index, rule) in rules.iter_mut().enumerate() {
                rule["id"] = json!(format!("rule-{index}"));
            }
            rules
        })
}

fn scalar() -> impl Strategy<Value = Value> {
    select(vec![
        json!("x"),
        json!("10.0.0.1"),
        json!("1.2.3"),
        json!("1.2.3-rc.1"),
        json!(1),
        json!(2),
        json!(-1.5),
        json!(true),
    ])
}

pub(crate) type Asked = (Question, Option<Facts>, Timestamp);

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let facts = (
        0..5u32,
        any::<bool>(),
        select(vec!["complete", "progressing", "failed"]),
        any::<bool>(),
        -70..70i64,
    );
    (
        select(PRINCIPALS),
        subsequence(vec!["sre", "admin", "auditor"], 0..=3),
        select(vec!["restart", "restart-pod", "scale", "rollback"]),
        select(RESOURCES),
        option::of(0..10u32),
        proptest::collection::btree_map(select(vec!["a", "b", "c"]), scalar(), 0..=3),
        option::of(facts),
        1_790_000_000..1_800_000_000i64,
    )
        .prop_map(|(principal, roles, action, resource, replicas, metadata, facts, seconds)| {
            let mut question = json!({
                "principal": principal, "roles": roles, "action": action, "resource": resource, "metadata": metadata
            });
            if let (Some(replicas), "scale") = (replicas, action) {
                question["params"] = json!({ "replicas": replicas });
            }
            let now = Timestamp::from_second(seconds).unwrap();
            let facts = facts.map(|(replicas, wanted, rollout, paused, age)| {
                let mut facts = json!({
                    "observedAt": Timestamp::from_second(seconds - age).unwrap(), "uid": "u", "generation": 1,
                    "readyReplicas": replicas, "availableReplicas": replicas, "updatedReplicas": replicas,
                    "rollout": rollout, "paused": paused
                });
                if wanted {
                    facts["replicas"] = json!(replicas);
                }
                serde_json::from_value(facts).unwrap()
            });
            (serde_json::from_value(question).unwrap(), facts, now)
        })
}

pub(crate) fn document(name: &str, rules: &[Value]) -> Value {
    json!({
        "schema": "aegis.policy/v1", "name": name, "rules": rules,
        "calendars": { "nights": { "zone": "Europe/Berlin", "windows": [{ "days": ["mon-sun"], "from": "20:00", "to": "06:00" }] } }
    })
}

pub(crate) fn set(documents: &[Value]) -> PolicySet {
    let policies = documents.iter().map(|document| {
        (
            1,
            reading::parse(document.to_string().as_bytes())
                .unwrap_or_else(|problems| panic!("{document}: {problems:?}")),
        )
    });
    PolicySet::new(policies.collect()).unwrap()
}

pub(crate) fn decide(rules: &[Value], (question, facts, now): &Asked) -> Decision {
    let set = if rules.is_empty() { PolicySet::empty() } else { set(&[document("policy", rules)]) };
    evaluate(&set, question, facts.as_ref(), *now)
}

/// Turns round every list whose order means nothing.
pub(crate) fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().rev().map(reversed).collect(),
        // The one list whose order means something.
        Value::Object(fields) if fields.get("op").is_some_and(|op| op == "between") => value.clone(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), reversed(member))).collect()
        }
        scalar => scalar.clone(),
    }
}
