//! Reads the tests of a document.

use aegis_contract::facts::Facts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::obligation::{read_approvals, read_limits};
use super::place::Place;
use super::reader::{Reader, each, is_kebab_case};
use super::rule::read_schema;
use super::{Problem, TestFile, code};
use crate::case::{Case, Expect};
use crate::decision::{Effect, RuleName};
use crate::part::Part;
use crate::question::{Question, RawQuestion};
use crate::shape::{EXPECT, FACTS, Object, REQUEST, Shape, TEST, TESTS, TESTS_SCHEMA};

const TEST_NAME_LENGTH_MAX: usize = 200;

/// P39: reads the tests of a document.
pub(super) fn read_tests(
    reader: &mut Reader<'_>,
    root: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<Vec<Case>> {
    let Some(value) = fields.get("tests") else { return Some(Vec::new()) };
    let place = root.field("tests");
    reader.uses(&place, Part::Tests);
    let list = reader.list(&place, value)?;
    let policy = fields.get("name").and_then(Value::as_str).unwrap_or_default();
    read_list(reader, &place, list, policy)
}

/// P39: reads a file of tests.
pub(super) fn read_test_file(reader: &mut Reader<'_>, file: &Value) -> Option<TestFile> {
    let root = Place::Root;
    let fields = reader.object(&root, file)?;
    reader.known_fields(&root, fields, &TESTS);
    read_schema(reader, &root, fields.get("schema"), TESTS_SCHEMA);
    let policy = reader.name(&root, fields, "policy");
    let place = root.field("tests");
    let Some(tests) = fields.get("tests") else {
        reader.missing(&place);
        return None;
    };
    let list = reader.filled_list(&place, tests)?;
    let tests = read_list(reader, &place, list, policy.as_deref().unwrap_or_default());
    Some(TestFile { policy: policy?, tests: tests? })
}

/// Reads tests of a policy; those that name no policy with a rule mean this one.
fn read_list(reader: &mut Reader<'_>, place: &Place<'_>, list: &[Value], policy: &str) -> Option<Vec<Case>> {
    let mut names = std::collections::BTreeSet::new();
    each(place, list, |place, test| {
        if let Some(name) = test.get("name").and_then(Value::as_str)
            && !names.insert(name)
        {
            let message = format!("another test of this document has the name `{name}`");
            reader.report(Problem::new(place.field("name").pointer(), code::DUPLICATE_TEST, message));
        }
        read_test(reader, place, test, policy)
    })
}

fn read_test(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value, policy: &str) -> Option<Case> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &TEST);
    for name in ["name", "at", "request", "expect"].iter().filter(|name| !fields.contains_key(**name)) {
        reader.missing(&place.field(name));
    }
    let name = reader.optional_text(place, fields, "name", TEST_NAME_LENGTH_MAX);
    let at = reader.instant(place, fields, "at");
    let question =
        fields.get("request").and_then(|request| read_request(reader, &place.field("request"), request));
    let facts = match (fields.get("facts"), at) {
        (Some(facts), at) => {
            read_facts(reader, &place.field("facts"), facts, at.unwrap_or_default()).map(Some)
        }
        (None, _) => Some(None),
    };
    let expect =
        fields.get("expect").and_then(|expect| read_expect(reader, &place.field("expect"), expect, policy));
    Some(Case { name: name?, at: at?, question: question?, facts: facts?, expect: expect? })
}

fn read_request(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Question> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &REQUEST);
    let text =
        |reader: &mut Reader<'_>, name: &str| reader.required_text(place, fields, name).map(str::to_owned);
    let (principal, action) = (text(reader, "principal"), text(reader, "action"));
    let resource = text(reader, "resource");
    let roles = match fields.get("roles") {
        Some(roles) => {
            let place = place.field("roles");
            let list = reader.list(&place, roles);
            list.and_then(|list| {
                each(&place, list, |place, role| reader.text(place, role).map(str::to_owned))
            })
        }
        None => Some(Vec::new()),
    };
    let map = |reader: &mut Reader<'_>, name: &str| match fields.get(name) {
        Some(value) => reader.object(&place.field(name), value).cloned(),
        None => Some(Map::new()),
    };
    let (params, metadata) = (map(reader, "params"), map(reader, "metadata"));
    let raw = RawQuestion {
        principal: principal?,
        roles: roles?,
        action: action?,
        resource: resource?,
        params: params?,
        metadata: metadata?,
    };
    Question::new(raw)
        .map_err(|error| {
            for mut problem in error.0 {
                problem.pointer = format!("{}{}", place.pointer(), problem.pointer);
                reader.report(problem);
            }
        })
        .ok()
}

