//! `aegisctl webhook`: who outside is told what happens, and what they were told.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::json;

use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// List webhooks
    #[command(after_help = "Example:\n  aegisctl webhook list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show one webhook
    #[command(after_help = "Example:\n  aegisctl webhook get on-call")]
    Get {
        /// Name of the webhook
        name: String,
    },
    /// Add a webhook, or change the one of that name
    #[command(
        after_help = "Examples:\n  aegisctl webhook set on-call --to https://hooks.example.com/aegis\n  \
        aegisctl webhook set alert-bot --to https://bot.example.com/outcomes --event action.ended \
        --requested-by client:alert-bot\n\n\
        A new one has a secret, which is shown this once."
    )]
    Set {
        /// Name of the webhook: a-z, 0-9 and '-'
        name: String,
        /// Where to send to; https
        #[arg(long, value_name = "URL")]
        to: String,
        /// What to tell of, as in action.ended; repeat for several; everything if absent
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// Whose actions to tell of, as in client:alert-bot; repeat for several; everybody's if absent
        #[arg(long, value_name = "PRINCIPAL")]
        requested_by: Vec<String>,
    },
    /// Remove a webhook with everything that was, or was to be, sent to it
    #[command(after_help = "Example:\n  aegisctl webhook delete on-call")]
    Delete {
        /// Name of the webhook
        name: String,
    },
    /// Give a webhook another secret; for a day the one before it signs too
    #[command(after_help = "Example:\n  aegisctl webhook rotate-secret on-call")]
    RotateSecret {
        /// Name of the webhook
        name: String,
    },
    /// Send a webhook something to try it with
    #[command(after_help = "Example:\n  aegisctl webhook test on-call")]
    Test {
        /// Name of the webhook
        name: String,
    },
    /// List what was, or is to be, sent to a webhook
    #[command(after_help = "Example:\n  aegisctl webhook deliveries on-call --state dead")]
    Deliveries {
        /// Name of the webhook
        name: String,
        /// Only those that stand there
        #[arg(long)]
        state: Option<State>,
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show one delivery with what came of each attempt
    #[command(
        after_help = "Example:\n  aegisctl webhook delivery on-call 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c92"
    )]
    Delivery {
        /// Name of the webhook
        name: String,
        /// Id of the delivery
        id: String,
    },
    /// Send something again, whatever came of it before
    #[command(
        after_help = "Example:\n  aegisctl webhook redeliver on-call 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c92"
    )]
    Redeliver {
        /// Name of the webhook
        name: String,
        /// Id of the delivery
        id: String,
    },
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    /// To be sent
    Waiting,
    /// The receiver took it
    Delivered,
    /// Given up
    Dead,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

const COLUMNS: [Column; 4] = [
    column("name", "/name"),
    column("url", "/url"),
    column("events", "/events"),
    column("requestedBy", "/requestedBy"),
];

const DELIVERIES: [Column; 6] = [
    column("createdAt", "/createdAt"),
    column("event", "/event"),
    column("actionId", "/actionId"),
    column("state", "/state"),
    column("attempts", "/attempts"),
    column("id", "/id"),
];

const FIRST: [&str; 4] = ["name", "url", "secret", "events"];
const FIRST_OF_DELIVERY: [&str; 5] = ["id", "event", "actionId", "state", "attempts"];

/// Runs the command.
pub(crate) async fn run(command: &Webhook, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let (client, output) = (settings.client()?, settings.output);
    let post = |segments: &[&str]| client.api(Method::POST, segments);
    match command {
        Webhook::List { page } => {
            write_list(&client, output, &COLUMNS, page, || client.api(Method::GET, &["webhooks"])).await?;
        }
        Webhook::Get { name } => output.document(&client.get(&["webhooks", name]).await?, &FIRST)?,
        Webhook::Set { name, to, events, requested_by } => {
            let body = json!({ "url": to, "events": events, "requestedBy": requested_by });
            let webhook = client.send(&client.api(Method::PUT, &["webhooks", name]).json(&body)).await?.body;
            output.document(&webhook, &FIRST)?;
            if webhook.get("secret").is_some() {
                eprintln!("keep the secret: it is not shown again");
            }
        }
        Webhook::Delete { name } => {
            client.send(&client.api(Method::DELETE, &["webhooks", name])).await?;
        }
        Webhook::RotateSecret { name } => {
            let webhook = client.send(&post(&["webhooks", name, "rotate-secret"])).await?.body;
            output.document(&webhook, &FIRST)?;
            eprintln!("keep the secret: it is not shown again");
        }
        Webhook::Test { name } => {
            let delivery = client.send(&post(&["webhooks", name, "test"])).await?.body;
            output.document(&delivery, &FIRST_OF_DELIVERY)?;
        }
        Webhook::Deliveries { name, state, page } => {
            let call = || {
                let call = client.api(Method::GET, &["webhooks", name, "deliveries"]);
                call.query_some("state", state.map(State::as_str))
            };
            write_list(&client, output, &DELIVERIES, page, call).await?;
        }
        Webhook::Delivery { name, id } => {
            let delivery = client.get(&["webhooks", name, "deliveries", id]).await?;
            output.document(&delivery, &FIRST_OF_DELIVERY)?;
        }
        Webhook::Redeliver { name, id } => {
            let delivery = client.send(&post(&["webhooks", name, "deliveries", id, "redeliver"])).await?.body;
            output.document(&delivery, &FIRST_OF_DELIVERY)?;
        }
    }
    Ok(Exit::Done)
}
