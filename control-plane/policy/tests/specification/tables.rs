//! The tables of the page are those of the code, and its numbered rules are cited where they are implemented.

use std::collections::BTreeSet;

use aegis_policy::attribute::ATTRIBUTES;
use aegis_policy::operator::{OPERATORS, Takes};
use aegis_policy::shape::{self, Object, Shape};
use aegis_policy::{Part, code};

use crate::page::PAGE;

/// The rows between two markers of the page must be `rows`.
fn assert_table(marker: &str, rows: &[String]) {
    let between = PAGE
        .split_once(&format!("<!-- {marker} -->"))
        .and_then(|(_, rest)| rest.split_once(&format!("<!-- /{marker} -->")))
        .map(|(table, _)| table)
        .expect(marker);
    let found: Vec<&str> = between.trim().lines().collect();
    assert_eq!(
        found,
        rows,
        "docs/policies.md needs these rows between its `{marker}` marks:\n{}\n",
        rows.join("\n")
    );
}

/// What the page says of a shape.
fn in_words(shape: &Shape) -> String {
    match shape {
        Shape::Literal(text) => format!("`{text}`"),
        Shape::OneOf(texts) => texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", "),
        Shape::Name => "name".to_owned(),
        Shape::Text(length_max) => format!("text of up to {length_max} characters"),
        Shape::Form(words, _) => (*words).to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::Whole(min, max) => format!("{min} to {max}"),
        Shape::List { of, .. } => format!("list of {}", in_words(of)),
        Shape::OneOrMore(of) => format!("{}, or a list of them", in_words(of)),
        Shape::Object(object) => object.name.to_owned(),
        Shape::Map(object) => format!("object of names, each with a {}", object.name),
        Shape::Kinds(_) => "limit".to_owned(),
        Shape::Condition => "condition".to_owned(),
        Shape::Operand => "value".to_owned(),
        Shape::Scalars => "object of texts, numbers, true and false".to_owned(),
    }
}

fn field_rows(object: &Object) -> Vec<String> {
    let head = ["| field | | |".to_owned(), "|---|---|---|".to_owned()];
    let rows = object.fields.iter().map(|field| {
        let must = if field.required { ", required" } else { "" };
        format!("| `{}` | {}{must} | {} |", field.name, in_words(&field.shape), field.meaning)
    });
    head.into_iter().chain(rows).collect()
}

#[test]
fn the_tables_of_fields_are_those_of_the_code() {
    for object in [
        &shape::DOCUMENT,
        &shape::RULE,
        &shape::MATCH,
        &shape::TIME,
        &shape::WINDOW,
        &shape::CALENDAR,
        &shape::APPROVAL,
        &shape::REVIEW,
        &shape::TEST,
        &shape::REQUEST,
        &shape::FACTS,
        &shape::EXPECT,
    ] {
        assert_table(&format!("fields {}", object.name), &field_rows(object));
    }
    let mut rows = vec!["| type | field | | |".to_owned(), "|---|---|---|---|".to_owned()];
    for limit in shape::LIMITS {
        rows.push(format!("| `{}` | | | {} |", limit.name, limit.fields[0].meaning));
        rows.extend(field_rows(limit).into_iter().skip(3).map(|row| format!("| {row}")));
    }
    assert_table("limits", &rows);
}

#[test]
fn the_table_of_operators_is_that_of_the_code() {
    let mut rows = vec!["| operator | value | reads | true if |".to_owned(), "|---|---|---|---|".to_owned()];
    for operator in OPERATORS {
        let takes = match operator.takes {
            Takes::Nothing => "none",
            Takes::Value => "a value of the attribute's type",
            Takes::Values => "a list of such values, all of one type",
            Takes::Number => "a number",
            Takes::Range => "a list of two numbers, the lower one first",
            Takes::Text => "a text",
            Takes::Pattern => "a pattern",
            Takes::Network => "a network",
            Takes::Versions => "versions",
            Takes::Texts => "a list of texts",
        };
        let reads = match operator.takes {
            Takes::Nothing => "everything",
            Takes::Value | Takes::Values => "all but lists",
            Takes::Number | Takes::Range => "numbers, `metadata.*`",
            Takes::Text | Takes::Pattern | Takes::Network | Takes::Versions => "texts, `metadata.*`",
            Takes::Texts => "lists",
        };
        rows.push(format!("| `{}` | {takes} | {reads} | {} |", operator.name, operator.meaning));
    }
    assert_table("operators", &rows);
}

#[test]
fn the_table_of_parts_is_that_of_the_code() {
    let mut rows = vec!["| part | what it needs |".to_owned(), "|---|---|".to_owned()];
    rows.extend(Part::ALL.iter().map(|part| format!("| `{}` | {} |", part.as_str(), part.meaning())));
    assert_table("parts", &rows);
}

#[test]
fn the_table_of_attributes_is_that_of_the_code() {
    let mut rows =
        vec!["| path | type | there | from | meaning |".to_owned(), "|---|---|---|---|---|".to_owned()];
    rows.extend(ATTRIBUTES.iter().map(|row| {
        let (path, of, there) = (row.path, row.value_type, row.presence);
        format!("| `{path}` | {of} | {there} | {} | {} |", row.origin, row.description)
    }));
    assert_table("attributes", &rows);
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let mut rows = vec!["| code | meaning |".to_owned(), "|---|---|".to_owned()];
    rows.extend(code::ALL.iter().map(|(code, meaning)| format!("| `{code}` | {} |", meaning.trim())));
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
