//! Files what has come into the audit log, so that searches need not read all of it.

use std::time::Duration;

use aegis_runtime::shutdown::Shutdown;
use tracing::warn;

use crate::service::filing::file_next;
use crate::store::Store;

/// Pause between two looks. What came meanwhile is found without being filed.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs until shutdown. Any number of replicas may do so; one at a time does anything.
pub async fn run(store: Store, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        match file_next(&store).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the audit log is not filed; trying again");
            }
        }
        shutdown.pause(PERIOD).await;
    }
}
