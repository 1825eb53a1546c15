//! `aegisctl action`: looks at, waits for, cancels and closes actions.

mod story;

use std::time::Duration;

use aegis_contract::action::{ActionState, ActionType, ChangeError, UnknownState};
use aegis_contract::target::{Kind, TargetError};
use clap::Subcommand;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use crate::commands::page::{PageOptions, parse_time, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, Format, column};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::watch;

/// What can be done with actions.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// List actions, the newest first
    #[command(after_help = "Example:\n  aegisctl action list --state running --namespace shop -o jsonl")]
    List(ActionFilter),
    /// Show one action with its outcome
    #[command(after_help = "Example:\n  aegisctl action get 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 -o json")]
    Get {
        /// Id of the action
        id: String,
    },
    /// Tell everything that is recorded of one action, from who asked to what became of it
    #[command(after_help = "Examples:\n  aegisctl action story 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90\n  \
        aegisctl action story 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 --report > ticket.md\n\n\
        The number before each step is its place in the audit log.")]
    Story {
        /// Id of the action
        id: String,
        /// Print a page in Markdown, for a ticket
        #[arg(long)]
        report: bool,
    },
    /// Wait until an action is over; the exit code tells how it ended
    #[command(
        after_help = "Example:\n  aegisctl action watch 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 --wait 60"
    )]
    Watch {
        /// Id of the action
        id: String,
        /// Longest time to wait, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600,
              value_parser = clap::value_parser!(u64).range(1..=86_400))]
        wait: u64,
    },
    /// Withdraw an action that is not ordered yet
    #[command(after_help = "Example:\n  aegisctl action cancel 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90")]
    Cancel {
        /// Id of the action
        id: String,
    },
    /// End an action in state `unknown` that nobody can resolve; takes two people
    #[command(after_help = "Example:\n  aegisctl action close 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90\n\n\
        The action ends as failed (unresolved) when a second person gives the same command.")]
    Close {
        /// Id of the action
        id: String,
    },
}

/// Which actions.
#[derive(Debug, clap::Args)]
pub(crate) struct ActionFilter {
    /// Only actions in this state
    #[arg(long, value_parser = parse_state)]
    state: Option<ActionState>,
    /// Only this type of change
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    action_type: Option<ActionType>,
    /// Only targets in this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Only targets in this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only targets of this kind
    #[arg(long, value_parser = parse_kind)]
    kind: Option<Kind>,
    /// Only targets of this name
    #[arg(long)]
    name: Option<String>,
    /// Only actions that this principal asked for, as in client:alert-bot
    #[arg(long, value_name = "PRINCIPAL")]
    requested_by: Option<String>,
    /// Only actions asked for from this time on: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only actions asked for before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    page: PageOptions,
}

const COLUMNS: [Column; 6] = [
    column("id", "/id"),
    column("state", "/state"),
    column("type", "/type"),
    column("target", "/target"),
    column("requestedBy", "/requestedBy"),
    column("createdAt", "/createdAt"),
];

const FIRST: [&str; 18] = [
    "id",
    "state",
    "outcome.code",
    "outcome.message",
    "type",
    "target",
    "reason",
    "requestedBy",
    "plan.changes",
    "plan.toRevision",
    "plan.podsAffected",
    "plan.podsWanted",
    "plan.podsUnavailable",
    "plan.podsUnavailableMax",
    "plan.warnings",
    "plan.undo",
    "plan.digest",
    "decisionId",
];

/// Runs the command.
pub(crate) async fn run(command: &Action, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let action = match command {
        Action::List(filter) => {
            write_list(&client, settings.output, &COLUMNS, &filter.page, || {
                client
                    .api(Method::GET, &["actions"])
                    .query_some("state", filter.state)
                    .query_some("type", filter.action_type)
                    .query_some("cluster", filter.cluster.as_ref())
                    .query_some("namespace", filter.namespace.as_ref())
                    .query_some("kind", filter.kind)
                    .query_some("name", filter.name.as_ref())
                    .query_some("requestedBy", filter.requested_by.as_ref())
                    .query_some("from", filter.from)
                    .query_some("to", filter.to)
            })
            .await?;
            return Ok(Exit::Done);
        }
        Action::Watch { id, wait } => {
            let action = client.get(&["actions", id]).await?;
            let mut progress = Progress::new(settings.is_plain);
            let action =
                watch::until_final(&client, action, Duration::from_secs(*wait), &mut progress).await?;
            drop(progress);
            write_action(settings.output, &action)?;
            return Ok(Exit::of_state(watch::state(&action)?).unwrap_or(Exit::Done));
        }
        Action::Story { id, report } => {
            let told = client.get(&["actions", id, "story"]).await?;
            story::write(settings.output, *report, &told)?;
            return Ok(Exit::Done);
        }
        Action::Get { id } => client.get(&["actions", id]).await?,
        Action::Cancel { id } => {
            client.send(&client.api(Method::POST, &["actions", id, "cancel"])).await?.body
        }
        Action::Close { id } => {
            let action = client.send(&client.api(Method::POST, &["actions", id, "close"])).await?.body;
            if !watch::state(&action)?.is_final() {
                eprintln!("noted; a second person ends it with `aegisctl action close {id}`");
            }
            action
        }
    };
    write_action(settings.output, &action)?;
    Ok(Exit::Done)
}

/// Writes one action. People see of its receipt who signed it; programs get it whole.
pub(crate) fn write_action(format: Format, action: &Value) -> Result<(), Failure> {
    let mut action = action.clone();
    if format == Format::Table
        && let Some(receipt) = action.pointer_mut("/outcome/receipt")
        && let Some(key_id) = receipt.pointer("/signatures/0/keyid").and_then(Value::as_str)
    {
        *receipt = format!("signed by {key_id}").into();
    }
    Ok(format.document(&action, &FIRST)?)
}

fn parse_state(text: &str) -> Result<ActionState, UnknownState> {
    text.parse()
}

fn parse_type(text: &str) -> Result<ActionType, ChangeError> {
    text.parse()
}

fn parse_kind(text: &str) -> Result<Kind, TargetError> {
    text.parse()
}
