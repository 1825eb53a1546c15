//! `aegisctl policy sync`.

use std::path::PathBuf;

use aegis_policy::analyse;
use http::Method;
use serde_json::{Value, json};

use super::diff;
use super::proposal::documents;
use super::tool::{ask, print};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What shall be active.
#[derive(Debug, clap::Args)]
pub(crate) struct SyncOptions {
    /// Folder whose policies shall be active, and no others
    folder: PathBuf,
    /// Name of their source; they are read-only elsewhere
    #[arg(long, value_name = "NAME", default_value = "sync")]
    managed_by: String,
    /// Only show what would be done, and whose access would change
    #[arg(long)]
    plan: bool,
    /// Audit entry of a replay of what will be active
    #[arg(long, value_name = "ENTRY", conflicts_with = "plan")]
    replay: Option<String>,
}

/// Runs the command. With `--plan` it ends with 1 when there is something to do.
pub(super) async fn run(command: &SyncOptions, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let documents = documents(std::slice::from_ref(&command.folder))?;
    let client = settings.client()?;
    let mut body = json!({ "managedBy": command.managed_by, "documents": documents, "plan": command.plan });
    if let Some(replay) = &command.replay {
        body["replay"] = json!(replay);
    }
    let synced: Value = ask(&client, Method::POST, "sync", &body).await?;
    let steps = synced["steps"].as_array().cloned().unwrap_or_default();
    let difference: Option<analyse::Diff> = if command.plan {
        let proposal = json!({ "documents": documents, "whole": true });
        Some(ask(&client, Method::POST, "diff", &proposal).await?)
    } else {
        None
    };
    let mut document = synced.clone();
    if let Some(difference) = &difference {
        document["diff"] = json!(difference);
    }
    print(settings.output, &document, || lines(&steps, difference.as_ref()))?;
    Ok(if command.plan && !steps.is_empty() { Exit::Failed } else { Exit::Done })
}

fn lines(steps: &[Value], difference: Option<&analyse::Diff>) -> Vec<String> {
    let version =
        |value: &Value| value.as_u64().map_or_else(|| "none".to_owned(), |number| number.to_string());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let (from, to) = (version(&step["fromVersion"]), version(&step["toVersion"]));
            format!("{} {}: version {from} → {to}", text(&step["change"]), text(&step["name"]))
        })
        .collect();
    let done = if difference.is_some() { "would change" } else { "changed" };
    lines.push(format!("{} policies {done}", steps.len()));
    lines.extend(difference.map(diff::lines).unwrap_or_default());
    lines
}
