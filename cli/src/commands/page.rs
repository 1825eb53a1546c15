//! Lists: fetches pages until there are enough items, and reads the times that bound them.

use aegis_runtime::clock;
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::Value;

use crate::client::{Call, Client};
use crate::failure::{Cause, Failure};
use crate::output::{Column, Format};

/// Most items of one page, as the API has it.
const PAGE_ITEMS_MAX: usize = 200;

/// How much of a list is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct PageOptions {
    /// Most items to show
    #[arg(long, value_name = "COUNT", default_value_t = 50, conflicts_with = "all")]
    limit: usize,
    /// Show all items, however many
    #[arg(long)]
    all: bool,
}

/// Writes the items that `call`, made anew for each page, finds. JSON lines are written page by page.
pub(crate) async fn write_list(
    client: &Client,
    format: Format,
    columns: &[Column],
    page: &PageOptions,
    call: impl Fn() -> Call,
) -> Result<(), Failure> {
    let mut items: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut left = if page.all { usize::MAX } else { page.limit };
    while left > 0 {
        let call = call()
            .query_some("cursor", cursor.as_deref())
            .query("limit", &left.min(PAGE_ITEMS_MAX).to_string());
        let mut document = client.send(&call).await?.body;
        let Some(Value::Array(found)) = document.get_mut("items").map(Value::take) else {
            let text = document.to_string().chars().take(200).collect();
            return Err(Cause::NotUnderstood { url: client.base().to_string(), status: 200, text }.into());
        };
        left = left.saturating_sub(found.len());
        cursor = document.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
        if format == Format::Jsonl {
            format.list(&found, None, columns)?;
        } else {
            items.extend(found);
        }
        if cursor.is_none() {
            break;
        }
    }
    if format != Format::Jsonl {
        format.list(&items, cursor.as_deref(), columns)?;
    }
    if cursor.is_some() {
        eprintln!("there are more; --limit COUNT or --all shows them");
    }
    Ok(())
}

/// Reads a time, or how long ago it was.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    parse_time_at(text, clock::now())
}

fn parse_time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .and_then(|ago| now.checked_sub(ago))
        .map_err(|_| {
            "must be a time like 2026-11-20T12:00:00Z, or how long ago, like 90m, 24h or 7d".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_so_long_ago() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-01T00:00:00+01:00", "2026-10-31T23:00:00Z"),
            ("90m", "2026-11-20T10:30:00Z"),
            ("7d", "2026-11-13T12:00:00Z"),
        ] {
            assert_eq!(parse_time_at(text, now).unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "yesterday", "2026-11-20", "99999999d"] {
            assert!(parse_time_at(wrong, now).is_err(), "{wrong}");
        }
    }
}
