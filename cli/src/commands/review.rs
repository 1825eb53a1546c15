//! `aegisctl review`: what somebody must look at afterwards.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with reviews.
#[derive(Debug, Subcommand)]
pub(crate) enum Review {
    /// List the actions that nobody has looked at yet, the oldest first
    #[command(after_help = "Example:\n  aegisctl review list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Say that you looked at an action, and what you found
    #[command(
        after_help = "Example:\n  aegisctl review done 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 --comment 'was needed: the shop was down'"
    )]
    Done {
        /// Id of the action
        id: String,
        /// What you found
        #[arg(long, value_name = "TEXT")]
        comment: String,
    },
}

const COLUMNS: [Column; 6] = [
    column("actionId", "/actionId"),
    column("type", "/type"),
    column("target", "/target"),
    column("requestedBy", "/requestedBy"),
    column("role", "/role"),
    column("dueAt", "/dueAt"),
];

/// Runs the command.
pub(crate) async fn run(command: &Review, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match command {
        Review::List { page } => {
            let call = || client.api(Method::GET, &["reviews"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
        }
        Review::Done { id, comment } => {
            let call = client.api(Method::POST, &["actions", id, "review"]);
            let done = client.send(&call.json(&json!({ "comment": comment }))).await?.body;
            settings.output.document(&done, &["roles", "entryId"])?;
        }
    }
    Ok(Exit::Done)
}
