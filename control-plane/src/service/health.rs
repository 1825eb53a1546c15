//! Whether the control plane, and what it depends on, can do their work now.

use std::time::Duration;

use super::Services;
use crate::error::Error;
use crate::store::{ANSWER_WITHIN, clusters, within};

/// How long an executor may take to say that it is ready.
const EXECUTOR_WITHIN: Duration = Duration::from_secs(1);

/// The state of everything the control plane depends on.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the database answers.
    pub postgres: bool,
    /// Each cluster and whether its executor is ready; empty when the database does not answer.
    pub executors: Vec<(String, bool)>,
}

/// Whether this process can take requests.
///
/// # Errors
/// When the database does not answer, or lacks the tables this release needs.
pub async fn ready(services: &Services) -> Result<(), Error> {
    services.store.ping().await
}

/// Looks at everything, at once.
pub async fn look(services: &Services) -> Health {
    let found =
        within(ANSWER_WITHIN, async { clusters::list(&mut *services.store.acquire().await?).await }).await;
    let Ok(found) = found else { return Health { postgres: false, executors: Vec::new() } };
    let mut questions = tokio::task::JoinSet::new();
    for cluster in found {
        let executors = services.executors.clone();
        questions.spawn(async move {
            let ready =
                tokio::time::timeout(EXECUTOR_WITHIN, executors.is_ready(&cluster.executor_url)).await;
            (cluster.name, ready.unwrap_or(false))
        });
    }
    let mut executors: Vec<(String, bool)> = questions.join_all().await;
    executors.sort();
    Health { postgres: true, executors }
}
