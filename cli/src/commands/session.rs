//! `aegisctl session` and `aegisctl logout`: where a person is signed in.

use clap::Subcommand;
use http::Method;

use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List your sessions that are not over, the oldest first
    #[command(after_help = "Example:\n  aegisctl session list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// End one of your sessions: its tokens are good no more
    #[command(after_help = "Example:\n  aegisctl session end 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90")]
    End {
        /// Id of the session
        id: String,
    },
    /// End all your sessions, this one too
    #[command(after_help = "Example:\n  aegisctl session end-all")]
    EndAll,
}

/// End the session you ask in, and forget it where `login --keep` kept it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aegisctl logout")]
pub(crate) struct Logout {}

const COLUMNS: [Column; 5] = [
    column("id", "/id"),
    column("isCurrent", "/isCurrent"),
    column("agent", "/agent"),
    column("refreshedAt", "/refreshedAt"),
    column("expiresAt", "/expiresAt"),
];

/// Runs the command.
pub(crate) async fn run(command: &Session, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match command {
        Session::List { page } => {
            let call = || client.api(Method::GET, &["sessions"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
        }
        Session::End { id } => {
            client.send(&client.api(Method::DELETE, &["sessions", id])).await?;
            eprintln!("ended");
        }
        Session::EndAll => {
            client.send(&client.api(Method::DELETE, &["sessions"])).await?;
            client.forget_session().await?;
            eprintln!("all ended; sign in again");
        }
    }
    Ok(Exit::Done)
}

/// Signs out.
pub(crate) async fn log_out(settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match client.send(&client.api(Method::POST, &["auth", "logout"])).await {
        Ok(_) => {}
        // It was over already: what is kept of it is of no use.
        Err(failure) if client.keeps_session() && failure.is_unauthenticated() => {}
        Err(failure) => return Err(failure),
    }
    client.forget_session().await?;
    eprintln!("signed out");
    Ok(Exit::Done)
}
