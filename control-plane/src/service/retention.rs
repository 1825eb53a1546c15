//! Forgetting what can have no effect any more, and counting what is open.

use std::time::Duration;

use aegis_runtime::clock;
use aegis_runtime::shutdown::Shutdown;
use jiff::SignedDuration;
use tracing::warn;

use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::service::guessing;
use crate::store::{
    Store, actions, delays, deliveries, idempotency, mails, nonces, password_resets, refusals, reviews,
    sessions, sign_in_flows, sign_ups,
};

/// How often. Nothing depends on it: expired rows have no effect while they are still there.
const PERIOD: Duration = Duration::from_secs(15);
/// How long a noted minute is kept after it: clocks of replicas differ.
const MINUTES_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// How long it can be seen what webhooks were told.
const DELIVERIES_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Runs until shutdown. Any number of replicas may do so.
pub async fn run(store: Store, metrics: ControlPlaneMetrics, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        if let Err(error) = sweep(&store, &metrics).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "expired rows were not removed; trying again later"
            );
        }
        shutdown.pause(PERIOD).await;
    }
}

async fn sweep(store: &Store, metrics: &ControlPlaneMetrics) -> Result<(), Error> {
    let now = clock::now();
    let mut conn = store.acquire().await?;
    metrics.set_open_actions(&actions::count_open(&mut conn).await?);
    let (waiting, overdue) = reviews::count_open(&mut conn).await?;
    metrics.set_open_reviews(waiting, overdue);
    let undelivered = deliveries::count_undelivered(&mut conn).await?;
    metrics.set_webhook_deliveries(undelivered.waiting, undelivered.dead);
    metrics.set_waiting_mails(mails::count(&mut conn).await?);
    deliveries::forget(&mut conn, now - DELIVERIES_KEPT).await?;
    sessions::forget(&mut conn, now).await?;
    sign_in_flows::forget(&mut conn, now).await?;
    delays::forget(&mut conn, now - guessing::REMEMBERED, now - guessing::KNOWN_FOR).await?;
    mails::forget_recipients(&mut conn).await?;
    password_resets::forget(&mut conn, now).await?;
    sign_ups::forget(&mut conn, now).await?;
    nonces::forget(&mut conn, now).await?;
    idempotency::forget(&mut conn, now).await?;
    refusals::forget(&mut conn, now - MINUTES_KEPT).await
}
