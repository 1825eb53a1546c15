//! Compares the clocks, asks for the database's size and whether the log is forked, again and again.

use std::time::Duration;

use aegis_runtime::clock;
use aegis_runtime::shutdown::Shutdown;
use tracing::warn;

use crate::error::Error;
use crate::service::safeguards::{ClockReading, Safeguards};
use crate::store::{ANSWER_WITHIN, Store, capacity, dispatch, log, within};

/// How often: bounds how long a clock may be wrong, or a database full, before it is noticed. One
/// process asks for the size no oftener, however many requests come.
const PERIOD: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub async fn run(store: Store, safeguards: Safeguards, origin: String, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        if let Err(error) = measure(&store, &safeguards, &origin).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "clock, size and forks were not read from the database"
            );
        }
        shutdown.pause(PERIOD).await;
    }
}

/// Measures once.
///
/// # Errors
/// Those of the database; what was measured before still counts then.
pub async fn measure(store: &Store, safeguards: &Safeguards, origin: &str) -> Result<(), Error> {
    within(ANSWER_WITHIN, async {
        let mut conn = store.acquire().await?;
        let before = clock::now();
        let database = dispatch::clock(&mut conn).await?;
        safeguards.note_clock(ClockReading { before, database, after: clock::now() });
        safeguards.note_fork(log::is_forked(&mut conn, origin).await?);
        if safeguards.limits_size() {
            safeguards.note_size(capacity::database_bytes(&mut conn).await?);
        }
        Ok(())
    })
    .await
}
