//! `aegisctl audit`: searches the audit log, takes it away, verifies it, and answers auditors' questions by it.

mod courses;
mod export;
mod meaning;
mod past;
pub(crate) mod reconcile;
mod remembered;
mod report;
mod source;
mod tail;
pub(crate) mod verify;

use clap::Subcommand;
use http::Method;
use jiff::Timestamp;

use crate::client::Call;
use crate::commands::page::{PageOptions, parse_time, write_list};
use crate::exit::{Exit, Reconciled, Verdict};
use crate::failure::Failure;
use crate::output::{self, Column, column};
use crate::settings::Settings;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Find entries
    #[command(
        after_help = "Examples:\n  aegisctl audit search --action-id 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90\n  \
        aegisctl audit search --kind decision.made --principal client:alert-bot --from 24h --all -o jsonl\n  \
        aegisctl audit search --outcome failed --namespace shop\n\n\
        All that is said must fit."
    )]
    Search {
        #[command(flatten)]
        filter: Box<EntryFilter>,
        /// The oldest entries first
        #[arg(long)]
        oldest_first: bool,
        #[command(flatten)]
        page: PageOptions,
    },
    /// Follow the log: entries in its order as they come, without those that tell of reading
    #[command(after_help = "Examples:\n  aegisctl audit tail --kind action.ended\n  \
        aegisctl audit tail --from 120000 -o jsonl\n\nA server that is away is waited for; nothing is left out or \
        told twice.")]
    Tail(tail::Tail),
    /// Show one entry as it was recorded
    #[command(after_help = "Example:\n  aegisctl audit show 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91 -o json")]
    Show {
        /// Id of the entry
        id: String,
    },
    /// Show the keys that sign the log: compare their fingerprints with what its operator told you
    #[command(after_help = "Example:\n  aegisctl audit keys\n\nThe operator gets them from \
        `aegis-control-plane log-key`, without this server.")]
    Keys,
    /// Print the newest checkpoint: a signed note of how many entries the log has, and their root
    #[command(after_help = "Example:\n  aegisctl audit checkpoint > remembered\n\n\
        Later: aegisctl audit verify --live --key … --remember remembered")]
    Checkpoint,
    /// Take entries away: as evidence bundle with all that proves them, as JSON lines, or as a table
    #[command(after_help = "Examples:\n  aegisctl audit export --out log.jsonl\n  \
        aegisctl audit export --action-id 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90 --out action.jsonl\n  \
        aegisctl audit export --first 200000 --checkpoint 300000 --out rest.jsonl\n\n\
        Without a filter every entry leaves, and `audit verify` shows that none is missing. Where it broke off, \
        FILE.partial is left.")]
    Export(Box<export::Export>),
    /// Verify an evidence bundle without network and database, or the server's newest checkpoint
    #[command(after_help = format!("Examples:\n  aegisctl audit verify log.jsonl --keys log.keys --remember remembered\n  \
        aegisctl audit verify --live --keys log.keys --remember remembered\n\n{}", Verdict::help()))]
    Verify(Box<verify::Verify>),
    /// Show which policies were active at a time, and who activated them
    #[command(after_help = "Example:\n  aegisctl audit policies --at 2026-11-20T12:00:00Z")]
    Policies(past::At),
    /// Show who held which role at a time, or in a span of time, and who gave and took it
    #[command(after_help = "Examples:\n  aegisctl audit roles --at 2026-11-20T12:00:00Z\n  \
        aegisctl audit roles --from 90d -o jsonl")]
    Roles(past::AtOrSpan),
    /// Write a report of every change of a period: who asked, who agreed, what became of it
    #[command(after_help = "Examples:\n  aegisctl audit report --from 7d > week.md\n  \
        aegisctl audit report --from 2026-10-01T00:00:00Z --to 2027-01-01T00:00:00Z --format csv > quarter.csv\n\n\
        Actions, and changes of policies, people, clients, clusters and webhooks. Texts from people are not in it.")]
    Report(Box<report::Report>),
    /// Hold the audit log of a cluster's API server against this one: every write by the executor's identity must
    /// have its entry, and every action its write
    #[command(after_help = format!("Examples:\n  aegisctl audit reconcile --kube-audit audit.log\n  \
        aegisctl audit reconcile --kube-audit audit.log --bundle log.jsonl --keys log.keys --cluster prod-eu\n\n{}",
        Reconciled::help()))]
    Reconcile(Box<reconcile::Reconcile>),
}

