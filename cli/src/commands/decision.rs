//! `aegisctl decision`: looks at decisions of the policy engine.

use clap::Subcommand;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What can be done with decisions.
#[derive(Debug, Subcommand)]
pub(crate) enum Decision {
    /// Show a decision: its rules, its reason, and everything it was given
    #[command(after_help = "Example:\n  aegisctl decision get 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91 -o json")]
    Get {
        /// Id of the decision, as actions name it
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(command: &Decision, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let Decision::Get { id } = command;
    let decision = settings.client()?.get(&["decisions", id]).await?;
    settings.output.document(&decision, &["id", "decisionId", "decision", "effect", "reason", "actionId"])?;
    Ok(Exit::Done)
}
