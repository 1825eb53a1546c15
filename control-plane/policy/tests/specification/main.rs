//! Holds the specification of the language, `docs/policies.md`, equal to the code: runs its examples,
//! and compares its tables and the JSON Schema.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod page;
mod schema;
mod tables;

use std::collections::BTreeSet;

use aegis_contract::facts::Facts;
use aegis_policy::{
    Counted, DecidingRule, Decision, Effect, JudgedLimit, Obligations, Policy, PolicySet, Problem, Question,
    RawQuestion, document, evaluate, explain, obstacle, run_tests, vacancies,
};
use jiff::Timestamp;
use page::{Example, Row, examples};
use serde_json::{Map, Value, json};

const NOW: &str = "2026-11-20T12:00:00Z";

#[test]
fn every_example_of_the_specification_holds() {
    let (mut answered, mut refused, mut tested, mut at_work) = (0, 0, 0, 0);
    for example in examples() {
        assert!(!example.rows.is_empty(), "the example in line {} shows nothing", example.line);
        let bytes = |document: &Value| document.to_string().into_bytes();
        if example.rows[0].get("code").is_some() {
            check_problems(&example, document::parse(&bytes(&example.documents[0])));
            refused += 1;
            continue;
        }
        if example.rows[0].get("refused where nothing is enforced").is_some() {
            check_problems(&example, document::parse_enforced(&bytes(&example.documents[0]), &[]));
            refused += 1;
        }
        let policies: Vec<Policy> = example
            .documents
            .iter()
            .map(|document| {
                document::parse(&bytes(document))
                    .unwrap_or_else(|problems| panic!("line {}: {problems:?}", example.line))
            })
            .collect();
        let set = PolicySet::new(policies.iter().cloned().map(|policy| (1, policy)).collect()).unwrap();
        for row in &example.rows {
            if row.get("question").is_some() {
                check_answer(row, &set);
                answered += 1;
            } else if let Some(test) = row.get("test") {
                check_test(row, test, &policies[0]);
                tested += 1;
            } else {
                check_at_work(row, &obligations_of(&set));
                at_work += 1;
            }
        }
    }
    assert!(
        answered >= 140 && refused >= 15 && tested >= 3 && at_work >= 20,
        "{answered} answers, {refused} refusals, {tested} tests and {at_work} obligations were found on the page"
    );
}

fn check_problems(example: &Example, parsed: Result<Policy, Vec<Problem>>) {
    let problems = parsed.err().unwrap_or_default();
    let found: BTreeSet<(String, String)> =
        problems.iter().map(|problem| (problem.code.to_owned(), problem.pointer.clone())).collect();
    let code =
        |row: &Row| row.get("code").or(row.get("refused where nothing is enforced")).unwrap().to_owned();
    let plain = |text: &str| text.trim_matches('`').to_owned();
    let expected =
        example.rows.iter().map(|row| (plain(&code(row)), plain(row.get("at").unwrap()))).collect();
    assert_eq!(found, expected, "line {}: {problems:?}", example.line);
    assert!(problems.iter().all(|problem| problem.line.is_some()), "{problems:?}");
}

fn check_test(row: &Row, test: &str, policy: &Policy) {
    let others: Vec<&str> = policy.tests().iter().map(|case| case.name.as_str()).collect();
    let report = run_tests(policy, &PolicySet::empty());
    let result = report.results.iter().find(|result| result.name == test);
    let result = result.unwrap_or_else(|| panic!("line {}: {test} of {others:?}", row.line));
    let fields: Vec<&str> = result.differences.iter().map(|difference| difference.field).collect();
    let found = if fields.is_empty() { "passes".to_owned() } else { fields.join(", ") };
    assert_eq!(found, row.get("result").unwrap(), "line {}", row.line);
}

/// What the one REQUIRE of an example demands, as if something were allowed.
fn obligations_of(set: &PolicySet) -> Decision {
    let allow = json!({
        "schema": "aegis.policy/v1", "name": "z", "rules": [{ "id": "all", "effect": "ALLOW", "reason": "all" }],
    });
    let set = set.with(document::parse(&allow.to_string().into_bytes()).unwrap());
    let raw = json!({
        "principal": "user:7", "action": "restart", "resource": "k8s/dev/shop/Deployment/web",
    });
    evaluate(&set, &serde_json::from_value(raw).unwrap(), None, NOW.parse().unwrap())
}

fn check_at_work(row: &Row, decision: &Decision) {
    let line = row.line;
    if let Some(counted) = row.get("counted at 12:00") {
        let limit = decision.obligations.limits[0].clone();
        let counted: Counted = serde_json::from_str(counted.trim_matches('`')).unwrap();
        let judged = JudgedLimit::new(limit, None, counted, NOW.parse().unwrap());
        let room_at = judged.room_at.map(|at| at.to_string()).unwrap_or_default();
        let found = obstacle(decision, Some(false), &[judged]).unwrap_or("has room".to_owned());
        assert_eq!(found, row.get("limit").unwrap(), "line {line}");
        assert_eq!(room_at, row.get("room at").unwrap(), "line {line}");
    }
    if let Some(people) = row.get("approved by") {
        let people = people.split("; ").filter(|person| !person.is_empty());
        let people: Vec<Vec<String>> =
            people.map(|roles| roles.trim_matches('`').split(", ").map(str::to_owned).collect()).collect();
        let groups = decision.obligations.approvals.iter().map(|group| &group.what);
        let missing = vacancies(groups, &people);
        let missing: Vec<String> =
            missing.iter().map(|vacancy| format!("{} × {}", vacancy.missing, vacancy.role)).collect();
        assert_eq!(missing.join("; "), row.get("missing").unwrap(), "line {line}");
    }
}

