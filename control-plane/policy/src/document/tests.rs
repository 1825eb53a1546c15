use serde_json::json;

use super::*;
use crate::problem::PROBLEMS_MAX;
use crate::shape::REASON_LENGTH_MAX;

fn problems(document: &str) -> Vec<Problem> {
    parse(document.as_bytes()).expect_err(document)
}

fn one_rule(rule: &Value) -> String {
    json!({ "schema": SCHEMA, "name": "example", "rules": [rule] }).to_string()
}

#[test]
fn a_problem_says_line_column_and_the_nearest_valid_name() {
    let document = "{\n  \"schema\": \"aegis.policy/v1\",\n  \"nmae\": \"x\",\n  \"rules\": [\n    {\"id\": \"a\",\n     \"effect\": \"DENNY\"}\n  ]\n}\n";
    let found: Vec<String> = problems(document).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "1:1 /name [missing-field] this field must be there",
            "3:3 /nmae [unknown-field] there is no such field here (did you mean `name`?)",
            "6:6 /rules/0/effect [unknown-effect] there is no such effect (did you mean `DENY`?)",
        ]
    );
}

#[test]
fn a_place_is_found_behind_spaces_escapes_and_braces_in_texts() {
    let document = r#"{"name"  : "}\"{" ,
"schema"
:"aegis.policy/v2",
"rules" :[ 7 ,
  {"id" : "x", "effect":"DENY"} , [] ]}"#;
    let problems = problems(document);
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line, problem.column, problem.pointer.as_str(), problem.code))
        .collect();
    assert_eq!(
        found,
        [
            (Some(1), Some(2), "/name", code::INVALID_NAME),
            (Some(2), Some(1), "/schema", code::UNKNOWN_SCHEMA),
            (Some(4), Some(12), "/rules/0", code::WRONG_TYPE),
            (Some(5), Some(35), "/rules/2", code::WRONG_TYPE),
        ]
    );
}

#[test]
fn what_is_not_strict_json_keeps_the_readers_code_and_place() {
    for (document, code, line) in [
        ("", "malformed", 1),
        ("{\n\"name\": \"a\",\n\"name\": \"b\"}", "duplicate-key", 3),
        ("{}\n{}", "trailing-data", 2),
        ("{\"a\": 9007199254740993}", "number-out-of-range", 1),
    ] {
        let problems = problems(document);
        assert_eq!((problems.len(), problems[0].code, problems[0].line), (1, code, Some(line)), "{document}");
    }
    assert_eq!(parse(b"\xff").unwrap_err()[0].code, "not-utf8");
    assert_eq!(problems(&"[".repeat(100_000))[0].code, "too-deep");
    let large = vec![b' '; Limits::POLICY.bytes_max + 1];
    let problem = &parse(&large).unwrap_err()[0];
    assert_eq!((problem.code, problem.line), ("too-large", None));
}

