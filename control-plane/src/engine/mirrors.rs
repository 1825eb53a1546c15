//! Brings the newest checkpoint to every mirror, again and again: also when the log has not grown, so that what was
//! lost there comes back, and whoever watches sees that it works.

use std::time::Duration;

use aegis_runtime::clock;
use aegis_runtime::shutdown::Shutdown;
use tracing::warn;

use crate::client::mirrors::{Mirror, MirrorClient};
use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;
use crate::store::log::StoredCheckpoint;
use crate::store::{ANSWER_WITHIN, Store, log, within};

/// What it works with.
#[derive(Clone)]
pub struct Publisher {
    /// The database.
    pub store: Store,
    /// Reaches the mirrors.
    pub client: MirrorClient,
    /// Where to.
    pub mirrors: Vec<Mirror>,
    /// How often.
    pub period: Duration,
    /// What is counted.
    pub metrics: ControlPlaneMetrics,
}

/// Runs until shutdown; every replica does, because the same checkpoint may come as often as it likes.
pub async fn run(publisher: Publisher, shutdown: Shutdown) {
    while !shutdown.is_triggered() && !publisher.mirrors.is_empty() {
        if let Err(error) = publish(&publisher).await {
            warn!(error = &error as &dyn std::error::Error, "the newest checkpoint is not published");
        }
        shutdown.pause(publisher.period).await;
    }
}

async fn publish(publisher: &Publisher) -> Result<(), Error> {
    let Publisher { store, client, mirrors, metrics, .. } = publisher;
    let newest = async { log::newest_checkpoint(&mut *store.acquire().await?).await };
    let Some(StoredCheckpoint { size, note, .. }) = within(ANSWER_WITHIN, newest).await? else {
        return Ok(());
    };
    let publishing = mirrors.iter().map(|mirror| {
        let note = &note;
        async move {
            match client.publish(mirror, size, note).await {
                Ok(()) => metrics.set_published(mirror.to_string(), clock::now()),
                Err(error) => warn!(%mirror, error, "the newest checkpoint is not published"),
            }
        }
    });
    futures_util::future::join_all(publishing).await;
    Ok(())
}
