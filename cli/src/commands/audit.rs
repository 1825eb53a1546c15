//! `aegisctl audit`: searches the audit log, and shows the keys it is verified with.

use clap::Subcommand;
use http::Method;
use jiff::Timestamp;

use crate::commands::page::{PageOptions, parse_time, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Find entries
    #[command(
        after_help = "Examples:\n  aegisctl audit search --action-id 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90\n  \
        aegisctl audit search --kind decision.made --principal client:alert-bot --from 24h --all -o jsonl"
    )]
    Search(EntryFilter),
    /// Show the keys that sign the log: compare their fingerprints with what its operator told you
    #[command(after_help = "Example:\n  aegisctl audit keys\n\nThe operator gets them from \
        `aegis-control-plane log-key`, without this server.")]
    Keys,
}

/// Which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct EntryFilter {
    /// Only entries of this action
    #[arg(long, value_name = "ID")]
    action_id: Option<String>,
    /// Only this kind, as in action.requested, decision.made, order.signed, receipt.received, action.ended
    #[arg(long)]
    kind: Option<String>,
    /// Only what this principal did, as in client:alert-bot
    #[arg(long)]
    principal: Option<String>,
    /// Only entries that this request caused
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only from this time on: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    page: PageOptions,
}

const COLUMNS: [Column; 5] = [
    column("at", "/at"),
    column("kind", "/kind"),
    column("principal", "/principal"),
    column("actionId", "/actionId"),
    column("id", "/id"),
];

const KEY_COLUMNS: [Column; 2] = [column("fingerprint", "/fingerprint"), column("key", "/key")];

/// Runs the command.
pub(crate) async fn run(command: &Audit, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let filter = match command {
        Audit::Search(filter) => filter,
        Audit::Keys => {
            let keys = client.get(&["audit", "log", "keys"]).await?;
            let listed = keys["keys"].as_array().cloned().unwrap_or_default();
            settings.output.list(&listed, None, &KEY_COLUMNS)?;
            return Ok(Exit::Done);
        }
    };
    write_list(&client, settings.output, &COLUMNS, &filter.page, || {
        client
            .api(Method::GET, &["audit", "entries"])
            .query_some("actionId", filter.action_id.as_ref())
            .query_some("kind", filter.kind.as_ref())
            .query_some("principal", filter.principal.as_ref())
            .query_some("requestId", filter.request_id.as_ref())
            .query_some("from", filter.from)
            .query_some("to", filter.to)
    })
    .await?;
    Ok(Exit::Done)
}
