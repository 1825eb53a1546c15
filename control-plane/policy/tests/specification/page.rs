//! Reads the examples of `docs/policies.md`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// First columns of the tables that are examples.
const FIRST_COLUMNS: [&str; 6] =
    ["question", "code", "test", "refused where nothing is enforced", "counted at 12:00", "approved by"];

pub(crate) const PAGE: &str = include_str!("../../../../docs/policies.md");

/// One JSON block, and the rows of the tables below it.
pub(crate) struct Example {
    pub(crate) line: usize,
    pub(crate) documents: Vec<Value>,
    pub(crate) rows: Vec<Row>,
}

/// One row of a table, each cell under the name of its column.
pub(crate) struct Row {
    pub(crate) line: usize,
    cells: BTreeMap<String, String>,
}

impl Row {
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        self.cells.get(column).map(String::as_str)
    }
}

pub(crate) fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut block: Option<(usize, String)> = None;
    let mut columns: Option<Vec<String>> = None;
    let mut generated = false;
    for (line, text) in (1..).zip(PAGE.lines()) {
        let cells = || text.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        match (&mut block, &columns) {
            (Some((start, json)), _) if text == "```" => {
                let documents = documents(serde_json::from_str(json).expect(json));
                examples.push(Example { line: *start, documents, rows: Vec::new() });
                block = None;
            }
            (Some((_, json)), _) => json.push_str(text),
            _ if text == "```json" => block = Some((line, String::new())),
            _ if text.starts_with("<!-- ") => generated = !text.starts_with("<!-- /"),
            _ if generated || text.starts_with("|---") => {}
            (None, None) if text.starts_with('|') => columns = Some(cells().collect()),
            (None, Some(columns)) if text.starts_with('|') => {
                let row = Row { line, cells: columns.iter().cloned().zip(cells()).collect() };
                if FIRST_COLUMNS.contains(&columns[0].as_str()) {
                    examples.last_mut().expect("a table belongs to the block above it").rows.push(row);
                }
            }
            _ => columns = None,
        }
    }
    examples
}

fn documents(block: Value) -> Vec<Value> {
    let is_document = |value: &Value| value.get("schema").is_some();
    let rules = match block {
        document @ Value::Object(_) if is_document(&document) => return vec![document],
        Value::Array(documents) if documents.iter().all(is_document) => return documents,
        rules @ Value::Array(_) => rules,
        rule => json!([rule]),
    };
    vec![json!({ "schema": "aegis.policy/v1", "name": "example", "rules": rules })]
}

/// Pointers to every value of a document.
pub(crate) fn pointers(document: &Value) -> Vec<String> {
    fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(member, format!("{pointer}/{name}"), pointers);
            }),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
                collect(item, format!("{pointer}/{index}"), pointers);
            }),
            _ => {}
        }
        pointers.push(pointer);
    }
    let mut pointers = Vec::new();
    collect(document, String::new(), &mut pointers);
    pointers
}
