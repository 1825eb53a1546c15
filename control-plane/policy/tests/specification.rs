//! Runs the examples of `docs/policies.md`, and holds its tables equal to the code's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use aegis_contract::facts::Facts;
use aegis_policy::attribute::ATTRIBUTES;
use aegis_policy::{Decision, Effect, PolicySet, Problem, Question, RawQuestion, code, document, evaluate};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("../../../docs/policies.md");
const NOW: &str = "2026-11-20T12:00:00Z";

/// One JSON block, and the rows of the table below it, each with its line.
struct Example {
    line: usize,
    document: Value,
    questions: Vec<(usize, Vec<String>)>,
    problems: Vec<(usize, Vec<String>)>,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut block: Option<(usize, String)> = None;
    let mut table = None;
    for (line, text) in (1..).zip(PAGE.lines()) {
        match &mut block {
            Some((start, json)) if text == "```" => {
                let document = in_document(serde_json::from_str(json).expect(json));
                examples.push(Example {
                    line: *start,
                    document,
                    questions: Vec::new(),
                    problems: Vec::new(),
                });
                block = None;
            }
            Some((_, json)) => json.push_str(text),
            None if text == "```json" => block = Some((line, String::new())),
            None if text.starts_with("| question |") => table = Some("questions"),
            None if text == "| code | at |" => table = Some("problems"),
            None if text.starts_with("|---") => {}
            None if text.starts_with('|') => {
                let Some(table) = table else { continue };
                let example = examples.last_mut().expect("a table belongs to the block above it");
                let rows = if table == "questions" { &mut example.questions } else { &mut example.problems };
                rows.push((
                    line,
                    text.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect(),
                ));
            }
            None => table = None,
        }
    }
    examples
}

fn in_document(block: Value) -> Value {
    let rules = match block {
        Value::Object(ref fields) if fields.contains_key("schema") => return block,
        Value::Array(_) => block,
        rule => json!([rule]),
    };
    json!({ "schema": "aegis.policy/v1", "name": "example", "rules": rules })
}

#[test]
fn every_example_of_the_specification_holds() {
    let (mut answered, mut refused) = (0, 0);
    for example in examples() {
        let parsed = document::parse(example.document.to_string().as_bytes());
        assert!(
            !example.questions.is_empty() || !example.problems.is_empty(),
            "the example in line {} shows nothing",
            example.line
        );
        if example.problems.is_empty() {
            let policy = parsed.unwrap_or_else(|problems| panic!("line {}: {problems:?}", example.line));
            let set = PolicySet::new(vec![(1, policy)]).unwrap();
            for (line, cells) in &example.questions {
                check_answer(*line, cells, &set);
                answered += 1;
            }
        } else {
            check_problems(&example, &parsed.err().unwrap_or_default());
            refused += 1;
        }
    }
    assert!(
        answered >= 50 && refused >= 7,
        "{answered} answers and {refused} refusals were found on the page"
    );
}

fn check_problems(example: &Example, problems: &[Problem]) {
    let found: BTreeSet<(String, String)> =
        problems.iter().map(|problem| (problem.code.to_owned(), problem.pointer.clone())).collect();
    let expected = example
        .problems
        .iter()
        .map(|(_, cells)| (cells[0].trim_matches('`').to_owned(), cells[1].trim_matches('`').to_owned()))
        .collect();
    assert_eq!(found, expected, "line {}", example.line);
}

fn check_answer(line: usize, cells: &[String], set: &PolicySet) {
    let [question, given, answer] = cells else { panic!("line {line}: three cells") };
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
    let decision = evaluate(set, &question, facts.as_ref(), now);
    assert_answer(line, answer, &decision);
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

/// The rows between two markers of the page must be `rows`.
fn assert_table(marker: &str, rows: &[String]) {
    let between = PAGE
        .split_once(&format!("<!-- {marker} -->"))
        .and_then(|(_, rest)| rest.split_once(&format!("<!-- /{marker} -->")))
        .map(|(table, _)| table)
        .expect(marker);
    let found: Vec<&str> = between.trim().lines().skip(2).collect();
    assert_eq!(
        found,
        rows,
        "docs/policies.md needs these rows between its `{marker}` marks:\n{}\n",
        rows.join("\n")
    );
}

#[test]
fn the_table_of_attributes_is_that_of_the_code() {
    let rows: Vec<String> = ATTRIBUTES
        .iter()
        .map(|row| {
            let (path, of, there) = (row.path, row.value_type, row.presence);
            format!("| `{path}` | {of} | {there} | {} | {} |", row.origin, row.description)
        })
        .collect();
    assert_table("attributes", &rows);
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let rows: Vec<String> =
        code::ALL.iter().map(|(code, meaning)| format!("| `{code}` | {} |", meaning.trim())).collect();
    assert_table("codes", &rows);
}

#[test]
fn every_numbered_rule_is_cited_where_it_is_implemented_and_no_other() {
    let on_page: BTreeSet<usize> =
        (1..100).filter(|number| PAGE.contains(&format!("\n**P{number}. "))).collect();
    assert_eq!(on_page, (1..=on_page.len()).collect(), "the numbers have no gaps");
    let mut cited = BTreeSet::new();
    for file in sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for comment in text.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment)) {
            let numbers = comment
                .split(|character: char| !character.is_ascii_alphanumeric())
                .filter_map(|word| word.strip_prefix('P')?.parse::<usize>().ok());
            cited.extend(numbers);
        }
    }
    assert_eq!(cited, on_page);
}

fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    folders.iter().flat_map(|folder| sources(folder)).chain(files).collect()
}
