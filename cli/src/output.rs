//! Data on standard output: tables for people, JSON for programs. Nothing else is ever written there.

use std::io::{self, Write as _};
use std::str::FromStr;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest text in a table cell; signed receipts and the like are for programs.
const CELL_CHARACTERS_MAX: usize = 160;

/// What names the items of lists inside documents stands first.
const FIRST_IN_LISTS: [&str; 4] = ["at", "policy", "id", "name"];

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people; may change with every version.
    Table,
    /// One JSON document as the API answers it.
    Json,
    /// One JSON document per line; lists give one line per item.
    Jsonl,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "must be table, json or jsonl".to_owned())
    }
}

/// A column of a list: its title, and where in an item its value stands.
pub(crate) struct Column {
    title: &'static str,
    pointer: &'static str,
}

/// A column whose value stands at a JSON pointer.
pub(crate) const fn column(title: &'static str, pointer: &'static str) -> Column {
    Column { title, pointer }
}

impl Format {
    /// Writes one document. `first` names the members that people look for first.
    pub(crate) fn document(self, document: &Value, first: &[&str]) -> io::Result<()> {
        match self {
            Self::Table => write(&document_text(document, first)),
            Self::Json => write_json_pretty(document),
            Self::Jsonl => write(&format!("{document}\n")),
        }
    }

    /// Writes a list as the API pages it: `items`, and `nextCursor` if there is more.
    pub(crate) fn list(
        self,
        items: &[Value],
        next_cursor: Option<&str>,
        columns: &[Column],
    ) -> io::Result<()> {
        match self {
            Self::Table => write(&list_text(items, columns)),
            Self::Json => {
                let mut document = Map::from_iter([("items".to_owned(), Value::from(items))]);
                if let Some(cursor) = next_cursor {
                    document.insert("nextCursor".to_owned(), cursor.into());
                }
                write_json_pretty(&Value::Object(document))
            }
            Self::Jsonl => items.iter().try_for_each(|item| write(&format!("{item}\n"))),
        }
    }
}

/// Writes text as it is.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a document as people read JSON.
pub(crate) fn write_json_pretty(document: &Value) -> io::Result<()> {
    write(&format!("{document:#}\n"))
}

/// The text without control characters: what others wrote must not steer this terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn list_text(items: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns.iter().map(|column| column.title));
    for item in items {
        table
            .add_row(columns.iter().map(|column| item.pointer(column.pointer).map(cell).unwrap_or_default()));
    }
    table_text(table)
}

fn document_text(document: &Value, first: &[&str]) -> String {
    let mut members = Vec::new();
    let mut lists = Vec::new();
    flatten("", document, &mut members, &mut lists);
    let place = |name: &str| first.iter().position(|wanted| *wanted == name).unwrap_or(first.len());
    members.sort_by_key(|(name, _)| place(name));

    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, value) in members {
        table.add_row([name, value]);
    }
    let mut text = table_text(table);
    for (name, items) in lists {
        text.push_str(&format!("\n{name}\n"));
        text.push_str(&items_text(items));
    }
    text
}

/// Splits a document into its plain members, named by their path, and its lists of objects.
fn flatten<'v>(
    path: &str,
    value: &'v Value,
    members: &mut Vec<(String, String)>,
    lists: &mut Vec<(String, &'v [Value])>,
) {
    match value {
        Value::Object(object) if target_text(object).is_none() => {
            for (name, member) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, member, members, lists);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => lists.push((path.to_owned(), items)),
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        _ => members.push((path.to_owned(), cell(value))),
    }
}

/// A table of objects with a column for each member that any of them has.
fn items_text(items: &[Value]) -> String {
    let mut names: Vec<&str> =
        FIRST_IN_LISTS.into_iter().filter(|name| items.iter().any(|item| item.get(name).is_some())).collect();
    for name in items.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(names.iter().enumerate().map(|(index, name)| indented(index, name)));
    for item in items {
        table.add_row(names.iter().enumerate().map(|(index, name)| {
            let text = item.get(name).map(cell).unwrap_or_default();
            indented(index, &text)
        }));
    }
    table_text(table)
}

/// Lists inside a document stand a little to the right.
fn indented(index: usize, text: &str) -> String {
    if index == 0 { format!("  {text}") } else { text.to_owned() }
}

fn table_text(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(object) => target_text(object).unwrap_or_else(|| value.to_string()),
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_number()) => {
            return items.iter().map(cell).collect::<Vec<_>>().join(", ");
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    let count = text.chars().count();
    if count <= CELL_CHARACTERS_MAX {
        return printable(&text);
    }
    let start: String = text.chars().take(CELL_CHARACTERS_MAX).collect();
    format!("{}… ({count} characters, whole with -o json)", printable(&start))
}

/// A target in the form in which it is typed.
fn target_text(object: &Map<String, Value>) -> Option<String> {
    let part = |name: &str| object.get(name).and_then(Value::as_str);
    (object.len() == 4)
        .then(|| Some([part("cluster")?, part("namespace")?, part("kind")?, part("name")?].join("/")))
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_shows_what_matters_first_and_its_lists_below() {
        let target = json!({ "cluster": "local", "namespace": "shop", "kind": "Deployment", "name": "web" });
        let action = json!({
            "createdAt": "2026-11-20T12:00:00Z", "id": "a-1", "state": "failed", "target": target, "reason": null,
            "metadata": {}, "outcome": { "code": "rollout-failed", "steps": [
                { "at": "12:00:01", "name": "accepted" }, { "at": "12:00:02", "name": "written" } ] },
        });
        let expected = "\
id            a-1
state         failed
target        local/shop/Deployment/web
createdAt     2026-11-20T12:00:00Z
outcome.code  rollout-failed

outcome.steps
  at        name
  12:00:01  accepted
  12:00:02  written
";
        assert_eq!(document_text(&action, &["id", "state", "target"]), expected);
    }

    #[test]
    fn a_cell_is_cut_and_cannot_steer_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\nc")), "a\u{fffd}[2Jb\u{fffd}c");
        assert!(cell(&json!("x".repeat(500))).ends_with("… (500 characters, whole with -o json)"));
    }
}
