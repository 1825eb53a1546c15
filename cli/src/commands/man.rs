//! `aegisctl man`: writes the manual.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::failure::Failure;

/// Write a man page for each command into a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  aegisctl man ~/.local/share/man/man1 && man aegisctl-heal-restart")]
pub(crate) struct Man {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command.
pub(crate) fn run(command: &Man) -> Result<Exit, Failure> {
    fs::create_dir_all(&command.folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), &command.folder))
        .map_err(|error| Failure::usage(format!("cannot write to {}: {error}", command.folder.display())))?;
    Ok(Exit::Done)
}
