//! `aegisctl policy replay` and `aegisctl policy usage`.

use aegis_policy::{ChangeKind, Changes, ReplayReport};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::proposal::ProposalOptions;
use super::tool::{ask, print};
use crate::commands::page::parse_time;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What to decide again, and what of it is well.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayOptions {
    /// Decisions since then: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Timestamp,
    /// Decisions before then; now if absent
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Changes that do not fail: newly-allowed, newly-denied, changed-approvals, changed-limits or changed-conditions
    #[arg(long, value_name = "CHANGE", value_delimiter = ',', value_parser = parse_kind)]
    accept: Vec<ChangeKind>,
    /// Least share of decisions that must be replayable, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    min_replayable: u8,
    #[command(flatten)]
    proposal: ProposalOptions,
}

const KINDS: [(&str, ChangeKind); 5] = [
    ("newly-allowed", ChangeKind::NewlyAllowed),
    ("newly-denied", ChangeKind::NewlyDenied),
    ("changed-approvals", ChangeKind::ChangedApprovals),
    ("changed-limits", ChangeKind::ChangedLimits),
    ("changed-conditions", ChangeKind::ChangedConditions),
];

fn parse_kind(text: &str) -> Result<ChangeKind, String> {
    let names = || KINDS.map(|(name, _)| name).join(", ");
    let found = KINDS.iter().find(|(name, _)| *name == text);
    found.map(|(_, kind)| *kind).ok_or_else(|| format!("must be one of {}", names()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    entry_id: String,
    report: ReplayReport,
}

/// Runs `replay`.
pub(super) async fn replay(command: &ReplayOptions, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let mut body = json!({ "since": command.since, "proposal": command.proposal.body()? });
    if let Some(until) = command.until {
        body["until"] = json!(until);
    }
    let answer: Value = ask(&settings.client()?, Method::POST, "replay", &body).await?;
    let Answer { entry_id, report } =
        serde_json::from_value(answer.clone()).map_err(|error| Failure::usage(error.to_string()))?;
    print(settings.output, &answer, || lines(&entry_id, &report))?;
    let is_replayable = report.replayable * 100 >= report.decisions * u64::from(command.min_replayable);
    let is_accepted =
        KINDS.iter().all(|(_, kind)| count(&report.changes, *kind) == 0 || command.accept.contains(kind));
    Ok(if is_replayable && is_accepted { Exit::Done } else { Exit::Failed })
}

fn count(changes: &Changes, kind: ChangeKind) -> u64 {
    match kind {
        ChangeKind::NewlyAllowed => changes.newly_allowed,
        ChangeKind::NewlyDenied => changes.newly_denied,
        ChangeKind::ChangedApprovals => changes.changed_approvals,
        ChangeKind::ChangedLimits => changes.changed_limits,
        ChangeKind::ChangedConditions => changes.changed_conditions,
    }
}

fn counts(changes: &Changes) -> String {
    let counts = KINDS.iter().map(|(name, kind)| (name, count(changes, *kind)));
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn lines(entry_id: &str, report: &ReplayReport) -> Vec<String> {
    let share = (report.replayable * 1_000).checked_div(report.decisions).unwrap_or(1_000);
    let mut lines = vec![format!(
        "{} of {} decisions can be taken again ({}.{} %)",
        report.replayable,
        report.decisions,
        share / 10,
        share % 10
    )];
    for (why, number) in [
        ("cannot be read by this release", report.unreadable),
        ("were taken with other zone data", report.other_zone_data),
    ] {
        if number > 0 {
            lines.push(format!("  {number} {why}"));
        }
    }
    lines.push(format!("{} unchanged", report.unchanged));
    for (name, kind) in KINDS {
        lines.push(format!("{} {name}", count(&report.changes, kind)));
    }
    if !report.by_rule.is_empty() {
        lines.push("by rule:".to_owned());
        lines.extend(report.by_rule.iter().map(|of| format!("  {}: {}", of.rule, counts(&of.changes))));
    }
    for sample in &report.samples {
        let name = KINDS.iter().find(|(_, kind)| *kind == sample.kind).map_or("", |(name, _)| name);
        let question = &sample.question;
        lines.push(format!(
            "{name} by {}: {} {} {} at {}: {} then, {} now ({}), decision {}",
            sample.rule,
            question.principal(),
            question.action(),
            question.resource(),
            sample.decided_at,
            sample.before,
            sample.after.effect,
            sample.after.reason,
            sample.decision_id
        ));
    }
    lines.push(format!(
        "recorded as {entry_id}; `aegisctl policy activate NAME --replay {entry_id}` names it"
    ));
    lines
}

/// The span to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct UsageOptions {
    /// Decisions since then: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "30d")]
    since: Timestamp,
    /// Decisions before then; now if absent
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Show only rules that decided nothing
    #[arg(long)]
    unused: bool,
}

const USES: [Column; 5] = [
    column("policy", "/policy"),
    column("version", "/version"),
    column("rule", "/rule"),
    column("decisions", "/decisions"),
    column("lastUsedAt", "/lastUsedAt"),
];

/// Runs `usage`.
pub(super) async fn usage(command: &UsageOptions, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let call = client.api(Method::GET, &["policy", "usage"]).query("since", &command.since.to_string());
    let call = call.query_some("until", command.until).taking(std::time::Duration::from_secs(150));
    let answer = client.send(&call).await?.body;
    let rules = answer["rules"].as_array().cloned().unwrap_or_default();
    let wanted: Vec<Value> =
        rules.into_iter().filter(|rule| !command.unused || rule["decisions"] == 0).collect();
    settings.output.list(&wanted, None, &USES)?;
    Ok(Exit::Done)
}
