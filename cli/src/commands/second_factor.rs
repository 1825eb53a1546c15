//! `aegisctl account second-factor` and `aegisctl step-up`: one's own second factor, and showing it.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::credentials::read_secret;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What can be done with one's own second factor.
#[derive(Debug, Subcommand)]
pub(crate) enum SecondFactor {
    /// Show whether you have one, and how many recovery codes are left
    #[command(after_help = "Example:\n  aegisctl account second-factor show")]
    Show,
    /// Get a secret for an authenticator app
    #[command(after_help = "\
Example:
  aegisctl account second-factor enrol --password-file password
  aegisctl account second-factor confirm --code 081804

The secret is shown once: type it into your app, or show its address as a picture (qrencode). It counts for nothing before
you confirm it.")]
    Enrol {
        /// File with your password, which is asked for once more; - is standard input. Without it where you have none
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Have the secret count, by a first code of your app; prints recovery codes
    #[command(after_help = "\
Example:
  aegisctl account second-factor confirm --code 081804

Keep the recovery codes where your app is not: each stands in for a code of it once. They are not shown again.")]
    Confirm,
    /// Give your second factor up, with its recovery codes
    #[command(after_help = "Example:\n  aegisctl account second-factor remove --code 081804")]
    Remove,
}

/// Show your second factor, so that what asks for it can be done for 10 minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  aegisctl step-up --code 081804

Commands that need it ask for a code by themselves, on a terminal or from --code (AEGIS_CODE). Each code is good once.")]
pub(crate) struct StepUp {}

/// Runs the command.
pub(crate) async fn run(command: &SecondFactor, settings: &Settings<'_>) -> Result<Exit, Failure> {
    const PATH: [&str; 3] = ["users", "me", "second-factor"];
    let client = settings.client()?;
    let show = |document: &Value, fields: &[&str]| settings.output.document(document, fields);
    match command {
        SecondFactor::Show => show(&client.get(&PATH).await?, &["state", "recoveryCodesLeft"])?,
        SecondFactor::Enrol { password_file } => {
            let body = match password_file {
                Some(file) => json!({ "password": read_secret(file)?.expose_secret() }),
                None => json!({}),
            };
            let begun = client.send(&client.api(Method::POST, &PATH).json(&body)).await?.body;
            show(&begun, &["secret", "uri"])?;
            eprintln!("give it to your app; then `aegisctl account second-factor confirm`");
        }
        SecondFactor::Confirm => {
            let code = client.code()?.ok_or_else(no_code)?;
            let call = client.api(Method::POST, &["users", "me", "second-factor", "confirm"]);
            let call = call.json(&json!({ "code": code.expose_secret() }));
            show(&client.send(&call).await?.body, &["recoveryCodes"])?;
            eprintln!("enrolled; keep the recovery codes, they are not shown again");
        }
        SecondFactor::Remove => {
            client.send(&client.api(Method::DELETE, &PATH)).await?;
            eprintln!("removed; take it out of your app too");
        }
    }
    Ok(Exit::Done)
}

/// Steps up.
pub(crate) async fn step_up(settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let code = client.code()?.ok_or_else(no_code)?;
    settings.output.document(&client.step_up(&code).await?, &["until"])?;
    Ok(Exit::Done)
}

fn no_code() -> Failure {
    Failure::usage("there is no terminal to ask for a code: give --code CODE (AEGIS_CODE)")
}
