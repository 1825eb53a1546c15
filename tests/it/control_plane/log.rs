//! Reading the audit log the way an auditor does.

use aegis_tests::callers::Caller;
use aegis_tests::stack::Stack;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// All entries that fit a query, oldest first, page by page.
pub(super) async fn entries(auditor: &Caller, query: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/audit/entries?limit=200&{query}{cursor}");
        let page = auditor.get(&path).await?.expect(200)?.body;
        found.extend(page["items"].as_array().context("items")?.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    Ok(found)
}

/// The kinds of an action's entries, oldest first.
pub(super) async fn story(stack: &Stack, action_id: &Value) -> Result<Vec<String>> {
    let id = action_id.as_str().context("an action has an id")?;
    let entries = entries(&stack.admin()?, &format!("actionId={id}")).await?;
    for entry in &entries {
        let data = &entry["data"];
        let names_target =
            data["target"].is_object() && (data["type"].is_string() || data["change"].is_object());
        ensure!(names_target || data["resource"].is_string(), "it cannot be found by its target: {entry}");
    }
    Ok(entries.iter().filter_map(|entry| entry["kind"].as_str().map(str::to_owned)).collect())
}

/// How many refusals with a reason are recorded.
pub(super) async fn refusals(stack: &Stack, reason: &str) -> Result<usize> {
    let entries = entries(&stack.admin()?, "kind=request.refused").await?;
    Ok(entries.iter().filter(|entry| entry["data"]["reason"] == reason).count())
}

/// The value of a metric's line, 0 when there is none.
pub(crate) async fn metric(stack: &Stack, line: &str) -> Result<f64> {
    let page = stack.anonymous()?.get("/metrics").await?.expect(200)?.text;
    let value = page.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
    Ok(value.map(str::parse).transpose()?.unwrap_or_default())
}

/// How many actions exist.
pub(super) async fn actions(stack: &Stack) -> Result<usize> {
    let page = stack.admin()?.get("/api/v1/actions?limit=200").await?.expect(200)?.body;
    Ok(page["items"].as_array().context("items")?.len())
}
