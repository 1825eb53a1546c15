//! `aegisctl policy diff`.

use std::path::PathBuf;

use aegis_policy::analyse::{self, Change, STEPS_DEFAULT};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde_json::json;

use super::check::{question_text, undecided_text};
use super::files;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, printable, write};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// A policy or a folder of policies
    before: PathBuf,
    /// What takes its place
    after: PathBuf,
    /// Time from which on to look; now if absent
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// How long to look before saying "undecided"
    #[arg(long, value_name = "STEPS", default_value_t = STEPS_DEFAULT)]
    steps: u64,
}

/// Runs the command.
pub(super) fn run(command: &Diff, output: Format) -> Result<Exit, Failure> {
    let read = |path: &PathBuf| files::read(std::slice::from_ref(path));
    let (before, after) = (read(&command.before)?.set, read(&command.after)?.set);
    let diff = analyse::diff(&before, &after, command.at.unwrap_or_else(clock::now), command.steps);
    match output {
        Format::Table => write(&text(&diff))?,
        Format::Json | Format::Jsonl => output.document(&json!(diff), &[])?,
    }
    let is_same = diff == analyse::Diff::default();
    Ok(if is_same { Exit::Done } else { Exit::Failed })
}

fn text(diff: &analyse::Diff) -> String {
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
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

fn cause(change: &Change) -> String {
    let rules: Vec<String> = change.rules.iter().map(ToString::to_string).collect();
    change.obligation.clone().unwrap_or_else(|| rules.join(", "))
}
