//! `aegisctl whoami`: shows as whom one asks.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Show as whom you ask, and what you may do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aegisctl whoami -o json")]
pub(crate) struct Whoami {}

/// Runs the command.
pub(crate) async fn run(settings: &Settings<'_>) -> Result<Exit, Failure> {
    let caller = settings.client()?.get(&["whoami"]).await?;
    settings.output.document(&caller, &["principal", "name", "email", "roles", "permissions"])?;
    Ok(Exit::Done)
}
