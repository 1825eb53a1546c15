//! `aegisctl audit report`: every change of a period with who asked, who agreed and what became of it, and every
//! change of the rules themselves.

mod page;

use std::collections::BTreeMap;

use aegis_contract::ids::ActionId;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::commands::audit::courses::{Course, Courses, Entry};
use crate::commands::audit::source::{SourceOptions, Taken};
use crate::commands::page::parse_time;
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// Kinds that change what may be done, by whom and where: no action, and no reading.
const CHANGES: [&str; 39] = [
    "user.created",
    "user.roles-changed",
    "user.invited",
    "user.password-set",
    "user.password-reset",
    "user.disabled",
    "user.enabled",
    "second-factor.enrolled",
    "second-factor.removed",
    "second-factor.reset",
    "role-grant.requested",
    "role-grant.approved",
    "role-grant.denied",
    "client.created",
    "client.key-added",
    "client.key-revoked",
    "client.changed",
    "client.disabled",
    "client.enabled",
    "alert-source.created",
    "alert-source.deleted",
    "alert-source.disabled",
    "alert-source.enabled",
    "alert-source.credential-added",
    "alert-source.credential-revoked",
    "master-key.changed",
    "cluster.registered",
    "cluster.changed",
    "cluster.reported",
    "policy.version-stored",
    "policy.activated",
    "policy.deactivated",
    "policy.synced",
    "policy.released",
    "review.done",
    "log.renewed",
    "webhook.stored",
    "webhook.secret-rotated",
    "webhook.deleted",
];

/// Which period, and in which form.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// From this time on: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Timestamp,
    /// Before this time, in the same forms; now if absent
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    /// What to write: markdown, csv or json
    #[arg(long, value_enum, default_value_t = Form::Markdown, hide_possible_values = true)]
    format: Form,
    #[command(flatten)]
    source: SourceOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Markdown,
    Csv,
    Json,
}

/// What happened in a period.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    from: Timestamp,
    to: Timestamp,
    /// Where the entries come from.
    source: String,
    /// Whether nothing of the period is left out, as far as the source says.
    is_complete: bool,
    /// Actions of which anything was recorded in it, in the order in which they were asked for.
    actions: Vec<ActionRow>,
    /// What else was changed, in the order of the entries' times.
    changes: Vec<ChangeRow>,
}

/// An action as far as the period tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActionRow {
    id: ActionId,
    requested_at: Option<Timestamp>,
    requested_by: Option<String>,
    key_id: Option<String>,
    r#type: Option<String>,
    target: Option<String>,
    dry_run: bool,
    decision: Option<String>,
    policy_set_digest: Option<String>,
    approved_by: Vec<String>,
    denied_by: Option<String>,
    orders: usize,
    state: String,
    code: Option<String>,
    ended_at: Option<Timestamp>,
}

/// A change that is no action.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeRow {
    at: Timestamp,
    kind: String,
    by: String,
    /// What the entry says, as far as it fits into a line.
    what: BTreeMap<String, Value>,
    entry_id: String,
}

/// Runs the command.
pub(super) async fn run(command: &Report, settings: &Settings<'_>) -> Result<(), Failure> {
    let to = command.to.unwrap_or_else(aegis_runtime::clock::now);
    let within = |at: Timestamp| at >= command.from && at < to;
    let (mut courses, mut changes, mut unreadable) = (Courses::default(), Vec::new(), 0_u64);
    let taken = command
        .source
        .take(settings, (command.from, to), |line| match serde_json::from_slice::<Entry>(line) {
            Ok(entry) if !within(entry.at) => {}
            Ok(entry) => {
                courses.take(&entry);
                changes.extend(CHANGES.contains(&&*entry.kind).then(|| change(&entry)));
            }
            Err(_) => unreadable += 1,
        })
        .await?;
    if unreadable > 0 {
        eprintln!("{unreadable} entries are of a form that this aegisctl does not know, and are left out");
    }
    if command.source.is_live() {
        complete(&settings.client()?, &mut courses, to).await?;
    }
    changes.sort_by_key(|change| change.at);
    let period = Period {
        from: command.from,
        to,
        is_complete: unreadable == 0 && covers(&taken, command.from, to),
        source: taken.from,
        actions: rows(courses),
        changes,
    };
    match command.format {
        Form::Markdown => output::write(&page::markdown(&period))?,
        Form::Csv => output::write(&page::csv(&period))?,
        Form::Json => output::write_json_pretty(&serde_json::to_value(&period).map_err(Failure::usage)?)?,
    }
    Ok(())
}

/// Of what a bundle ends with, the last instant may be told in part only.
fn covers(taken: &Taken, from: Timestamp, to: Timestamp) -> bool {
    taken.is_gapless && (taken.from_the_first || taken.since <= from) && taken.until >= to
}

/// Looks up what was asked for before the period began.
async fn complete(client: &Client, courses: &mut Courses, to: Timestamp) -> Result<(), Failure> {
    for (id, course) in courses.0.iter_mut().filter(|(_, course)| course.requested.is_none()) {
        let told = client.get(&["actions", &id.to_string(), "story"]).await?;
        let mut whole = Course::default();
        for step in told["steps"].as_array().into_iter().flatten() {
            let mut step = step.clone();
            step["id"] = step["entryId"].take();
            if let Ok(entry) = serde_json::from_value::<Entry>(step)
                && entry.at < to
            {
                whole.take(&entry);
            }
        }
        *course = whole;
    }
    Ok(())
}

fn change(entry: &Entry) -> ChangeRow {
    let is_short = |value: &Value| match value {
        Value::Null | Value::Object(_) => false,
        Value::Array(items) => items.iter().all(Value::is_string),
        _ => true,
    };
    let data = entry.data.as_object().into_iter().flatten().filter(|(_, value)| is_short(value));
    ChangeRow {
        at: entry.at,
        kind: entry.kind.clone(),
        by: entry.principal.clone(),
        what: data.map(|(name, value)| (name.clone(), value.clone())).collect(),
        entry_id: entry.id.to_string(),
    }
}

fn rows(courses: Courses) -> Vec<ActionRow> {
    let mut rows: Vec<ActionRow> = courses.0.into_iter().map(|(id, course)| row(id, course)).collect();
    rows.sort_by_key(|row| (row.requested_at, row.id));
    rows
}

fn row(id: ActionId, course: Course) -> ActionRow {
    let (requested_at, requested_by, key_id) = match course.requested {
        Some((at, by, key)) => (Some(at), Some(by), key),
        None => (None, None, None),
    };
    let (state, code, ended_at) = match course.ended {
        Some(ended) => (ended.state, Some(ended.code), Some(ended.at)),
        None => ("open".to_owned(), None, None),
    };
    ActionRow {
        id,
        requested_at,
        requested_by,
        key_id,
        r#type: course.action_type.map(|action| action.as_str().to_owned()),
        target: course.target.map(|target| target.to_string()),
        dry_run: course.dry_run,
        decision: course.decision,
        policy_set_digest: course.policy_set,
        approved_by: course.approvers,
        denied_by: course.denied_by,
        orders: course.orders.len(),
        state,
        code,
        ended_at,
    }
}
