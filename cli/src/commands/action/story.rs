//! `aegisctl action story`: the story of one action for people, as text or as a page for a ticket.

mod telling;

use std::fmt::Write as _;

use serde_json::Value;

use crate::failure::Failure;
use crate::markdown::{self, Said};
use crate::output::{Format, write as print};
use telling::{Line, lines_of, text};

/// Writes a story as the control plane tells it.
pub(super) fn write(format: Format, report: bool, story: &Value) -> Result<(), Failure> {
    match format {
        _ if report => print(&page(story))?,
        Format::Table => print(&plain(story))?,
        Format::Json | Format::Jsonl => format.document(story, &[])?,
    }
    Ok(())
}

/// What stands above the steps: a name, and what is said.
fn head(story: &Value) -> Vec<(&'static str, Said)> {
    let steps = steps(story);
    let mut head = Vec::new();
    if let Some(requested) = steps.iter().find(|step| step["kind"] == "action.requested") {
        let data = &requested["data"];
        let by = Said::new().value(text(&requested["principal"]));
        let by = match data["keyId"].as_str() {
            Some(key) => by.words("with key").value(key),
            None => by,
        };
        head.push(("asked by", by.words("at").value(text(&requested["at"]))));
        head.push(("asked for", telling::change(data)));
        head.extend(telling::beside_text(requested).map(|reason| ("reason", reason)));
    }
    head.push(("outcome", outcome(&story["outcome"])));
    let indexes: Vec<u64> = steps.iter().filter_map(|step| step["index"].as_u64()).collect();
    if let (Some(first), Some(last), Some(size)) =
        (indexes.iter().min(), indexes.iter().max(), story["checkpointSize"].as_u64())
    {
        let places =
            Said::new().words("entries").value(first.to_string()).words("to").value(last.to_string());
        head.push(("log", places.words("of").value(size.to_string()).words("under its newest checkpoint")));
    }
    head
}

fn outcome(outcome: &Value) -> Said {
    if outcome.is_null() {
        return Said::new().words("none so far");
    }
    Said::new().value(text(&outcome["at"])).and(telling::ended(outcome))
}

fn steps(story: &Value) -> &[Value] {
    story["steps"].as_array().map_or(&[], Vec::as_slice)
}

fn lines(story: &Value) -> Vec<Line> {
    let steps = steps(story);
    steps.iter().flat_map(|step| lines_of(step, steps)).collect()
}

/// What a reader must know besides: about which entry, and what.
fn remarks(story: &Value) -> Vec<(String, Said)> {
    let place = |remark: &Value| {
        let step = steps(story).iter().find(|step| step["entryId"] == remark["entryId"]);
        step.map(telling::place).unwrap_or_default()
    };
    let remarks = story["remarks"].as_array().into_iter().flatten();
    let said =
        |remark: &Value| Said::new().value(text(&remark["code"])).words("—").value(text(&remark["message"]));
    remarks.map(|remark| (place(remark), said(remark))).collect()
}

fn plain(story: &Value) -> String {
    let mut page = String::new();
    let mut add =
        |line: String| writeln!(page, "{}", line.trim_end()).expect("writing to a string cannot fail");
    add(format!("{:<10} {}", "action", text(&story["actionId"])));
    for (name, said) in head(story) {
        add(format!("{name:<10} {}", said.plain()));
    }
    add(String::new());
    for Line { place, at, who, what } in lines(story) {
        add(format!("{place:>6}  {at:<30}  {}  {}", who.plain(), what.plain()));
    }
    let remarks = remarks(story);
    if !remarks.is_empty() {
        add("\nto know".to_owned());
    }
    for (place, said) in remarks {
        add(format!("{place:>6}  {}", said.plain()));
    }
    page
}

fn page(story: &Value) -> String {
    let id = markdown::code(text(&story["actionId"]));
    let mut page = format!("# Action {id}\n\n| | |\n|---|---|\n");
    let mut add = |line: String| page.push_str(&format!("{line}\n"));
    for (name, said) in head(story) {
        add(format!("| {name} | {} |", said.markdown()));
    }
    add("\n## What happened\n\n| entry | at | who | what |\n|---|---|---|---|".to_owned());
    for Line { place, at, who, what } in lines(story) {
        add(format!("| {place} | {at} | {} | {} |", who.markdown(), what.markdown()));
    }
    let remarks = remarks(story);
    if !remarks.is_empty() {
        add("\n## To know\n\n| entry | |\n|---|---|".to_owned());
    }
    for (place, said) in remarks {
        add(format!("| {place} | {} |", said.markdown()));
    }
    let id = text(&story["actionId"]);
    add(format!(
        "\nThe numbers are places in the audit log. To prove these entries without trusting the server:\n\n```bash\n\
         aegisctl audit export --action-id {} --out action.jsonl\naegisctl audit verify action.jsonl --keys log.keys\n\
         ```",
        crate::output::printable(id)
    ));
    page
}
