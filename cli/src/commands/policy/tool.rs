//! What the tools have in common: asking the control plane, and writing for people or programs.

use std::time::Duration;

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Cause, Failure};
use crate::output::{Format, printable, write};

/// What a tool may take on the control plane: analyses wait for each other, and replays read for long.
const TAKES: Duration = Duration::from_secs(150);

/// Asks one of the tools of the control plane.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    tool: &str,
    body: &Value,
) -> Result<T, Failure> {
    let call = client.api(method, &["policy", tool]).json(body).taking(TAKES);
    let answer = client.send(&call).await?.body;
    serde_json::from_value(answer).map_err(|error| {
        let text = format!("an answer that this version does not know: {error}");
        Cause::NotUnderstood { url: client.base().to_string(), status: 200, text }.into()
    })
}

/// Writes a document for programs, or lines for people.
pub(super) fn print(
    output: Format,
    document: &Value,
    lines: impl FnOnce() -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Format::Table => {
            write(&lines().iter().map(|line| format!("{}\n", printable(line))).collect::<String>())?;
        }
        Format::Json | Format::Jsonl => output.document(document, &[])?,
    }
    Ok(())
}
