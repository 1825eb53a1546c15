//! `aegisctl whoami`: shows as whom one asks.

use crate::arguments::Options;
use crate::exit::Exit;
use crate::failure::Failure;

/// Show as whom you ask, and what you may do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aegisctl whoami -o json")]
pub(crate) struct Whoami {}

/// Runs the command.
pub(crate) async fn run(options: &Options) -> Result<Exit, Failure> {
    let caller = options.client()?.get(&["whoami"]).await?;
    options.output.document(&caller, &["principal", "name", "email", "roles", "permissions"])?;
    Ok(Exit::Done)
}