#[test]
fn every_field_refuses_every_other_json_type() {
    let valid = json!({
        "schema": SCHEMA, "name": "example", "description": "d",
        "rules": [{
            "id": "a", "effect": "ALLOW", "reason": "r",
            "match": { "principals": ["*"], "roles": ["*"], "actions": ["*"], "resources": ["**"] },
            "when": { "all": [
                { "any": [{ "path": "metadata.a", "op": "eq", "value": "x" }] },
                { "not": { "path": "target.replicas", "op": "in", "value": [1] } },
            ] },
            "time": { "zone": "UTC", "windows": [{ "days": ["mon"], "from": "08:00", "to": "18:00" }] }
        }]
    });
    parse(valid.to_string().as_bytes()).unwrap();
    let mut pointers = Vec::new();
    collect(&valid, String::new(), &mut pointers);
    assert!(pointers.len() > 30);
    for pointer in pointers {
        for wrong in [json!(null), json!(true), json!(0.5), json!("? ?"), json!([]), json!({}), json!([[]])] {
            let fits = match pointer.as_str() {
                "/description" | "/rules/0/reason" => wrong.is_string(),
                "/rules/0/match" => wrong == json!({}),
                "/rules/0/when/all/0/any/0/value" => {
                    !wrong.is_null() && !wrong.is_array() && !wrong.is_object()
                }
                // An empty dimension means any.
                dimension => {
                    wrong == json!([])
                        && dimension.starts_with("/rules/0/match/")
                        && !dimension.ends_with("/0")
                }
            };
            let mut document = valid.clone();
            *document.pointer_mut(&pointer).unwrap() = wrong.clone();
            match parse(document.to_string().as_bytes()) {
                Ok(_) => assert!(fits, "{wrong} at {pointer} was accepted"),
                Err(problems) => {
                    assert!(!fits, "{wrong} at {pointer}: {problems:?}");
                    let inside = problems.iter().any(|problem| problem.pointer.starts_with(&pointer));
                    assert!(inside, "{wrong} at {pointer}: {problems:?}");
                }
            }
        }
    }
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

#[test]
fn a_condition_cannot_be_a_group_and_a_comparison_at_once() {
    for when in [
        json!({ "all": [], "any": [] }),
        json!({ "not": { "path": "action", "op": "present" }, "path": "action", "op": "present" }),
        json!({ "any": [{ "path": "action", "op": "present" }], "comment": "x" }),
    ] {
        let problems = problems(&one_rule(&json!({ "id": "a", "effect": "ALLOW", "when": when })));
        assert_eq!((problems.len(), problems[0].code), (1, code::MIXED_CONDITION), "{when}");
    }
    for when in [json!({ "all": [] }), json!({ "any": [] })] {
        let problems = problems(&one_rule(&json!({ "id": "a", "effect": "ALLOW", "when": when })));
        assert_eq!(problems[0].code, code::EMPTY, "{when}");
    }
}

#[test]
fn names_and_texts_have_limits() {
    let long = "a".repeat(64);
    for name in ["", "A", "a b", "-a", "a-", "a_b", "ä", &long] {
        let document = json!({ "schema": SCHEMA, "name": name, "rules": [{ "id": "a", "effect": "DENY" }] });
        assert_eq!(problems(&document.to_string())[0].code, code::INVALID_NAME, "{name}");
    }
    let reason = "ä".repeat(REASON_LENGTH_MAX);
    parse(one_rule(&json!({ "id": "a", "effect": "DENY", "reason": reason })).as_bytes()).unwrap();
    let problems = problems(&one_rule(&json!({ "id": "a", "effect": "DENY", "reason": reason + "ä" })));
    assert_eq!((problems[0].code, problems[0].pointer.as_str()), (code::TOO_LONG, "/rules/0/reason"));
}

#[test]
fn a_document_of_problems_only_is_answered_with_a_bounded_list() {
    let rules: Vec<Value> = (0..10_000).map(|_| json!({ "x/y~z": 1 })).collect();
    let problems = problems(&json!({ "schema": SCHEMA, "name": "a", "rules": rules }).to_string());
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert_eq!(problems.last().unwrap().code, code::TOO_MANY_PROBLEMS);
    assert!(problems.iter().any(|problem| problem.pointer == "/rules/0/x~1y~0z"));
}

#[test]
fn layout_and_order_of_fields_have_no_influence_on_the_digest() {
    let first = parse(one_rule(&json!({ "id": "a", "effect": "DENY" })).as_bytes()).unwrap();
    let second = parse(
        b"{ \"rules\": [ {\"effect\":\n\"D\\u0045NY\", \"id\": \"a\"} ],\n \"name\":\"example\", \"schema\":\"aegis.policy/v1\" }",
    )
    .unwrap();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(first.canonical(), second.canonical());
    assert_eq!(parse(first.canonical()).unwrap().digest(), first.digest());
    assert_eq!(
        first.digest(),
        Digest::of(br#"{"name":"example","rules":[{"effect":"DENY","id":"a"}],"schema":"aegis.policy/v1"}"#)
    );
}

#[test]
fn a_rule_without_a_reason_still_says_which_rule_it_was() {
    let policy = parse(one_rule(&json!({ "id": "a", "effect": "DENY" })).as_bytes()).unwrap();
    assert_eq!(policy.compiled_rules()[0].reason, "denied by the rule a");
    assert_eq!(policy.rules().collect::<Vec<_>>(), [("a", RuleEffect::Deny)]);
}

#[test]
fn absence_is_specified_by_a_test_of_the_same_path_only() {
    let deny = |when: &Value| one_rule(&json!({ "id": "a", "effect": "DENY", "when": when }));
    let lt = json!({ "path": "metadata.a", "op": "lt", "value": 3 });
    let other = json!({ "all": [{ "path": "metadata.b", "op": "present" }, lt] });
    let found = problems(&deny(&other));
    assert_eq!(
        (found[0].code, found[0].pointer.as_str()),
        (code::ABSENCE_UNSPECIFIED, "/rules/0/when/all/1/path")
    );
    let negated = json!({ "all": [{ "not": { "path": "metadata.a", "op": "absent" } }, { "not": lt }] });
    parse(deny(&negated).as_bytes()).unwrap();
    // A segment of the resource is not optional, and an ALLOW need not say anything.
    parse(deny(&json!({ "path": "resource.namespace", "op": "eq", "value": "x" })).as_bytes()).unwrap();
    parse(one_rule(&json!({ "id": "a", "effect": "ALLOW", "when": lt })).as_bytes()).unwrap();
}

#[test]
fn a_file_of_tests_is_read_as_strictly_as_a_document() {
    let test = serde_json::json!({
        "name": "bot", "at": "2026-11-20T12:00:00Z",
        "request": { "principal": "client:bot", "action": "restart", "resource": "k8s/prod/shop/Pod/web" },
        "expect": { "decision": "ALLOW", "rules": ["bots", "other/care"] }
    });
    let file = serde_json::json!({ "schema": "aegis.policy-tests/v1", "policy": "prod", "tests": [test] });
    let read = parse_tests(file.to_string().as_bytes()).unwrap();
    assert_eq!((read.policy.as_str(), read.tests.len()), ("prod", 1));
    let rules = read.tests[0].expect.rules.as_ref().unwrap();
    let names: Vec<String> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["other/care", "prod/bots"]);
    let problems =
        parse_tests(br#"{ "schema": "aegis.policy/v1", "polizy": "prod", "tests": [{}] }"#).unwrap_err();
    let found: Vec<(&str, &str)> =
        problems.iter().map(|problem| (problem.code, problem.pointer.as_str())).collect();
    for expected in [
        (code::UNKNOWN_SCHEMA, "/schema"),
        (code::UNKNOWN_FIELD, "/polizy"),
        (code::MISSING_FIELD, "/policy"),
        (code::MISSING_FIELD, "/tests/0/expect"),
    ] {
        assert!(found.contains(&expected), "{expected:?} of {found:?}");
    }
}
