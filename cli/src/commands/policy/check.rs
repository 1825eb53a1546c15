//! `aegisctl policy check`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aegis_policy::analyse::{self, Checked, Circumstances, STEPS_DEFAULT, Undecided, Witness};
use aegis_runtime::clock;
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::files;
use super::proposal::ProposalOptions;
use super::tool::{ask, print};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What to check, and what is known about the place where it holds.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Policies, or folders of them, as one set; what is active on the control plane if absent
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Namespaces that the executor of a cluster allows; once for each cluster
    #[arg(long = "allowlist", value_name = "CLUSTER=NAMESPACE,…", value_parser = parse_names, requires = "paths")]
    allowlists: Vec<(String, BTreeSet<String>)>,
    /// People who hold a role; once for each role
    #[arg(long = "holders", value_name = "ROLE=PRINCIPAL,…", value_parser = parse_names, requires = "paths")]
    holders: Vec<(String, BTreeSet<String>)>,
    /// Time from which on to look; now if absent
    #[arg(long, value_name = "TIME", requires = "paths")]
    at: Option<Timestamp>,
    /// How long to look before saying "undecided"
    #[arg(long, value_name = "STEPS", default_value_t = STEPS_DEFAULT)]
    steps: u64,
    #[command(flatten)]
    proposal: ProposalOptions,
}

fn parse_names(text: &str) -> Result<(String, BTreeSet<String>), String> {
    let (name, list) = text.split_once('=').ok_or("must be NAME=A,B,…")?;
    let list = list.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    Ok((name.to_owned(), list))
}

/// Runs the command.
pub(super) async fn run(command: &Check, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let checked = if command.paths.is_empty() {
        ask(&settings.client()?, Method::POST, "check", &command.proposal.body()?).await?
    } else if command.proposal.is_empty() {
        check_files(command)?
    } else {
        return Err(Failure::usage("files are checked alone: give either PATHs or a proposal"));
    };
    print(settings.output, &json!(checked), || lines(&checked))?;
    let is_clean = checked.findings.is_empty() && checked.undecided.is_empty();
    Ok(if is_clean { Exit::Done } else { Exit::Failed })
}

fn check_files(command: &Check) -> Result<Checked, Failure> {
    let files = files::read(&command.paths)?;
    let known = |pairs: &[(String, BTreeSet<String>)]| {
        (!pairs.is_empty()).then(|| pairs.iter().cloned().collect::<BTreeMap<_, _>>())
    };
    let circumstances =
        Circumstances { holders: known(&command.holders), allowlists: known(&command.allowlists) };
    let now = command.at.unwrap_or_else(clock::now);
    Ok(analyse::check(&files.set, &circumstances, now, command.steps))
}

fn lines(checked: &Checked) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &checked.findings {
        lines.push(format!("{}/{}: {}: {}", finding.policy, finding.rule, finding.kind, finding.message));
        lines.push(format!("    {}", question_text(&finding.witness)));
        lines.push(format!("    is answered {}: {}", finding.decision.effect, finding.decision.reason));
    }
    lines.extend(checked.undecided.iter().map(undecided_text));
    lines.push(format!("{} findings, {} undecided", checked.findings.len(), checked.undecided.len()));
    lines
}

pub(super) fn undecided_text(undecided: &Undecided) -> String {
    match &undecided.rule {
        Some(rule) => format!("undecided: {rule}: {}", undecided.reason),
        None => format!("undecided: {}", undecided.reason),
    }
}

/// A question in one line.
pub(super) fn question_text(witness: &Witness) -> String {
    let Witness { question, facts, at } = witness;
    let mut text = format!("{} {} {}", question.principal(), question.action(), question.resource());
    if !question.roles().is_empty() {
        text.push_str(&format!(" as {}", question.roles().join(", ")));
    }
    for (part, values) in [("params", question.params()), ("metadata", question.metadata())] {
        for (name, value) in values.iter() {
            text.push_str(&format!(" {part}.{name}={value}"));
        }
    }
    if let Some(facts) = facts {
        text.push_str(&format!(" facts={}", json!(facts)));
    }
    format!("{text} at {at}")
}
