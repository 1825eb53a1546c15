//! The report as a page, and as one table.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ActionRow, ChangeRow, Period};
use crate::markdown::code;
use crate::output::printable;

/// A page in Markdown.
pub(super) fn markdown(period: &Period) -> String {
    let mut page = format!(
        "# Changes from {} to {}\n\nFrom {}.{}\n\n## Actions ({})\n\n",
        period.from,
        period.to,
        code(&period.source),
        if period.is_complete { "" } else { " **Not everything of the period is in it.**" },
        period.actions.len()
    );
    page.push_str("| asked for at | by | what | target | policy | agreed | outcome | ended at | id |\n");
    page.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for row in &period.actions {
        let what = row.r#type.as_deref().unwrap_or("unknown");
        let what = if row.dry_run { format!("{what} (dry run)") } else { what.to_owned() };
        let outcome = [Some(row.state.as_str()), row.code.as_deref()];
        let outcome: Vec<&str> = outcome.into_iter().flatten().collect();
        let agreed = people(row);
        cells(
            &mut page,
            &[
                &time(row.requested_at),
                row.requested_by.as_deref().unwrap_or_default(),
                &what,
                row.target.as_deref().unwrap_or_default(),
                row.decision.as_deref().unwrap_or_default(),
                &agreed,
                &outcome.join(" "),
                &time(row.ended_at),
                &row.id.to_string(),
            ],
        );
    }
    page.push_str(&format!("\n## Other changes ({})\n\n", period.changes.len()));
    page.push_str("| at | by | what | | entry |\n|---|---|---|---|---|\n");
    for ChangeRow { at, kind, by, what, entry_id } in &period.changes {
        cells(&mut page, &[&at.to_string(), by, kind, &members(what), entry_id]);
    }
    page
}

/// One table of all changes, those of actions first.
pub(super) fn csv(period: &Period) -> String {
    let mut table =
        "id,at,by,keyId,what,target,dryRun,decision,policySetDigest,approvedBy,deniedBy,orders,state,code,\
                     endedAt,details\r\n"
            .to_owned();
    for row in &period.actions {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        line(
            &mut table,
            &[
                row.id.to_string(),
                time(row.requested_at),
                text(&row.requested_by),
                text(&row.key_id),
                text(&row.r#type),
                text(&row.target),
                row.dry_run.to_string(),
                text(&row.decision),
                text(&row.policy_set_digest),
                row.approved_by.join(" "),
                text(&row.denied_by),
                row.orders.to_string(),
                row.state.clone(),
                text(&row.code),
                time(row.ended_at),
                String::new(),
            ],
        );
    }
    for ChangeRow { at, kind, by, what, entry_id } in &period.changes {
        let mut cells = vec![entry_id.clone(), at.to_string(), by.clone(), String::new(), kind.clone()];
        cells.resize(15, String::new());
        cells.push(members(what));
        line(&mut table, &cells);
    }
    table
}

fn people(row: &ActionRow) -> String {
    match &row.denied_by {
        Some(denier) => format!("no: {denier}"),
        None => row.approved_by.join(" "),
    }
}

fn time(time: Option<jiff::Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn members(what: &BTreeMap<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    };
    what.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join("; ")
}

fn cells(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| code(cell)).collect();
    page.push_str(&format!("| {} |\n", cells.join(" | ")));
}

fn line(table: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    table.push_str(&format!("{}\r\n", cells.join(",")));
}

/// A cell that no spreadsheet takes for a formula.
fn quoted(cell: &str) -> String {
    let text = printable(cell);
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    if text.contains(['"', ',']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_any_text() {
        for (text, expected) in
            [("web", "web"), ("a, \"b\"", "\"a, \"\"b\"\"\""), ("=1+1", "'=1+1"), ("a\nb", "a\u{fffd}b")]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
