//! The `aegis-control-plane` binary.

use std::process::ExitCode;

use aegis_control_plane::bootstrap::{self, Command};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match bootstrap::run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aegis-control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
