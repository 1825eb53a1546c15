//! `aegisctl login`: signs in as a person, with a password or with the identity provider.

mod single_sign_on;

use std::path::PathBuf;

use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::client::Client;
use crate::credentials::read_secret;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::{self, Format};
use crate::session::Session;
use crate::settings::Settings;

/// Sign in as a person: print the access token, or keep the session for later commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  aegisctl login --keep --email you@example.com --password-file password
  export AEGIS_TOKEN=$(aegisctl login --email you@example.com --password-file password)
  aegisctl login --keep --sso

Without --keep nothing is stored, and the token is good for a quarter of an hour. With it, later commands that
name neither a token nor a key ask in this session, until `logout` or after seven days without one. Who has a second
factor is asked for a code on the terminal, or gives it with --code.")]
pub(crate) struct Login {
    /// E-mail address of the person
    #[arg(long, required_unless_present = "sso")]
    email: Option<String>,
    /// File with the password; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "sso")]
    password_file: Option<PathBuf>,
    /// Sign in with the identity provider, in a browser on this machine
    #[arg(long, conflicts_with_all = ["email", "password_file"])]
    sso: bool,
    /// Only print the address to open, and open no browser
    #[arg(long, requires = "sso")]
    no_browser: bool,
    /// Keep the session in a file of yours instead of printing the token
    #[arg(long)]
    keep: bool,
}

/// Runs the command.
pub(crate) async fn run(command: &Login, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.anonymous_client()?;
    let answer = match (&command.email, &command.password_file) {
        (Some(email), Some(file)) => sign_in(&client, settings, email, &read_secret(file)?).await?,
        _ => single_sign_on::sign_in(&client, !command.no_browser).await?,
    };
    if command.keep {
        Session::keep(client.base(), &answer)?;
        eprintln!("signed in; `aegisctl logout` ends it");
        return Ok(Exit::Done);
    }
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

/// Signs in with a password, and with a code where one is asked for.
async fn sign_in(
    client: &Client,
    settings: &Settings<'_>,
    email: &str,
    password: &SecretString,
) -> Result<Value, Failure> {
    let mut body = json!({ "email": email, "password": password.expose_secret() });
    if let Some(code) = settings.code()? {
        body["code"] = code.expose_secret().into();
    }
    let call = |body: &Value| client.api(Method::POST, &["auth", "login"]).json(body);
    match client.send(&call(&body)).await {
        Err(failure) if failure.is("code-required") => {
            let Some(code) = client.code()? else { return Err(failure) };
            body["code"] = code.expose_secret().into();
            Ok(client.send(&call(&body)).await?.body)
        }
        answer => Ok(answer?.body),
    }
}
