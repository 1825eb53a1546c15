//! A replay counts what another set would have answered, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../equality/world.rs"]
mod world;

use aegis_policy::{
    CompiledSet, Decision, Effect, Mode, PolicySet, Replay, ReplayReport, RuleName, Usage, ZONE_DATA_VERSION,
    document, evaluate,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use world::Asked;

fn set(documents: &[Value]) -> PolicySet {
    let policies =
        documents.iter().map(|document| (1, document::parse(document.to_string().as_bytes()).unwrap()));
    PolicySet::new(policies.collect()).unwrap()
}

fn decide(set: &PolicySet, (question, facts, now): &Asked) -> Decision {
    evaluate(set, question, facts.as_ref(), *now)
}

/// A decision as the control plane stores it.
fn stored(decision: &Decision, (question, facts, now): &Asked, zone_data_version: &str) -> Vec<u8> {
    let body = json!({
        "schema": "aegis.decision/v1", "id": "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90", "decision": decision.effect,
        "reason": decision.reason, "rules": decision.rules, "obligations": decision.obligations,
        "warnings": decision.warnings, "shadow": decision.shadow,
        "decidedAt": now, "request": question, "facts": facts, "zoneDataVersion": zone_data_version,
        "policySetDigest": "sha256:…", "policySet": [{ "name": "ä\"b" }],
    });
    body.to_string().into_bytes()
}

fn replayed(bodies: &[Vec<u8>], set: PolicySet) -> ReplayReport {
    let set = CompiledSet::compile(set);
    // In two halves, as two workers would.
    let halves = bodies.split_at(bodies.len() / 2);
    let report = |bodies: &[Vec<u8>]| {
        let mut replay = Replay::new(&set);
        bodies.iter().for_each(|body| replay.look_at(body));
        replay.finish()
    };
    report(halves.0).and(report(halves.1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_decision_is_counted_as_what_it_would_have_been(
        documents in world::documents(),
        others in world::documents(),
        asked in proptest::collection::vec(world::asked(), 8),
    ) {
        let (before, after) = (set(&documents), set(&others));
        let bodies: Vec<Vec<u8>> =
            asked.iter().map(|asked| stored(&decide(&before, asked), asked, ZONE_DATA_VERSION)).collect();
        let report = replayed(&bodies, after.clone());
        let count = |wanted: &dyn Fn(&Decision, &Decision) -> bool| {
            let pairs = asked.iter().map(|asked| (decide(&before, asked), decide(&after, asked)));
            pairs.filter(|(old, new)| wanted(old, new)).count() as u64
        };
        let (allow, deny) = (Effect::Allow, Effect::Deny);
        prop_assert_eq!((report.decisions, report.replayable), (8, 8));
        prop_assert_eq!(report.changes.newly_allowed, count(&|old, new| (old.effect, new.effect) == (deny, allow)));
        prop_assert_eq!(report.changes.newly_denied, count(&|old, new| (old.effect, new.effect) == (allow, deny)));
        prop_assert_eq!(
            report.unchanged,
            count(&|old, new| old.effect == new.effect && old.obligations.demand_the_same_as(&new.obligations))
        );
        let changed = &report.changes;
        prop_assert_eq!(
            changed.newly_allowed + changed.newly_denied > 0,
            report.by_rule.iter().any(|of| of.changes.newly_allowed + of.changes.newly_denied > 0),
            "every change has a rule: {:?}", report
        );
        prop_assert_eq!(replayed(&bodies, before).unchanged, 8);
    }
}

#[test]
fn what_cannot_be_taken_again_exactly_is_counted_apart() {
    let rule = json!({ "id": "r", "effect": "ALLOW" });
    let plain = json!({ "schema": "aegis.policy/v1", "name": "p", "rules": [rule] });
    let mut windows = plain.clone();
    windows["rules"][0]["time"] =
        json!({ "zone": "UTC", "windows": [{ "days": ["mon-sun"], "from": "00:00", "to": "24:00" }] });
    let question =
        json!({ "principal": "client:bot", "action": "restart", "resource": "k8s/prod/shop/Pod/web" });
    let asked: Asked =
        (serde_json::from_value(question).unwrap(), None, "2026-11-20T12:00:00Z".parse().unwrap());
    let (plain, windows) = (set(&[plain]), set(&[windows]));
    let old = stored(&decide(&plain, &asked), &asked, "2019a");
    let bodies = [old, b"{}".to_vec(), b"not JSON".to_vec()];
    let counts = |report: ReplayReport| {
        (report.decisions, report.replayable, report.unreadable, report.other_zone_data, report.unchanged)
    };
    assert_eq!(counts(replayed(&bodies, plain)), (3, 1, 2, 0, 1), "no window, no zone");
    assert_eq!(counts(replayed(&bodies, windows)), (3, 0, 2, 1, 0));
}

#[test]
fn uses_of_rules_are_counted_with_their_last_time_and_apart_from_what_they_would_have_been() {
    let rules = json!([{ "id": "a", "effect": "ALLOW" }, { "id": "b", "effect": "DENY", "match": { "actions": ["scale"] } }]);
    let policy = |name: &str, mode: &str, rules: &Value| json!({ "schema": "aegis.policy/v1", "name": name, "mode": mode, "rules": rules });
    let limited = json!([{ "id": "c", "effect": "REQUIRE", "limits": [{ "type": "cooldown", "per": "target", "seconds": 60 }] }]);
    let denied = json!([{ "id": "d", "effect": "DENY", "match": { "actions": ["rollback"] } }]);
    let set = set(&[
        policy("p", "enforce", &rules),
        policy("warns", "warn", &limited),
        policy("shadows", "shadow", &denied),
    ]);
    let mut halves = [Usage::default(), Usage::default()];
    for (minute, action) in [(1, "restart"), (2, "restart"), (3, "rollback")] {
        let question =
            json!({ "principal": "client:bot", "action": action, "resource": "k8s/prod/shop/Pod/web" });
        let now = format!("2026-11-20T12:0{minute}:00Z").parse().unwrap();
        let asked: Asked = (serde_json::from_value(question).unwrap(), None, now);
        halves[minute % 2].look_at(&stored(&decide(&set, &asked), &asked, ZONE_DATA_VERSION));
    }
    let [even, odd] = halves;
    let usage = even.and(odd);
    let used = |policy: &str, rule: &str, mode| {
        let used = usage.of(&RuleName { policy: policy.to_owned(), rule: rule.to_owned() }, mode);
        used.map(|used| (used.decisions, used.last_used_at.to_string()))
    };
    let at = |minute: u32| format!("2026-11-20T12:0{minute}:00Z");
    assert_eq!(used("p", "a", Mode::Enforce), Some((3, at(3))));
    assert_eq!(used("p", "b", Mode::Enforce), None);
    assert_eq!(used("warns", "c", Mode::Warn), Some((3, at(3))));
    assert_eq!(used("shadows", "d", Mode::Shadow), Some((1, at(3))));
    assert_eq!(used("shadows", "d", Mode::Enforce), None, "it decided nothing");
}
