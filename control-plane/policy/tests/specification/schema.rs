//! The JSON Schema of documents: it accepts what the reader accepts, and refuses what has the wrong form.

use aegis_policy::{Draft, code, document, schema};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::page;

const DRAFTS: [Draft; 2] = [Draft::Draft202012, Draft::Draft7];

/// What no schema can say: names that must agree, numbers that must be in order, patterns that must be
/// able to match, parts of the language that stand in each other's way.
const BEYOND_A_SCHEMA: &[&str] = &[
    code::ABSENCE_UNSPECIFIED,
    code::ATTRIBUTE_UNAVAILABLE,
    code::DUPLICATE_ROLE,
    code::DUPLICATE_RULE_ID,
    code::DUPLICATE_TEST,
    code::INVALID_DATE,
    code::INVALID_DAYS,
    code::INVALID_INSTANT,
    code::INVALID_NETWORK,
    code::INVALID_PATTERN,
    code::INVALID_PRINCIPAL,
    code::INVALID_RANGE,
    code::INVALID_RESOURCE,
    code::INVALID_TIME,
    code::INVALID_VALIDITY,
    code::INVALID_VERSIONS,
    code::INVALID_WINDOW,
    code::MISPLACED_FIELD,
    code::UNKNOWN_ACTION,
    code::UNKNOWN_CALENDAR,
    code::UNKNOWN_ZONE,
    code::WARN_ALLOW,
];

fn validators() -> [Validator; 2] {
    DRAFTS.map(|draft| {
        let schema = schema(draft);
        assert!(jsonschema::meta::is_valid(&schema), "{draft:?} is no schema of its own draft");
        jsonschema::validator_for(&schema).unwrap()
    })
}

/// Holds the schemas against the reader.
fn compare(validators: &[Validator], document: &Value) {
    let parsed = document::parse(document.to_string().as_bytes());
    for validator in validators {
        let accepted = validator.is_valid(document);
        match &parsed {
            Ok(_) => assert!(accepted, "{document}: {:?}", validator.validate(document).err()),
            Err(problems) => {
                let formal = |code: &str| !BEYOND_A_SCHEMA.contains(&code);
                let refused = problems.iter().any(|problem| formal(problem.code));
                // An empty REQUIRE and facts that make no sense are found by the reader only.
                let rule_only = problems.iter().all(|problem| {
                    !formal(problem.code)
                        || problem.code == code::EMPTY && problem.message.starts_with("a REQUIRE")
                        || problem.pointer.contains("/request/")
                });
                assert!(!accepted || !refused || rule_only, "{document} is accepted: {problems:?}");
            }
        }
    }
}

#[test]
fn the_schemas_accept_every_valid_example_and_refuse_every_malformed_one() {
    let validators = validators();
    let mut seen = 0;
    for example in page::examples() {
        for document in example.documents {
            compare(&validators, &document);
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} documents were found on the page");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        compare(&validators, &serde_json::from_slice(&bytes).unwrap());
    }
}

fn is_valid(document: &Value) -> bool {
    document::parse(document.to_string().as_bytes()).is_ok()
}

/// Every place of every valid example is given something else.
#[test]
fn the_schemas_and_the_reader_agree_on_every_example_with_one_value_changed() {
    let validators = validators();
    let others = [
        json!(null),
        json!(true),
        json!(0.5),
        json!(7),
        json!("? ?"),
        json!("a"),
        json!([]),
        json!({}),
        json!([[]]),
    ];
    let mut seen = 0;
    for example in page::examples() {
        for document in &example.documents {
            for pointer in page::pointers(document) {
                for other in &others {
                    let mut changed = document.clone();
                    *changed.pointer_mut(&pointer).unwrap() = other.clone();
                    compare(&validators, &changed);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 3_000, "{seen} changes");
}

#[test]
fn a_field_too_many_and_a_field_too_few_are_refused_everywhere() {
    let validators = validators();
    for example in page::examples() {
        for document in example.documents.iter().filter(|document| is_valid(document)) {
            for pointer in page::pointers(document) {
                let mut more = document.clone();
                if let Some(fields) = more.pointer_mut(&pointer).unwrap().as_object_mut() {
                    fields.insert("surplus".to_owned(), json!("x"));
                    compare(&validators, &more);
                }
                let names = document.pointer(&pointer).unwrap().as_object().into_iter().flatten();
                for (name, _) in names {
                    let mut fewer = document.clone();
                    fewer.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(name);
                    compare(&validators, &fewer);
                }
            }
        }
    }
}
