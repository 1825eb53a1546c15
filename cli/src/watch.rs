//! Waiting for the end of an action.

use std::time::Duration;

use aegis_contract::action::ActionState;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::failure::{Cause, Failure};
use crate::progress::Progress;

/// How long one question waits on the server. The server allows 60 s, but it answers only at the end, and
/// people want to see `queued` become `running`.
const ROUND: Duration = Duration::from_secs(5);
/// Least time between two questions, whatever makes the server answer early.
const PAUSE: Duration = Duration::from_millis(500);

/// The state that an action, as the API answers it, is in.
pub(crate) fn state(action: &Value) -> Result<ActionState, Failure> {
    let text = action.get("state").and_then(Value::as_str).unwrap_or_default();
    text.parse()
        .map_err(|error| Failure::usage(error).with_note("the server may be newer than this aegisctl"))
}

/// The id of an action as the API answers it.
pub(crate) fn id(action: &Value) -> &str {
    action.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// Asks until `action` is over and returns it as it is then. Outages of the control plane within the time
/// given are waited out: the action goes on whether we look or not.
pub(crate) async fn until_final(
    client: &Client,
    mut action: Value,
    within: Duration,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    let id = id(&action).to_owned();
    let end = Instant::now() + within;
    loop {
        let state = state(&action)?;
        progress.show(&format!("action {id} is {state}"));
        if state.is_final() {
            return Ok(action);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Cause::NotFinal { id, state, seconds: within.as_secs() }.into());
        }
        let asked_at = Instant::now();
        let round = ROUND.min(left).max(Duration::from_secs(1));
        match client.send(&client.api(Method::GET, &["actions", &id]).wait(round)).await {
            Ok(answer) => action = answer.body,
            Err(failure) if failure.is_passing() => {
                progress.show(&format!("action {id} was {state}; {}; trying again", failure.cause));
            }
            Err(failure) => {
                return Err(failure.with_note(format!("the action goes on: `aegisctl action watch {id}`")));
            }
        }
        if !self::state(&action)?.is_final() {
            tokio::time::sleep_until((asked_at + PAUSE).min(end)).await;
        }
    }
}
