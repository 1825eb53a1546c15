//! `aegisctl client`: automation, what bounds it, and its keys.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::{self, Call};
use crate::commands::new_secret;
use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::{Column, column};
use crate::settings::Settings;

/// Say which automation may ask, for what at most, and with which keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// List clients by name
    #[command(after_help = "Example:\n  aegisctl client list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show a client, what bounds it, and its keys with their last use
    #[command(after_help = "Example:\n  aegisctl client show alert-bot")]
    Show {
        /// Name of the client
        name: String,
    },
    /// Add a client with its first key
    #[command(after_help = "\
Examples:
  aegisctl client create alert-bot --owner you@example.com --out alert-bot.secret \\
    --action restart --namespace 'prod-*/shop' --key-expires-at 2027-03-01T00:00:00Z

  With a key pair that only the client has:
    openssl genpkey -algorithm ed25519 -out alert-bot.pem
    openssl pkey -in alert-bot.pem -pubout -out alert-bot.pub
    aegisctl client create alert-bot --owner you@example.com --public-key-file alert-bot.pub
    aegisctl --key-id alert-bot.… --secret-file alert-bot.pem whoami

A client may do what policy allows it and its bounds hold; bounds never allow anything themselves.
A secret is shown this once; --out keeps it from your terminal.")]
    Create {
        /// Name of the client: a-z, 0-9 and '-'
        name: String,
        /// E-mail address of the person who answers for it
        #[arg(long, value_name = "EMAIL")]
        owner: String,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        key: NewKey,
    },
    /// Bound a client otherwise, from its next request on; what is not named stays as it is
    #[command(after_help = "\
Examples:
  aegisctl client change alert-bot --action restart --action scale --any-namespace
  aegisctl client change alert-bot --expires-at 2027-03-01T00:00:00Z --requests-per-minute 120")]
    Change {
        /// Name of the client
        name: String,
        #[command(flatten)]
        bounds: Bounds,
        /// Let it ask for all actions that policy allows
        #[arg(long, conflicts_with = "actions")]
        any_action: bool,
        /// Let it ask in all namespaces that policy allows
        #[arg(long, conflicts_with = "namespaces")]
        any_namespace: bool,
        /// Let it go on without an end
        #[arg(long, conflicts_with = "expires_at")]
        no_expiry: bool,
        /// Let it send as many requests as everybody
        #[arg(long, conflicts_with = "requests_per_minute")]
        no_rate: bool,
    },
    /// Give a client a second key, to change over to; the first is good until you revoke it
    #[command(after_help = "\
Example, to change over without a pause:
  aegisctl client rotate alert-bot --out alert-bot.secret.new
  … let the client use the new key id and secret, and see that it does:
  aegisctl client show alert-bot
  aegisctl client revoke alert-bot alert-bot.5f1c9d3a7e20")]
    Rotate {
        /// Name of the client
        name: String,
        #[command(flatten)]
        key: NewKey,
    },
    /// Revoke a key of a client, from its next request on
    #[command(after_help = "Example:\n  aegisctl client revoke alert-bot alert-bot.5f1c9d3a7e20")]
    Revoke {
        /// Name of the client
        name: String,
        /// Id of the key
        #[arg(value_name = "KEY_ID")]
        key: String,
    },
    /// Refuse all requests of a client, from its next one on
    #[command(after_help = "\
Example:
  aegisctl client disable alert-bot

What it has asked for before goes on; look at it, and cancel what should not:
  aegisctl action list --requested-by client:alert-bot")]
    Disable {
        /// Name of the client
        name: String,
    },
    /// Take requests of a disabled client again
    #[command(after_help = "Example:\n  aegisctl client enable alert-bot")]
    Enable {
        /// Name of the client
        name: String,
    },
}

/// What bounds a client.
#[derive(Debug, clap::Args)]
pub(crate) struct Bounds {
    /// Action it may ask for, as in restart; repeat for several; all if absent
    #[arg(long = "action", value_name = "TYPE")]
    actions: Vec<String>,
    /// Namespace it may ask in, as in 'prod-*/shop'; repeat for several; all if absent
    #[arg(long = "namespace", value_name = "CLUSTER/NAMESPACE")]
    namespaces: Vec<String>,
    /// When its time is over, as in 2027-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// How many requests it may send each minute
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u32>,
}

