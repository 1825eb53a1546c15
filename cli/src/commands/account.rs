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
    /// Have yourself mailed what you can choose another password with
    #[command(after_help = "\
Example:
  aegisctl account forgot-password you@example.com

Whether anybody has that address is not told. The mail comes if you have a password, at most three times in an hour.")]
    ForgotPassword {
        /// Your e-mail address
        email: String,
    },
    /// Choose another password by what you were mailed, which ends all your sessions
    #[command(after_help = "\
Example:
  aegisctl account reset-password --token-file token --new-file password
  aegisctl login --keep --email you@example.com --password-file password

A token is good once, and for an hour.")]
    ResetPassword {
        /// File with the token; - is standard input
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// File with the password that you choose: at least 12 characters
        #[arg(long, value_name = "FILE")]
        new_file: PathBuf,
    },
    /// Ask for an account, where people may make their own
    #[command(after_help = "\
Example:
  aegisctl account sign-up you@example.com
  aegisctl account accept-invitation --invitation-file token --new-file password

You are mailed a token, which proves that the address is yours. It is good once, and for a day.")]
    SignUp {
        /// Your e-mail address
        email: String,
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
        Account::ForgotPassword { email } => ask_for_mail(settings, "forgot-password", email).await?,
        Account::SignUp { email } => ask_for_mail(settings, "sign-up", email).await?,
        Account::ResetPassword { token_file, new_file } => {
            let (token, new) = (read_secret(token_file)?, read_secret(new_file)?);
            let body = json!({ "resetToken": token.expose_secret(), "password": new.expose_secret() });
            let call = client.api(Method::POST, &["auth", "reset-password"]).json(&body);
            settings.anonymous_client()?.send(&call).await?;
            eprintln!("changed; sign in with it");
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

/// Asks for a mail to an address, as nobody in particular.
async fn ask_for_mail(settings: &Settings<'_>, what: &str, email: &str) -> Result<(), Failure> {
    let client = settings.anonymous_client()?;
    client.send(&client.api(Method::POST, &["auth", what]).json(&json!({ "email": email }))).await?;
    eprintln!("asked; look into your mail");
    Ok(())
}
