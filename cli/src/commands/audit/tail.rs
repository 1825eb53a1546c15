//! `aegisctl audit tail`: entries in the order of the log, as they get their places.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Cause, Failure};
use crate::output::{self, Format, printable};
use crate::progress::Progress;
use crate::settings::Settings;

/// Pause before the server is asked again once nothing is new, or it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// From where, and which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    /// Index of the first entry, from 0; only what comes from now on if absent
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Stop before this index; without it, go on until interrupted
    #[arg(long, value_name = "INDEX")]
    end: Option<u64>,
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
}

/// Follows the log until its end, if it has one. A server that is away is waited for.
pub(super) async fn run(command: &Tail, client: &Client, settings: &Settings<'_>) -> Result<(), Failure> {
    let mut first = command.from;
    let mut progress = Progress::new(settings.is_plain);
    while command.end.is_none_or(|end| first.is_none_or(|first| first < end)) {
        let call = client.api(Method::GET, &["audit", "tail"]).query_some("first", first);
        let call = call
            .query_some("actionId", command.action_id.as_ref())
            .query_some("kind", command.kind.as_ref())
            .query_some("principal", command.principal.as_ref())
            .query_some("requestId", command.request_id.as_ref());
        let part = match client.send(&call).await {
            Ok(answer) => answer.body,
            Err(failure) if failure.is_passing() => {
                progress.show(&format!("{}; trying again", failure.cause));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let (Some(next), Some(size)) = (part["next"].as_u64(), part["size"].as_u64()) else {
            let text = part.to_string().chars().take(200).collect();
            return Err(Cause::NotUnderstood { url: client.base().to_string(), status: 200, text }.into());
        };
        for placed in part["entries"].as_array().into_iter().flatten() {
            if command.end.is_none_or(|end| placed["index"].as_u64() < Some(end)) {
                write(settings.output, placed)?;
            }
        }
        first = Some(next);
        if next >= size {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn write(format: Format, placed: &Value) -> Result<(), Failure> {
    match format {
        Format::Json => output::write_json_pretty(placed)?,
        Format::Jsonl => output::write(&format!("{placed}\n"))?,
        Format::Table => {
            let entry = &placed["entry"];
            let text = |name: &str| printable(entry[name].as_str().unwrap_or_default());
            let line = format!(
                "{:>8}  {:<30}  {:<22}  {}  {}",
                placed["index"].to_string(),
                text("at"),
                text("kind"),
                text("principal"),
                text("actionId")
            );
            output::write(&format!("{}\n", line.trim_end()))?;
        }
    }
    Ok(())
}