/// A key to add.
#[derive(Debug, clap::Args)]
pub(crate) struct NewKey {
    /// File with the client's Ed25519 public key (PEM); without it a secret is made
    #[arg(long, value_name = "FILE", conflicts_with = "secret_out")]
    public_key_file: Option<PathBuf>,
    /// New file for the secret, readable by you alone; without it the secret is printed
    #[arg(id = "secret_out", long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// When the key's time is over, as in 2027-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    key_expires_at: Option<String>,
}

const COLUMNS: [Column; 6] = [
    column("name", "/name"),
    column("owner", "/ownerEmail"),
    column("actions", "/scope/actions"),
    column("namespaces", "/scope/namespaces"),
    column("expiresAt", "/expiresAt"),
    column("disabledAt", "/disabledAt"),
];

const FIRST: [&str; 4] = ["name", "principal", "ownerEmail", "disabledAt"];

/// Runs the command.
pub(crate) async fn run(command: &Client, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let (client, output) = (settings.client()?, settings.output);
    let of = |method: Method, segments: &[&str]| client.api(method, &[&["clients"], segments].concat());
    let changed = match command {
        Client::List { page } => {
            write_list(&client, output, &COLUMNS, page, || of(Method::GET, &[])).await?;
            return Ok(Exit::Done);
        }
        Client::Revoke { name, key } => {
            client.send(&of(Method::DELETE, &[name, "keys", key])).await?;
            return Ok(Exit::Done);
        }
        Client::Create { name, owner, bounds, key } => {
            let mut body = bounds.body();
            body.insert("name".to_owned(), name.as_str().into());
            body.insert("owner".to_owned(), owner.as_str().into());
            return add(&client, of(Method::POST, &[]), body, key, settings).await;
        }
        Client::Rotate { name, key } => {
            return add(&client, of(Method::POST, &[name, "keys"]), Map::new(), key, settings).await;
        }
        Client::Show { name } => client.get(&["clients", name]).await?,
        Client::Change { name, bounds, any_action, any_namespace, no_expiry, no_rate } => {
            let mut body = bounds.body();
            if *any_action || *any_namespace || body.contains_key("scope") {
                // The scope is changed as a whole: what is not named of it is what it is now.
                let now = client.get(&["clients", name]).await?;
                body.insert("scope".to_owned(), bounds.scope(&now["scope"], *any_action, *any_namespace));
            }
            for (member, is_dropped) in [("expiresAt", *no_expiry), ("requestsPerMinute", *no_rate)] {
                if is_dropped {
                    body.insert(member.to_owned(), Value::Null);
                }
            }
            client.send(&of(Method::PATCH, &[name]).json(&Value::Object(body))).await?.body
        }
        Client::Disable { name } => client.send(&of(Method::POST, &[name, "disable"])).await?.body,
        Client::Enable { name } => client.send(&of(Method::POST, &[name, "enable"])).await?.body,
    };
    output.document(&changed, &FIRST)?;
    Ok(Exit::Done)
}

impl Bounds {
    /// The members of a body that say so.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if !self.actions.is_empty() || !self.namespaces.is_empty() {
            body.insert("scope".to_owned(), self.scope(&Value::Null, false, false));
        }
        body.extend(self.expires_at.as_deref().map(|at| ("expiresAt".to_owned(), at.into())));
        body.extend(self.requests_per_minute.map(|count| ("requestsPerMinute".to_owned(), count.into())));
        body
    }

    /// A scope: what is named, and for the rest what it is now.
    fn scope(&self, now: &Value, any_action: bool, any_namespace: bool) -> Value {
        let mut scope = Map::new();
        for (member, named, is_any) in
            [("actions", &self.actions, any_action), ("namespaces", &self.namespaces, any_namespace)]
        {
            let list = if named.is_empty() { now[member].clone() } else { json!(named) };
            if !is_any && !list.is_null() {
                scope.insert(member.to_owned(), list);
            }
        }
        Value::Object(scope)
    }
}

/// Has a key made, and brings its secret to where it is wanted.
async fn add(
    client: &client::Client,
    call: Call,
    mut body: Map<String, Value>,
    key: &NewKey,
    settings: &Settings<'_>,
) -> Result<Exit, Failure> {
    if let Some(path) = &key.public_key_file {
        let pem = fs::read_to_string(path).map_err(|source| Cause::File { path: path.clone(), source })?;
        body.insert("publicKey".to_owned(), pem.into());
    }
    body.extend(key.key_expires_at.as_deref().map(|at| ("keyExpiresAt".to_owned(), at.into())));
    let call = call.json(&Value::Object(body));
    new_secret::make(client, &call, ("keys", &FIRST), key.out.as_deref(), settings).await
}