fn check_answer(row: &Row, set: &PolicySet) {
    let (line, now, question, facts) = asked(row);
    let decision = evaluate(set, &question, facts.as_ref(), now);
    assert_answer(line, row.get("answer").unwrap(), &decision);
    if let Some(expected) = row.get("obligations") {
        assert_eq!(obligations(&decision.obligations), expected, "line {line}");
    } else {
        assert!(decision.obligations.is_empty(), "line {line}: {:?}", decision.obligations);
    }
    if let Some(expected) = row.get("counted with") {
        let keys: Vec<String> = decision
            .obligations
            .limits
            .iter()
            .map(|limit| limit.what.key(&question).map_or("nothing".to_owned(), |key| format!("`{key}`")))
            .collect();
        assert_eq!(keys.join(", "), expected, "line {line}");
    }
    assert_eq!(names(&decision.warnings), row.get("warnings").unwrap_or_default(), "line {line}");
    let shadow = decision.shadow.map(|shadow| format!("{} {}", shadow.effect, names(&shadow.rules)));
    assert_eq!(shadow.unwrap_or_default(), row.get("shadow").unwrap_or_default(), "line {line}");
    let explanation = explain(set, &question, facts.as_ref(), now);
    if let Some(expected) = row.get("nearest miss") {
        let found = explanation.nearest_miss.as_ref().map(ToString::to_string);
        assert_eq!(found.unwrap_or_default(), expected, "line {line}");
        let opens = explanation.opens_at.map(|at| at.to_string());
        assert_eq!(opens.unwrap_or_default(), row.get("opens").unwrap(), "line {line}");
    }
}

fn asked(row: &Row) -> (usize, Timestamp, Question, Option<Facts>) {
    let line = row.line;
    let (question, given) = (row.get("question").unwrap(), row.get("given").unwrap());
    let words: Vec<&str> = question.trim_matches('`').split(' ').collect();
    let [principal, action, resource] = words[..] else { panic!("line {line}: principal action resource") };
    let mut raw = RawQuestion {
        principal: principal.to_owned(),
        action: action.to_owned(),
        resource: resource.to_owned(),
        ..RawQuestion::default()
    };
    let mut now: Timestamp = NOW.parse().unwrap();
    let mut target = Map::new();
    for pair in given.trim_matches('`').split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (path, text) = pair.split_once(" = ").unwrap_or_else(|| panic!("line {line}: {pair}"));
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("line {line}: {error}"));
        match path.split_once('.') {
            Some(("metadata", key)) => drop(raw.metadata.insert(key.to_owned(), value)),
            Some(("params", key)) => drop(raw.params.insert(key.to_owned(), value)),
            Some(("target", key)) => drop(target.insert(key.to_owned(), value)),
            None if path == "roles" => raw.roles = serde_json::from_value(value).unwrap(),
            None if path == "now" => now = value.as_str().unwrap().parse().unwrap(),
            _ => panic!("line {line}: {path}"),
        }
    }
    let question = Question::new(raw).unwrap_or_else(|error| panic!("line {line}: {error}"));
    let facts = (!target.is_empty()).then(|| healthy_deployment_but(target, now));
    (line, now, question, facts)
}

fn healthy_deployment_but(target: Map<String, Value>, now: Timestamp) -> Facts {
    let mut facts = json!({
        "observedAt": now, "uid": "1f0c", "generation": 4, "templateDigest": format!("sha256:{}", "0".repeat(64)),
        "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "updatedReplicas": 3,
        "paused": false, "rollout": "complete"
    });
    facts.as_object_mut().unwrap().extend(target);
    serde_json::from_value(facts).unwrap()
}

fn names(rules: &[DecidingRule]) -> String {
    let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.rule)).collect();
    names.join(", ")
}

fn obligations(obligations: &Obligations) -> String {
    let limits = obligations.limits.iter().map(|limit| limit.what.to_string());
    let approvals = obligations.approvals.iter().map(|group| group.what.to_string());
    let dry_run = obligations.dry_run_only.then(|| "dry run only".to_owned());
    let reviews = obligations.break_glass.iter().map(|review| review.what.to_string());
    limits.chain(approvals).chain(dry_run).chain(reviews).collect::<Vec<_>>().join("; ")
}

fn assert_answer(line: usize, answer: &str, decision: &Decision) {
    let effect = if answer.starts_with("ALLOW") { Effect::Allow } else { Effect::Deny };
    assert_eq!(decision.effect, effect, "line {line}: {decision:?}");
    if answer == "DENY, no rule allows this" {
        assert_eq!(
            (decision.reason.as_str(), decision.rules.len()),
            ("no rule allows this", 0),
            "line {line}"
        );
        return;
    }
    let (rules, indeterminate) = match answer.rsplit_once(" (INDETERMINATE ") {
        Some((rules, rest)) => (rules, Some(rest.trim_end_matches(')').replace('`', ""))),
        None => (answer, None),
    };
    let (rules, reason) = match rules.split_once(": ") {
        Some((rules, reason)) => (rules, Some(reason)),
        None => (rules, None),
    };
    let expected: Vec<&str> = rules.split('`').skip(1).step_by(2).collect();
    let found: Vec<&str> = decision.rules.iter().map(|rule| rule.rule.as_str()).collect();
    assert_eq!(found, expected, "line {line}");
    let whys: Vec<String> = decision
        .rules
        .iter()
        .filter_map(|rule| rule.indeterminate.as_ref())
        .map(|why| format!("{} {}", why.path, serde_json::to_value(why.cause).unwrap().as_str().unwrap()))
        .collect();
    assert_eq!(whys, indeterminate.into_iter().collect::<Vec<_>>(), "line {line}");
    if let Some(reason) = reason {
        assert_eq!(decision.reason, reason, "line {line}");
    }
}
