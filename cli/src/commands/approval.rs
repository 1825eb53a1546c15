//! `aegisctl approval`: what waits for people, and their answers.

use aegis_contract::digest::{Digest, DigestError};
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::commands::action::write_action;
use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column, printable};
use crate::settings::Settings;

/// What can be done with approvals.
#[derive(Debug, Subcommand)]
pub(crate) enum Approval {
    /// List the actions that wait for your approval, the newest first
    #[command(after_help = "Example:\n  aegisctl approval list --everybody -o json")]
    List {
        /// Also what others are asked about
        #[arg(long)]
        everybody: bool,
        #[command(flatten)]
        page: PageOptions,
    },
    /// Agree to an action
    #[command(after_help = "Example:\n  aegisctl approval approve 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90\n\n\
        Without --digest, what is asked now is looked up, told and agreed to. With --digest, nothing else \
        than what it names.")]
    Approve {
        /// Id of the action
        id: String,
        /// Digest of what you looked at, from `approval list -o json`
        #[arg(long, value_parser = parse_digest)]
        digest: Option<Digest>,
    },
    /// Say no to an action, which ends it
    #[command(
        after_help = "Example:\n  aegisctl approval deny 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 --reason 'not during the sale'"
    )]
    Deny {
        /// Id of the action
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take back what you agreed to
    #[command(after_help = "Example:\n  aegisctl approval withdraw 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90")]
    Withdraw {
        /// Id of the action
        id: String,
    },
}

const COLUMNS: [Column; 6] = [
    column("id", "/id"),
    column("type", "/type"),
    column("target", "/target"),
    column("requestedBy", "/requestedBy"),
    column("groups", "/approval/groups"),
    column("expiresAt", "/approval/expiresAt"),
];

/// Runs the command.
pub(crate) async fn run(command: &Approval, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let answer = match command {
        Approval::List { everybody, page } => {
            write_list(&client, settings.output, &COLUMNS, page, || {
                client.api(Method::GET, &["approvals"]).query_some("all", everybody.then_some(true))
            })
            .await?;
            return Ok(Exit::Done);
        }
        Approval::Approve { id, digest } => {
            let digest = match digest {
                Some(digest) => json!(digest),
                None => tell_what_is_asked(&client.get(&["actions", id]).await?),
            };
            // Where nothing is asked, the answer says why.
            let body = if digest.is_null() { json!({}) } else { json!({ "digest": digest }) };
            client.send(&client.api(Method::POST, &["actions", id, "approve"]).json(&body)).await?.body
        }
        Approval::Deny { id, reason } => {
            let body = json!({ "reason": reason });
            client.send(&client.api(Method::POST, &["actions", id, "deny"]).json(&body)).await?.body
        }
        Approval::Withdraw { id } => {
            client.send(&client.api(Method::POST, &["actions", id, "withdraw-approval"])).await?.body
        }
    };
    if let Some(missing) = missing(&answer) {
        eprintln!("still missing: {}", printable(&missing));
    }
    write_action(settings.output, &answer)?;
    Ok(Exit::Done)
}

/// Says what an answer will be bound to, and gives its digest; null when nothing is asked.
fn tell_what_is_asked(action: &Value) -> Value {
    let text =
        |pointer: &str| action.pointer(pointer).and_then(Value::as_str).map(printable).unwrap_or_default();
    let digest = action.pointer("/approval/digest").cloned().unwrap_or_default();
    if !digest.is_null() {
        let params = action["params"].to_string();
        eprintln!(
            "asked: {} {}/{}/{}/{} {params} for {}, as {}",
            text("/type"),
            text("/target/cluster"),
            text("/target/namespace"),
            text("/target/kind"),
            text("/target/name"),
            text("/requestedBy"),
            text("/approval/digest"),
        );
    }
    digest
}

/// Who has to agree yet, in words; nothing when nobody is asked or missing.
pub(crate) fn missing(action: &Value) -> Option<String> {
    missing_in(action.pointer("/approval/groups")?)
}

/// The same of a list of groups.
pub(crate) fn missing_in(groups: &Value) -> Option<String> {
    let missing: Vec<String> = groups
        .as_array()?
        .iter()
        .filter(|group| group["missing"] != 0)
        .map(|group| {
            let role = group["role"].as_str().unwrap_or_default();
            let people: Vec<&str> =
                group["people"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let people = if people.is_empty() { String::new() } else { format!(" ({})", people.join(", ")) };
            format!("{} × {role}{people}", group["missing"])
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn parse_digest(text: &str) -> Result<Digest, DigestError> {
    text.parse()
}
