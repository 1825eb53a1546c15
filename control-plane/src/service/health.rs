//! Whether the control plane, and what it depends on, can do their work now.

use std::time::Duration;

use jiff::SignedDuration;

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
    /// Whether the database has reached its share of its capacity, so that nothing new is recorded.
    pub is_database_full: bool,
    /// Whether this machine's clock is the database's.
    pub is_clock_true: bool,
    /// How far the clock is ahead of the database's, at the least; negative when behind.
    pub clock_offset: SignedDuration,
    /// Each cluster and whether its executor is ready; empty when the database does not answer.
    pub executors: Vec<(String, bool)>,
}

/// Whether this process can take requests.
///
/// # Errors
/// When the database does not answer, or lacks the tables this release needs; `ClockSkewed`.
pub async fn ready(services: &Services) -> Result<(), Error> {
    services.store.ping().await?;
    services.safeguards.require_true_clock()
}

/// Looks at everything, at once.
pub async fn look(services: &Services) -> Health {
    let found =
        within(ANSWER_WITHIN, async { clusters::list(&mut *services.store.acquire().await?).await }).await;
    let safeguards = &services.safeguards;
    let mut health = Health {
        postgres: found.is_ok(),
        is_database_full: safeguards.is_database_full(),
        is_clock_true: safeguards.is_clock_true(),
        clock_offset: safeguards.clock_offset(),
        executors: Vec::new(),
    };
    let Ok(found) = found else { return health };
    let mut questions = tokio::task::JoinSet::new();
    for cluster in found {
        let executors = services.executors.clone();
        questions.spawn(async move {
            let ready = tokio::time::timeout(EXECUTOR_WITHIN, executors.is_ready(&cluster)).await;
            (cluster.name, ready.unwrap_or(false))
        });
    }
    health.executors = questions.join_all().await;
    health.executors.sort();
    health
}