/// Which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct EntryFilter {
    /// Only this kind, as in action.requested, decision.made, order.signed, receipt.received, action.ended
    #[arg(long)]
    kind: Option<String>,
    /// Only what this principal did, as in client:alert-bot
    #[arg(long)]
    principal: Option<String>,
    /// Only what principals of this kind did: user, client, engine, executor, operator, anonymous
    #[arg(long, value_name = "KIND")]
    principal_kind: Option<String>,
    /// Only what others did on behalf of this principal, such as the outcomes of its actions
    #[arg(long, value_name = "PRINCIPAL")]
    on_behalf_of: Option<String>,
    /// Only what is about targets in this cluster, or about the cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Only what is about targets in this namespace
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// Only what is about targets of this kind, as in Deployment
    #[arg(long, value_name = "KIND")]
    target_kind: Option<String>,
    /// Only what is about targets of this name
    #[arg(long, value_name = "NAME")]
    target_name: Option<String>,
    /// Only what is about actions of this type, as in restart
    #[arg(long, value_name = "TYPE")]
    action_type: Option<String>,
    /// Only entries of this action
    #[arg(long, value_name = "ID")]
    action_id: Option<String>,
    /// Only decisions with this answer: ALLOW or DENY
    #[arg(long, value_name = "EFFECT")]
    decision: Option<String>,
    /// Only entries that took this decision, or rest on it
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// Only decisions to which rules of this policy led, and changes to it
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only outcomes with this final state or code, as in failed or rollout-timeout
    #[arg(long, value_name = "STATE")]
    outcome: Option<String>,
    /// Only entries that this request caused
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only from this time on: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    /// Only entries that hold this text, in capitals or not; every entry since --from is read for it
    #[arg(long, requires = "from")]
    text: Option<String>,
}

impl EntryFilter {
    fn add_to(&self, call: Call) -> Call {
        call.query_some("kind", self.kind.as_ref())
            .query_some("principal", self.principal.as_ref())
            .query_some("principalKind", self.principal_kind.as_ref())
            .query_some("onBehalfOf", self.on_behalf_of.as_ref())
            .query_some("cluster", self.cluster.as_ref())
            .query_some("namespace", self.namespace.as_ref())
            .query_some("targetKind", self.target_kind.as_ref())
            .query_some("targetName", self.target_name.as_ref())
            .query_some("actionType", self.action_type.as_ref())
            .query_some("actionId", self.action_id.as_ref())
            .query_some("decision", self.decision.as_ref())
            .query_some("decisionId", self.decision_id.as_ref())
            .query_some("policy", self.policy.as_ref())
            .query_some("outcome", self.outcome.as_ref())
            .query_some("requestId", self.request_id.as_ref())
            .query_some("from", self.from)
            .query_some("to", self.to)
            .query_some("text", self.text.as_ref())
    }
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
    match command {
        Audit::Search { filter, oldest_first, page } => {
            let order = oldest_first.then_some("oldest");
            let call =
                || filter.add_to(client.api(Method::GET, &["audit", "entries"])).query_some("order", order);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
        }
        Audit::Tail(command) => tail::run(command, &client, settings).await?,
        Audit::Show { id } => {
            let entry = client.get(&["audit", "entries", id]).await?;
            settings.output.document(&entry, &["id", "kind", "at", "principal", "actionId", "requestId"])?;
        }
        Audit::Keys => {
            let keys = client.get(&["audit", "log", "keys"]).await?;
            let listed = keys["keys"].as_array().cloned().unwrap_or_default();
            settings.output.list(&listed, None, &KEY_COLUMNS)?;
        }
        Audit::Checkpoint => {
            let call = client.api(Method::GET, &["audit", "log", "checkpoint"]);
            output::write(&client.text(&call).await?)?;
        }
        Audit::Export(command) => export::run(command, &client, settings).await?,
        Audit::Policies(at) => past::policies(at, &client, settings).await?,
        Audit::Roles(span) => past::roles(span, &client, settings).await?,
        Audit::Report(command) => report::run(command, settings).await?,
        Audit::Verify(_) | Audit::Reconcile(_) => {
            return Err(Failure::usage("this command has exit codes of its own"));
        }
    }
    Ok(Exit::Done)
}
