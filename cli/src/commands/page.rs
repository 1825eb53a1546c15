//! Lists: fetches pages until there are enough items.

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
