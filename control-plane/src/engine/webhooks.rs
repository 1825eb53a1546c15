//! Empties the outbox: sends what is due to each webhook, and records what came of it. Killed between
//! the two, another replica sends the same again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aegis_contract::ids::EntryId;
use aegis_runtime::clock;
use aegis_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::client::webhooks::{ATTEMPT_TIMEOUT, Message, WebhookClient};
use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::seal::Keyring;
use crate::service::safeguards::Safeguards;
use crate::service::webhooks::delivery;
use crate::store::deliveries::{self, DeliveryName, Next, Outcome, Taken};
use crate::store::{Store, commit};

/// How often to look for what is due: bounds how late people are told.
const TICK: Duration = Duration::from_millis(500);
/// Deliveries to one webhook at once. A receiver that hangs holds up nobody else's.
const AT_ONCE: i64 = 8;
/// After that a delivery that was taken is taken to be lost. Well above an attempt's longest time.
const TAKEN_SECONDS: f64 = 4.0 * ATTEMPT_TIMEOUT.as_secs() as f64;
/// How long attempts may go on when the process ends.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What the engine works with.
#[derive(Clone)]
pub struct Courier {
    /// The database.
    pub store: Store,
    /// The receivers.
    pub client: WebhookClient,
    /// Opens the secrets.
    pub keyring: Keyring,
    /// What must not be done now.
    pub safeguards: Safeguards,
    /// What is counted.
    pub metrics: ControlPlaneMetrics,
}

/// Runs until shutdown.
pub async fn run(courier: Courier, shutdown: Shutdown) {
    let mut busy = HashSet::new();
    let mut rounds = JoinSet::new();
    while !shutdown.is_triggered() {
        // Signatures bear the time: with a wrong one, receivers would refuse them.
        if courier.safeguards.is_clock_true() {
            match due(&courier.store).await {
                Ok(webhooks) => {
                    for webhook in webhooks.into_iter().filter(|webhook| busy.insert(webhook.clone())) {
                        rounds.spawn(round(courier.clone(), webhook, shutdown.clone()));
                    }
                }
                Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot look into the outbox"),
            }
        }
        shutdown.pause(TICK).await;
        while let Some(done) = rounds.try_join_next() {
            forget(&mut busy, done);
        }
    }
    let finished = tokio::time::timeout(HAND_OVER, async { while rounds.join_next().await.is_some() {} });
    if finished.await.is_err() {
        rounds.shutdown().await;
    }
}

fn forget(busy: &mut HashSet<String>, done: Result<String, tokio::task::JoinError>) {
    match done {
        Ok(webhook) => drop(busy.remove(&webhook)),
        Err(error) => {
            // Which one is not known: all are looked at again, and none is sent to twice for it.
            warn!(error = &error as &dyn std::error::Error, "sending to a webhook failed");
            busy.clear();
        }
    }
}

async fn due(store: &Store) -> Result<Vec<String>, Error> {
    deliveries::due(&mut *store.acquire().await?).await
}

/// Sends to one webhook until nothing is due; answers with its name.
async fn round(courier: Courier, webhook: String, shutdown: Shutdown) -> String {
    while !shutdown.is_triggered() {
        let taken = async {
            deliveries::take(&mut *courier.store.acquire().await?, &webhook, TAKEN_SECONDS, AT_ONCE).await
        };
        match taken.await {
            Ok(taken) if taken.is_empty() => break,
            Ok(taken) => {
                let mut attempts = JoinSet::new();
                for taken in taken {
                    attempts.spawn(attempt(courier.clone(), webhook.clone(), taken));
                }
                attempts.join_all().await;
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, webhook, "cannot look into the outbox");
                break;
            }
        }
    }
    webhook
}

/// One attempt at one delivery. What cannot be recorded is sent again.
async fn attempt(courier: Courier, webhook: String, taken: Taken) {
    let name = DeliveryName { webhook, entry_id: EntryId(taken.entry_id) };
    let outcome = send(&courier, &taken).await;
    courier.metrics.count_webhook_attempt(outcome.error.is_none());
    let DeliveryName { webhook, entry_id } = &name;
    match (&outcome.error, outcome.next) {
        (None, _) => info!(webhook, entryId = %entry_id, "a notification was delivered"),
        (Some(reason), Next::Dead) => {
            warn!(webhook, entryId = %entry_id, reason, "a notification was given up");
        }
        (Some(reason), _) => info!(webhook, entryId = %entry_id, reason, "a notification was not delivered"),
    }
    let recorded = async {
        let mut tx = courier.store.begin().await?;
        deliveries::record(&mut tx, &name, taken.attempt, &outcome).await?;
        commit(tx, None).await
    };
    if let Err(error) = recorded.await {
        let error = &error as &dyn std::error::Error;
        warn!(error, webhook, entryId = %entry_id, "an attempt was not recorded; it is sent again");
    }
}

async fn send(courier: &Courier, taken: &Taken) -> Outcome {
    let (at, started) = (clock::now(), Instant::now());
    let prepared = delivery::body(taken)
        .and_then(|body| Ok((body, delivery::secrets(&courier.keyring, taken)?)))
        .inspect_err(|error| warn!(error = error as &dyn std::error::Error, "a notification cannot be made"));
    let answer = match prepared {
        Ok((body, secrets)) => {
            let id = taken.entry_id.to_string();
            courier.client.send(&taken.url, Message { id: &id, at, body: &body, secrets: &secrets }).await
        }
        Err(_) => Err("not sent: the notification could not be made".to_owned()),
    };
    let (next, error) = delivery::judge(&answer, taken.tries);
    Outcome {
        at,
        latency_milliseconds: i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX),
        status: answer.ok().map(|answer| answer.status),
        error,
        next,
    }
}
