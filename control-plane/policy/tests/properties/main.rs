//! Laws of the language that hold for every policy and every question.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reader;
mod time;
mod world;

use aegis_policy::{
    Decision, Effect, Limit, Obligations, PolicySet, Question, RuleEffect, document as reading, evaluate,
    explain, trace,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use world::{asked, decide, demands, document, reversed, rule, rules, set};

/// The rules and one more.
fn with(rules: &[Value], mut rule: Value) -> Vec<Value> {
    rule["id"] = json!("z-added");
    rules.iter().cloned().chain([rule]).collect()
}

/// An ALLOW that is always about the question and demands nothing.
fn anyone() -> Value {
    json!({ "id": "anyone", "effect": "ALLOW" })
}

/// Whether everything that `less` demands is demanded by `more`, at least as strictly.
fn is_at_least_as_strict(more: &Obligations, less: &Obligations) -> bool {
    let covered = |limit: &Limit| more.limits.iter().any(|other| bounds_at_least(&other.what, limit));
    less.limits.iter().all(|limit| covered(&limit.what))
        && less.approvals.iter().all(|group| {
            more.approvals.iter().any(|other| {
                other.what.role == group.what.role
                    && other.what.min >= group.what.min
                    && other.what.expires_seconds <= group.what.expires_seconds
            })
        })
        && more.dry_run_only >= less.dry_run_only
}

/// Whether one limit lets nothing through that the other stops; written without the code under test.
fn bounds_at_least(limit: &Limit, other: &Limit) -> bool {
    let fields = |limit: &Limit| {
        let mut fields = serde_json::to_value(limit).unwrap();
        let take = |fields: &mut Value, name: &str| fields.as_object_mut().unwrap().remove(name);
        let bound = match limit {
            Limit::Cooldown { .. } => take(&mut fields, "seconds"),
            Limit::Rate { .. } | Limit::Concurrency { .. } => take(&mut fields, "max"),
            Limit::Unavailable { .. } => {
                take(&mut fields, "maxPods").or_else(|| take(&mut fields, "maxPercent"))
            }
            Limit::Replicas { .. } => {
                ["min", "max", "maxStep"].iter().find_map(|name| take(&mut fields, name))
            }
            Limit::Breaker { .. } => take(&mut fields, "openSeconds"),
        };
        (bound.unwrap().as_u64().unwrap(), fields)
    };
    let ((bound, rest), (other_bound, other_rest)) = (fields(limit), fields(other));
    let same_kind = match (limit, other) {
        (Limit::Unavailable { max_pods, .. }, Limit::Unavailable { max_pods: other, .. }) => {
            max_pods.is_some() == other.is_some()
        }
        (Limit::Replicas { min, max, .. }, Limit::Replicas { min: other_min, max: other_max, .. }) => {
            (min.is_some(), max.is_some()) == (other_min.is_some(), other_max.is_some())
        }
        _ => rest == other_rest,
    };
    let more_is_stricter = matches!(
        limit,
        Limit::Cooldown { .. } | Limit::Breaker { .. } | Limit::Replicas { min: Some(_), .. }
    );
    same_kind && if more_is_stricter { bound >= other_bound } else { bound <= other_bound }
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
        prop_assert!(once.obligations.demand_the_same_as(&twice.obligations), "{:?}\n{:?}", once, twice);
        twice.obligations = once.obligations.clone();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn adding_a_deny_never_loosens(rules in rules(), deny in rule("DENY"), asked in asked()) {
        let (before, after) = (decide(&rules, &asked), decide(&with(&rules, deny), &asked));
        prop_assert!(before.effect == Effect::Allow || after.effect == Effect::Deny, "{:?}", after);
        // What is still allowed is allowed under the same obligations.
        prop_assert!(after.effect == Effect::Deny || before == after, "{:?}", after);
    }

    #[test]
    fn adding_a_require_never_loosens(rules in rules(), require in rule("REQUIRE"), asked in asked()) {
        let (before, after) = (decide(&rules, &asked), decide(&with(&rules, require), &asked));
        prop_assert_eq!(before.effect, after.effect);
        prop_assert_eq!(&before.reason, &after.reason);
        prop_assert!(is_at_least_as_strict(&after.obligations, &before.obligations), "{:?}\n{:?}", before, after);
        prop_assert_eq!(before.obligations.break_glass, after.obligations.break_glass);
    }

    #[test]
    fn nothing_is_scaled_to_no_replicas_that_no_allow_has_let_go_so_far(
        rules in rules(),
        (question, facts, now) in asked(),
    ) {
        let mut to_zero = serde_json::to_value(&question).unwrap();
        to_zero["action"] = json!("scale");
        to_zero["params"] = json!({ "replicas": 0 });
        let asked = (serde_json::from_value(to_zero).unwrap(), facts, now);
        let decision = decide(&rules, &asked);
        let lets = |rule: &Value| {
            let limits = rule["limits"].as_array().into_iter().flatten();
            rule["effect"] == "ALLOW" && limits.into_iter().any(|limit| limit["min"] == 0)
        };
        for rule in decision.rules.iter().filter(|rule| rule.effect == RuleEffect::Allow) {
            prop_assert!(rules.iter().any(|written| written["id"] == rule.rule && lets(written)), "{:?}", decision);
        }
        // The others do not count at all.
        let others: Vec<Value> = rules.into_iter().filter(|rule| rule["effect"] != "ALLOW" || lets(rule)).collect();
        prop_assert_eq!(decide(&others, &asked).effect, decision.effect);
    }

    #[test]
    fn removing_an_allow_never_loosens(rules in rules(), asked in asked()) {
        let before = decide(&rules, &asked);
        for index in 0..rules.len() {
            if rules[index]["effect"] == "ALLOW" {
                let mut fewer = rules.clone();
                fewer.remove(index);
                let after = decide(&fewer, &asked);
                prop_assert!(before.effect == Effect::Allow || after.effect == Effect::Deny, "{:?}", after);
                // Whatever still allows it is under every REQUIRE that there was.
                let required: Vec<Value> =
                    rules.iter().filter(|rule| rule["effect"] == "REQUIRE").cloned().chain([anyone()]).collect();
                let required = decide(&required, &asked).obligations;
                let strict = is_at_least_as_strict(&after.obligations, &required);
                prop_assert!(after.effect == Effect::Deny || strict, "{:?}\n{:?}", required, after);
            }
        }
    }

    #[test]
    fn modes_other_than_enforce_never_change_the_answer(
        rules in rules(),
        others in rules(),
        mode in select(vec!["warn", "shadow", "off"]),
        asked in asked(),
    ) {
        let others: Vec<Value> = others.into_iter().filter(|rule| mode != "warn" || rule["effect"] != "ALLOW").collect();
        prop_assume!(!others.is_empty());
        let mut beside = document("b", &others);
        let enforced = set(&[document("a", &rules), beside.clone()]);
        beside["mode"] = json!(mode);
        let beside = set(&[document("a", &rules), beside]);
        let (question, facts, now) = &asked;
        let decide = |set| evaluate(set, question, facts.as_ref(), *now);
        let (alone, with, enforced) = (decide(&set(&[document("a", &rules)])), decide(&beside), decide(&enforced));
        prop_assert_eq!((&with.effect, &with.reason), (&alone.effect, &alone.reason));
        prop_assert_eq!((&with.rules, &with.obligations), (&alone.rules, &alone.obligations));
        match &with.shadow {
            Some(shadow) => {
                prop_assert_eq!((&shadow.effect, &shadow.reason), (&enforced.effect, &enforced.reason));
                prop_assert_eq!((&shadow.rules, &shadow.obligations), (&enforced.rules, &enforced.obligations));
            }
            None if mode == "shadow" => {
                prop_assert_eq!(alone.effect, enforced.effect);
                prop_assert!(alone.obligations.demand_the_same_as(&enforced.obligations));
            }
            None => {}
        }
        let warned = mode == "warn" && alone.effect == Effect::Allow && alone.rules != enforced.rules;
        prop_assert_eq!(warned, !with.warnings.is_empty());
    }

    #[test]
    fn a_decision_rests_on_rules_that_fit_it_and_no_allow_is_indeterminate(rules in rules(), asked in asked()) {
        let decision = decide(&rules, &asked);
        for rule in &decision.rules {
            let fits = match decision.effect {
                Effect::Allow => rule.effect != RuleEffect::Deny,
                Effect::Deny => rule.effect == RuleEffect::Deny,
            };
            prop_assert!(fits, "{:?}", rule);
            prop_assert!(rule.effect != RuleEffect::Allow || rule.indeterminate.is_none());
            prop_assert_eq!(rule.indeterminate.is_some(), rule.reason.starts_with("INDETERMINATE"));
        }
        prop_assert!(decision.effect == Effect::Allow || decision.obligations.is_empty());
        prop_assert!(decision.effect == Effect::Deny || decision.rules.iter().any(|rule| rule.effect == RuleEffect::Allow));
        let text = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
    }

    #[test]
    fn a_stored_document_and_a_stored_question_decide_as_the_first_time(rules in rules(), asked in asked()) {
        let policy = reading::parse(document("policy", &rules).to_string().as_bytes()).unwrap();
        let stored = reading::parse(policy.canonical()).unwrap();
        prop_assert_eq!(stored.digest(), policy.digest());
        let (question, facts, now) = &asked;
        let again: Question = serde_json::from_str(&serde_json::to_string(question).unwrap()).unwrap();
        let decide = |policy, question| evaluate(&PolicySet::new(vec![(1, policy)]).unwrap(), question, facts.as_ref(), *now);
        prop_assert_eq!(decide(policy, question), decide(stored, &again));
    }

    #[test]
    fn a_trace_agrees_with_the_decision_and_an_explanation_with_both(rules in rules(), asked in asked()) {
        let set = set(&[document("policy", &rules)]);
        let (question, facts, now) = &asked;
        let decision = evaluate(&set, question, facts.as_ref(), *now);
        let traces = trace(&set, question, facts.as_ref(), *now);
        let applying = |effect| traces.iter().filter(|trace| trace.applies && trace.effect == effect).count();
        let allowed = applying(RuleEffect::Deny) == 0 && applying(RuleEffect::Allow) > 0;
        prop_assert_eq!(allowed, decision.effect == Effect::Allow);
        for rule in &decision.rules {
            prop_assert!(traces.iter().any(|trace| trace.rule == rule.rule && trace.applies));
        }
        let explanation = explain(&set, question, facts.as_ref(), *now);
        if decision.effect == Effect::Allow {
            prop_assert_eq!(explanation, aegis_policy::Explanation::default());
        } else if let Some(miss) = explanation.nearest_miss {
            prop_assert!(decision.rules.is_empty() && !miss.missing.is_empty());
            let missed = traces.iter().find(|trace| trace.rule == miss.rule).unwrap();
            prop_assert!(!missed.applies && missed.effect == RuleEffect::Allow);
        }
    }

    #[test]
    fn all_that_rules_demand_holds_and_nothing_is_said_twice(
        demanding in proptest::collection::vec(demands("REQUIRE"), 1..6),
        asked in asked(),
    ) {
        let mut rules = vec![anyone()];
        rules.extend(demanding.into_iter().enumerate().map(|(index, mut rule)| {
            rule["id"] = json!(format!("rule-{index}"));
            rule["effect"] = json!("REQUIRE");
            rule
        }));
        let together = decide(&rules, &asked).obligations;
        for rule in &rules[1..] {
            let alone = decide(&[anyone(), rule.clone()], &asked).obligations;
            prop_assert!(is_at_least_as_strict(&together, &alone), "{:?}\n{:?}", alone, together);
            // Every limit names the rules that demand just it.
            let id = rule["id"].as_str().unwrap();
            for limit in &together.limits {
                let demands_it = alone.limits.iter().any(|own| own.what == limit.what);
                prop_assert_eq!(demands_it, limit.rules.iter().any(|name| name.rule == id), "{:?} {}", limit, rule);
            }
            for group in &together.approvals {
                let names_it = alone.approvals.iter().any(|own| own.what.role == group.what.role);
                prop_assert_eq!(names_it, group.rules.iter().any(|name| name.rule == id));
            }
        }
        for (index, limit) in together.limits.iter().enumerate() {
            let others = together.limits.iter().enumerate().filter(|(other, _)| *other != index);
            prop_assert!(others.into_iter().all(|(_, other)| !bounds_at_least(&other.what, &limit.what)));
            prop_assert!(!limit.rules.is_empty());
        }
    }
}
