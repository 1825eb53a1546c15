//! `aegisctl policy diff`.

use std::path::PathBuf;

use aegis_policy::analyse::{self, Change, STEPS_DEFAULT};
use aegis_runtime::clock;
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::check::{question_text, undecided_text};
use super::files;
use super::proposal::ProposalOptions;
use super::tool::{ask, print};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// A policy or a folder of policies; what is active on the control plane if absent
    #[arg(requires = "after")]
    before: Option<PathBuf>,
    /// What takes its place
    after: Option<PathBuf>,
    /// Time from which on to look; now if absent
    #[arg(long, value_name = "TIME", requires = "after")]
    at: Option<Timestamp>,
    /// How long to look before saying "undecided"
    #[arg(long, value_name = "STEPS", default_value_t = STEPS_DEFAULT)]
    steps: u64,
    #[command(flatten)]
    proposal: ProposalOptions,
}

/// Runs the command.
pub(super) async fn run(command: &Diff, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let diff: analyse::Diff = match (&command.before, &command.after, command.proposal.is_empty()) {
        (Some(before), Some(after), true) => {
            let read = |path: &PathBuf| files::read(std::slice::from_ref(path));
            let (before, after) = (read(before)?.set, read(after)?.set);
            analyse::diff(&before, &after, command.at.unwrap_or_else(clock::now), command.steps)
        }
        (None, None, false) => {
            ask(&settings.client()?, Method::POST, "diff", &command.proposal.body()?).await?
        }
        _ => {
            let message =
                "give two PATHs, or say with --with, --with-version or --without what would be active";
            return Err(Failure::usage(message));
        }
    };
    print(settings.output, &json!(diff), || lines(&diff))?;
    let is_same = diff == analyse::Diff::default();
    Ok(if is_same { Exit::Done } else { Exit::Failed })
}

/// What people read of a difference.
pub(super) fn lines(diff: &analyse::Diff) -> Vec<String> {
    let mut lines = Vec::new();
    for (word, changes) in
        [("newly allowed", &diff.gained), ("newly denied", &diff.lost), ("changed", &diff.changed)]
    {
        for change in changes {
            lines.push(format!("{word}: {}", cause(change)));
            lines.push(format!("    {}", question_text(&change.witness)));
            lines.push(format!("    before {}: {}", change.before.effect, change.before.reason));
            lines.push(format!("    after  {}: {}", change.after.effect, change.after.reason));
        }
    }
    lines.extend(diff.undecided.iter().map(undecided_text));
    let analyse::Diff { gained, lost, changed, undecided } = diff;
    lines.push(format!(
        "{} newly allowed, {} newly denied, {} changed obligations, {} undecided",
        gained.len(),
        lost.len(),
        changed.len(),
        undecided.len()
    ));
    lines
}

fn cause(change: &Change) -> String {
    let rules: Vec<String> = change.rules.iter().map(ToString::to_string).collect();
    change.obligation.clone().unwrap_or_else(|| rules.join(", "))
}
