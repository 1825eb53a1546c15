//! `aegisctl hold`: what automation leaves alone.

use clap::Subcommand;
use http::Method;

use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// List the targets that automation leaves alone since an action on them was put back
    #[command(after_help = "Example:\n  aegisctl hold list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Let automation act again on the target of an action that was put back
    #[command(after_help = "Example:\n  aegisctl hold lift 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90")]
    Lift {
        /// Id of the action that was put back
        id: String,
    },
}

const COLUMNS: [Column; 4] = [
    column("actionId", "/actionId"),
    column("target", "/target"),
    column("requestedBy", "/requestedBy"),
    column("heldAt", "/heldAt"),
];

/// Runs the command.
pub(crate) async fn run(command: &Hold, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match command {
        Hold::List { page } => {
            let call = || client.api(Method::GET, &["holds"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
        }
        Hold::Lift { id } => {
            client.send(&client.api(Method::POST, &["actions", id, "lift-hold"])).await?;
            eprintln!("lifted: automation may act on the target again");
        }
    }
    Ok(Exit::Done)
}
