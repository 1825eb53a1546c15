//! Where the time of a heal goes, put together from what the system records anyway: audit entries,
//! the decision, the receipt's steps and the API server's own audit log. All clocks are one.

use std::collections::HashMap;
use std::path::Path;

use aegis_tests::callers::Caller;
use aegis_tests::progress;
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::scene::{ORDER_LIFETIME_SECONDS, Scene};
use super::{Heal, percentile};

/// What happens up to each moment that [`moments`] finds.
const STAGES: [&str; 9] = [
    "facts: signature, key, order to the executor, read",
    "request transaction: answer, nonce, idempotency key",
    "decision",
    "intent",
    "request committed and answered, action leased",
    "claim: checks, order signed",
    "claim committed, order delivered and verified",
    "ledger: accepted; object read and compared",
    "ledger: acting",
];
const LAST_STAGE: &str = "patch, until it is visible";

/// Prints the stages of heals that went one at a time.
pub(super) async fn print(scene: &Scene, heals: &[Heal]) -> Result<()> {
    let step = progress::step("reading what the system recorded of each heal");
    let admin = scene.admin().await?;
    let patches = patches(scene.stack.cluster()?.audit().path())?;
    let mut stages = vec![Vec::new(); STAGES.len() + 1];
    for heal in heals {
        let moments = moments(&admin, heal, &patches).await?;
        for (stage, pair) in stages.iter_mut().zip(moments.windows(2)) {
            stage.push(pair[1].duration_since(pair[0]).as_secs_f64() * 1_000.0);
        }
    }
    step.done();
    println!("\n{:<54} {:>8} {:>8}", "stages of a heal, one at a time", "p50 ms", "p99 ms");
    for (name, times) in STAGES.into_iter().chain([LAST_STAGE]).zip(stages) {
        println!("{name:<54} {:>8.2} {:>8.2}", percentile(times.clone(), 50), percentile(times, 99));
    }
    Ok(())
}

/// The moments between which the stages lie, from sending to seeing.
async fn moments(
    admin: &Caller,
    heal: &Heal,
    patches: &HashMap<String, Timestamp>,
) -> Result<[Timestamp; STAGES.len() + 2]> {
    let id = heal.change.action_id.as_deref().context("a heal is an action")?;
    let decision_id = heal.action["decisionId"].as_str().context("an action names its decision")?;
    let decision = admin.get(&format!("/api/v1/decisions/{decision_id}")).await?.expect(200)?.body;
    let path = format!("/api/v1/audit/entries?actionId={id}&limit=200");
    let entries = admin.get(&path).await?.expect(200)?.body;
    let entry = |kind: &str| {
        let found =
            entries["items"].as_array().and_then(|items| items.iter().find(|item| item["kind"] == kind));
        found.with_context(|| format!("action {id} has no entry {kind}"))
    };
    let steps = &heal.action["outcome"]["steps"];
    let step = |name: &str| {
        let found = steps.as_array().and_then(|steps| steps.iter().find(|step| step["name"] == name));
        found.with_context(|| format!("action {id} has no step {name}"))
    };
    let signed = entry("order.signed")?;
    let claimed_at =
        time(&signed["data"]["notAfter"])? - SignedDuration::from_secs(ORDER_LIFETIME_SECONDS.into());
    let patched_at =
        patches.get(id).with_context(|| format!("action {id} is not in the API server's log"))?;
    Ok([
        heal.change.sent_at,
        time(&decision["facts"]["observedAt"])?,
        time(&entry("action.requested")?["at"])?,
        time(&entry("decision.made")?["at"])?,
        time(&entry("action.intent")?["at"])?,
        claimed_at,
        time(&signed["at"])?,
        time(&step("accepted")?["at"])?,
        time(&step("checked")?["at"])?,
        *patched_at,
        heal.change.seen_at,
    ])
}

/// When the API server received the patch of each action, by the action's id.
fn patches(log: &Path) -> Result<HashMap<String, Timestamp>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut found = HashMap::new();
    for line in text.lines() {
        let request: Value = serde_json::from_str(line)?;
        let agent = request["userAgent"].as_str().unwrap_or_default();
        let action = agent.split_once("(action ").and_then(|(_, rest)| rest.strip_suffix(')'));
        if let (Some(id), "patch") = (action, request["verb"].as_str().unwrap_or_default()) {
            found.insert(id.to_owned(), time(&request["requestReceivedTimestamp"])?);
        }
    }
    Ok(found)
}

fn time(text: &Value) -> Result<Timestamp> {
    let found = text.as_str().with_context(|| format!("no time but {text}"))?;
    Ok(found.parse()?)
}
