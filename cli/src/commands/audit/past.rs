//! `aegisctl audit policies` and `audit roles`: what held at a time in the past.

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::Client;
use crate::commands::page::parse_time;
use crate::failure::Failure;
use crate::output::{Column, Format, column};
use crate::settings::Settings;

/// Which time.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// The time: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d; now if absent
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
}

/// Which times.
#[derive(Debug, clap::Args)]
pub(crate) struct AtOrSpan {
    #[command(flatten)]
    at: At,
    /// Every role that was held from this time on, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "at")]
    from: Option<Timestamp>,
    /// Up to this time, in the same forms; now if absent
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "from")]
    to: Option<Timestamp>,
}

const POLICIES: [Column; 7] = [
    column("name", "/name"),
    column("version", "/version"),
    column("activatedAt", "/activated/at"),
    column("activatedBy", "/activated/by"),
    column("index", "/activated/index"),
    column("entryId", "/activated/entryId"),
    column("digest", "/digest"),
];

const ROLES: [Column; 7] = [
    column("principal", "/principal"),
    column("role", "/role"),
    column("since", "/given/at"),
    column("givenBy", "/given/by"),
    column("until", "/taken/at"),
    column("takenBy", "/taken/by"),
    column("entryId", "/given/entryId"),
];

/// Shows which policies were active.
pub(super) async fn policies(at: &At, client: &Client, settings: &Settings<'_>) -> Result<(), Failure> {
    let call = client.api(Method::GET, &["audit", "policies"]).query_some("at", at.at);
    let told = client.send(&call).await?.body;
    if settings.output == Format::Table {
        eprintln!("active at {}: policy set {}", text(&told["at"]), text(&told["policySetDigest"]));
    }
    write(settings.output, &told, "policies", &POLICIES)
}

/// Shows who held which role.
pub(super) async fn roles(span: &AtOrSpan, client: &Client, settings: &Settings<'_>) -> Result<(), Failure> {
    let call = client.api(Method::GET, &["audit", "roles"]).query_some("at", span.at.at);
    let call = call.query_some("from", span.from).query_some("to", span.to);
    let told = client.send(&call).await?.body;
    write(settings.output, &told, "holdings", &ROLES)
}

/// People and lines get the list, programs that ask for a document all of it.
fn write(format: Format, told: &Value, list: &str, columns: &[Column]) -> Result<(), Failure> {
    let items = told[list].as_array().cloned().unwrap_or_default();
    match format {
        Format::Json => format.document(told, &[])?,
        Format::Table | Format::Jsonl => format.list(&items, None, columns)?,
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("none")
}
