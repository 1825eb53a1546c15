//! `aegisctl login`: signs in as a person.

use std::path::PathBuf;

use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::credentials::read_secret;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::{self, Format};
use crate::settings::Settings;

/// Sign in as a person and print the access token; nothing is stored.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  export AEGIS_TOKEN=$(aegisctl login --email you@example.com --password-file password)")]
pub(crate) struct Login {
    /// E-mail address of the person
    #[arg(long)]
    email: String,
    /// File with the password; - is standard input
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
}

/// Runs the command.
pub(crate) async fn run(command: &Login, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let password = read_secret(&command.password_file)?;
    let client = settings.anonymous_client()?;
    let call = client
        .api(Method::POST, &["auth", "login"])
        .json(&json!({ "email": command.email, "password": password.expose_secret() }));
    let answer = client.send(&call).await?.body;
    if settings.output != Format::Table {
        settings.output.document(&answer, &[])?;
        return Ok(Exit::Done);
    }
    let Some(token) = answer.get("accessToken").and_then(Value::as_str) else {
        let text = "no accessToken in the answer".to_owned();
        return Err(Cause::NotUnderstood { url: client.base().to_string(), status: 200, text }.into());
    };
    output::write(&format!("{token}\n"))?;
    if let Some(seconds) = answer.get("expiresInSeconds").and_then(Value::as_u64) {
        eprintln!("good for {seconds} s");
    }
    Ok(Exit::Done)
}
