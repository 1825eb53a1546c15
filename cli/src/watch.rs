//! Waiting for the end of an action.

use std::time::Duration;

use aegis_contract::action::ActionState;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::progress::Progress;

/// How long the first question waits on the server: it answers only at the end, and people want to see
/// `queued` become `running`. Each further question waits twice as long.
const ROUND_MIN: Duration = Duration::from_secs(1);
/// How long any question waits; the server allows 60 s, but proxies cut off what is silent for long.
const ROUND_MAX: Duration = Duration::from_secs(16);
/// Least time between two questions, whatever makes the server answer early.
const PAUSE: Duration = Duration::from_millis(250);

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

/// Tells what the executor has done beyond `known` steps, and how many that makes.
fn tell_steps(action: &Value, known: usize, progress: &Progress) -> usize {
    let done = action.pointer("/outcome/steps").or_else(|| action.get("progress"));
    let Some(steps) = done.and_then(Value::as_array) else { return known };
    for step in steps.iter().skip(known) {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        progress.note(&format!("{} {}: {}", text("at"), text("name"), text("message")));
    }
    steps.len().max(known)
}

/// How a command ends that has waited `within` for an action.
pub(crate) fn exit(action: &Value, within: Duration) -> Result<Exit, Failure> {
    let state = state(action)?;
    Exit::of_state(state)
        .ok_or_else(|| Cause::NotFinal { id: id(action).to_owned(), state, seconds: within.as_secs() }.into())
}

/// Asks until `action` is over, at most for `within`, and returns it as it is then. Outages of the control plane within the time
/// given are waited out: the action goes on whether we look or not.
pub(crate) async fn until_final(
    client: &Client,
    mut action: Value,
    within: Duration,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    let id = id(&action).to_owned();
    let end = Instant::now() + within;
    let mut round = ROUND_MIN;
    let mut state = state(&action)?;
    let mut steps = 0;
    progress.show(&format!("action {id} is {state}"));
    while !state.is_final() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let next_at = (Instant::now() + PAUSE).min(end);
        match client
            .send(
                &client
                    .api(Method::GET, &["actions", &id])
                    .wait(round.min(left).max(ROUND_MIN))
                    .query("steps", &steps.to_string()),
            )
            .await
        {
            Ok(answer) => {
                action = answer.body;
                state = self::state(&action)?;
                progress.show(&format!("action {id} is {state}"));
                steps = tell_steps(&action, steps, progress);
            }
            Err(failure) if failure.is_passing() => {
                progress.show(&format!("action {id} was {state}; {}; trying again", failure.cause));
            }
            Err(failure) => {
                return Err(failure.with_note(format!("the action goes on: `aegisctl action watch {id}`")));
            }
        }
        round = (round * 2).min(ROUND_MAX);
        if !state.is_final() {
            tokio::time::sleep_until(next_at).await;
        }
    }
    Ok(action)
}
