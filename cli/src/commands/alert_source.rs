//! `aegisctl alert-source`: what sends alerts, and what it proves itself with.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use serde_json::json;

use crate::commands::new_secret;
use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// Say what may send alerts, and with which credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertSource {
    /// List alert sources by name
    #[command(after_help = "Example:\n  aegisctl alert-source list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show an alert source, and its credentials with their last use
    #[command(after_help = "Example:\n  aegisctl alert-source show alertmanager")]
    Show {
        /// Name of the alert source
        name: String,
    },
    /// Add an alert source with its first credential
    #[command(after_help = "\
Examples:
  aegisctl alert-source create alertmanager --kind bearer --out alertmanager.token
  aegisctl alert-source create grafana --kind basic --out grafana.password

A token is sent as `Authorization: Bearer`, a password with the source's name as `Authorization: Basic`.
To try it:
  curl -H \"Authorization: Bearer $(cat alertmanager.token)\" http://127.0.0.1:3000/api/v1/whoami
  curl --user \"grafana:$(cat grafana.password)\" http://127.0.0.1:3000/api/v1/whoami")]
    Create {
        /// Name of the alert source: a-z, 0-9 and '-'
        name: String,
        #[command(flatten)]
        credential: NewCredential,
    },
    /// Give an alert source a second credential, to change over to; the first is good until you revoke it
    #[command(after_help = "\
Example, to change over without a pause:
  aegisctl alert-source rotate alertmanager --kind bearer --out alertmanager.token.new
  … let it use the new one, and see that it does:
  aegisctl alert-source show alertmanager
  aegisctl alert-source revoke alertmanager 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91")]
    Rotate {
        /// Name of the alert source
        name: String,
        #[command(flatten)]
        credential: NewCredential,
    },
    /// Revoke a credential of an alert source, from the next request on
    #[command(
        after_help = "Example:\n  aegisctl alert-source revoke alertmanager 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91"
    )]
    Revoke {
        /// Name of the alert source
        name: String,
        /// Id of the credential
        #[arg(value_name = "ID")]
        credential: String,
    },
    /// Refuse all requests of an alert source, from its next one on
    #[command(after_help = "Example:\n  aegisctl alert-source disable alertmanager")]
    Disable {
        /// Name of the alert source
        name: String,
    },
    /// Take requests of a disabled alert source again
    #[command(after_help = "Example:\n  aegisctl alert-source enable alertmanager")]
    Enable {
        /// Name of the alert source
        name: String,
    },
    /// Remove an alert source with its credentials
    #[command(after_help = "Example:\n  aegisctl alert-source delete alertmanager")]
    Delete {
        /// Name of the alert source
        name: String,
    },
}

/// A credential to add.
#[derive(Debug, clap::Args)]
pub(crate) struct NewCredential {
    /// How the secret is sent: bearer (a token) or basic (a password)
    #[arg(long, value_parser = ["bearer", "basic"])]
    kind: String,
    /// New file for the secret, readable by you alone; without it the secret is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const COLUMNS: [Column; 3] =
    [column("name", "/name"), column("createdAt", "/createdAt"), column("disabledAt", "/disabledAt")];

const FIRST: [&str; 3] = ["name", "principal", "disabledAt"];
/// Where in an answer a new secret stands, and what is shown first.
const SECRET: (&str, &[&str]) = ("credentials", &FIRST);

/// Runs the command.
pub(crate) async fn run(command: &AlertSource, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let (client, output) = (settings.client()?, settings.output);
    let of = |method: Method, segments: &[&str]| client.api(method, &[&["alert-sources"], segments].concat());
    let changed = match command {
        AlertSource::List { page } => {
            write_list(&client, output, &COLUMNS, page, || of(Method::GET, &[])).await?;
            return Ok(Exit::Done);
        }
        AlertSource::Create { name, credential } => {
            let body = json!({ "name": name, "kind": credential.kind });
            let (call, out) = (of(Method::POST, &[]).json(&body), credential.out.as_deref());
            return new_secret::make(&client, &call, SECRET, out, settings).await;
        }
        AlertSource::Rotate { name, credential } => {
            let call = of(Method::POST, &[name, "credentials"]).json(&json!({ "kind": credential.kind }));
            let out = credential.out.as_deref();
            return new_secret::make(&client, &call, SECRET, out, settings).await;
        }
        AlertSource::Revoke { name, credential } => {
            client.send(&of(Method::DELETE, &[name, "credentials", credential])).await?;
            return Ok(Exit::Done);
        }
        AlertSource::Delete { name } => {
            client.send(&of(Method::DELETE, &[name])).await?;
            return Ok(Exit::Done);
        }
        AlertSource::Show { name } => client.get(&["alert-sources", name]).await?,
        AlertSource::Disable { name } => client.send(&of(Method::POST, &[name, "disable"])).await?.body,
        AlertSource::Enable { name } => client.send(&of(Method::POST, &[name, "enable"])).await?.body,
    };
    output.document(&changed, &FIRST)?;
    Ok(Exit::Done)
}
