//! `aegisctl account`: one's own.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::commands::second_factor::{self, SecondFactor};
use crate::credentials::read_secret;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What can be done with one's own account.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Show your account as others see it
    #[command(after_help = "Example:\n  aegisctl account show")]
    Show,
    /// Say what you are called
    #[command(after_help = "Example:\n  aegisctl account rename 'Anna Berg'")]
    Rename {
        /// Your name; without it you have none
        name: Option<String>,
    },
    /// Choose the password of a new account, by the invitation that you were given
    #[command(after_help = "\
Example:
  aegisctl account accept-invitation --invitation-file invitation --new-file password
  aegisctl login --keep --email you@example.com --password-file password

An invitation is good once.")]
    AcceptInvitation {
        /// File with the invitation; - is standard input
        #[arg(long, value_name = "FILE")]
        invitation_file: PathBuf,
        /// File with the password that you choose: at least 12 characters
        #[arg(long, value_name = "FILE")]
        new_file: PathBuf,
    },
    /// See, get and give up your second factor
    #[command(
        subcommand,
        after_help = "Example:\n  aegisctl account second-factor enrol --password-file password"
    )]
    SecondFactor(SecondFactor),
    /// Change your password, which ends your other sessions
    #[command(
        after_help = "Example:\n  aegisctl account change-password --current-file password --new-file password.new"
    )]
    ChangePassword {
        /// File with the password you have; - is standard input
        #[arg(long, value_name = "FILE")]
        current_file: PathBuf,
        /// File with the new one: at least 12 characters
        #[arg(long, value_name = "FILE")]
        new_file: PathBuf,
    },
}

/// Runs the command.
pub(crate) async fn run(command: &Account, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let show = |account: &Value| settings.output.document(account, &["id", "email", "name", "roles"]);
    match command {
        Account::SecondFactor(command) => return second_factor::run(command, settings).await,
        Account::Show => show(&client.get(&["users", "me"]).await?)?,
        Account::Rename { name } => {
            let call = client.api(Method::PATCH, &["users", "me"]).json(&json!({ "name": name }));
            show(&client.send(&call).await?.body)?;
        }
        Account::AcceptInvitation { invitation_file, new_file } => {
            let (invitation, new) = (read_secret(invitation_file)?, read_secret(new_file)?);
            let body =
                json!({ "invitationToken": invitation.expose_secret(), "password": new.expose_secret() });
            let call = client.api(Method::POST, &["auth", "accept-invitation"]).json(&body);
            settings.anonymous_client()?.send(&call).await?;
            eprintln!("done; sign in with it");
        }
        Account::ChangePassword { current_file, new_file } => {
            let (current, new) = (read_secret(current_file)?, read_secret(new_file)?);
            let body =
                json!({ "currentPassword": current.expose_secret(), "newPassword": new.expose_secret() });
            client.send(&client.api(Method::POST, &["users", "me", "password"]).json(&body)).await?;
            eprintln!("changed; your other sessions are ended");
        }
    }
    Ok(Exit::Done)
}