/// Facts of a workload that is as it should be, but for what the test says.
fn read_facts(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value, at: Timestamp) -> Option<Facts> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &FACTS);
    let pods = fields.get("replicas").cloned().unwrap_or_else(|| json!(1));
    let mut facts = json!({
        "observedAt": at, "uid": "test", "generation": 1, "readyReplicas": pods, "availableReplicas": pods,
        "updatedReplicas": pods, "paused": false, "rollout": "complete",
    });
    let mut readable = true;
    for (name, value) in fields {
        let fits = check_fact(reader, place, fields, &FACTS, name);
        readable &= fits.is_some();
        facts[name] = value.clone();
    }
    if !readable {
        return None;
    }
    let facts = serde_json::from_value(facts);
    facts.map_err(|_| reader.wrong_type(place, "the facts of an object")).ok()
}

/// Holds one field against the table of fields.
fn check_fact(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    object: &'static Object,
    name: &str,
) -> Option<()> {
    let (place, value) = (parent.field(name), fields.get(name)?);
    match &object.fields.iter().find(|field| field.name == name)?.shape {
        Shape::Whole(..) => reader.optional_whole(parent, fields, object, name).map(drop),
        Shape::Flag => reader.flag(parent, fields, name).map(drop),
        Shape::OneOf(known) => reader.one_of(&place, value, known).map(drop),
        Shape::Text(length_max) => reader.optional_text(parent, fields, name, *length_max).map(drop),
        _ if name == "observedAt" => reader.instant(parent, fields, name).map(drop),
        _ => {
            let is_digest =
                value.as_str().is_some_and(|text| text.parse::<aegis_contract::digest::Digest>().is_ok());
            if !is_digest {
                reader.wrong_type(&place, "a digest, sha256: and 64 hexadecimal digits");
            }
            is_digest.then_some(())
        }
    }
}

fn read_expect(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value, policy: &str) -> Option<Expect> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &EXPECT);
    let effect = match fields.get("decision") {
        Some(value) => reader
            .one_of(&place.field("decision"), value, &["ALLOW", "DENY"])
            .map(|index| [Effect::Allow, Effect::Deny][index]),
        None => {
            reader.missing(&place.field("decision"));
            None
        }
    };
    let rules = list(reader, place, fields, "rules", |reader, place, list| {
        let mut rules = each(place, list, |place, rule| read_rule_name(reader, place, rule, policy))?;
        rules.sort();
        rules.dedup();
        Some(rules)
    });
    let limits = list(reader, place, fields, "limits", read_limits);
    let approvals = list(reader, place, fields, "approvals", read_approvals);
    let dry_run_only = reader.flag(place, fields, "dryRunOnly");
    let break_glass = reader.flag(place, fields, "breakGlass");
    Some(Expect {
        effect: effect?,
        rules: rules?,
        limits: limits?,
        approvals: approvals?,
        dry_run_only,
        break_glass,
    })
}

/// A list that may be left out.
fn list<T>(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&mut Reader<'_>, &Place<'_>, &[Value]) -> Option<T>,
) -> Option<Option<T>> {
    let Some(value) = fields.get(name) else { return Some(None) };
    let place = parent.field(name);
    let list = reader.list(&place, value)?;
    read(reader, &place, list).map(Some)
}

fn read_rule_name(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    policy: &str,
) -> Option<RuleName> {
    let text = reader.text(place, value)?;
    let (policy, rule) = text.split_once('/').unwrap_or((policy, text));
    if !is_kebab_case(policy) || !is_kebab_case(rule) {
        let message = "a rule is named by its id, or as policy/rule when it stands in another document";
        reader.report(Problem::new(place.pointer(), code::INVALID_NAME, message));
        return None;
    }
    Some(RuleName { policy: policy.to_owned(), rule: rule.to_owned() })
}
