//! The file that holds the allowlist: read at start, and again while the executor runs, so that the platform's people
//! change it without touching the executor.
//!
//! What a new file takes away is gone at once; what it adds counts once the accounts were reviewed in the namespaces
//! that are new. A file that cannot be used changes nothing and raises an alarm.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_runtime::metrics::Metrics;
use aegis_runtime::shutdown::Shutdown;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::execute::Executor;
use crate::rights::reviewer::{ReviewError, Reviewer};
use crate::verify::allowlist::{Rules, RulesError};

/// How often the file is looked at. Its bytes are compared, not its times: a ConfigMap's mount is a link that is
/// exchanged, and the file behind it may be older than the one before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before namespaces that the review did not let through are reviewed again.
const REVIEW_INTERVAL: Duration = Duration::from_secs(10);

/// Why a file's rules are not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// It can be read and is no allowlist.
    #[error(transparent)]
    Unusable(RulesError),
    /// What it adds must not, or not yet, be acted in.
    #[error("the namespaces that it adds are not acted in")]
    Unreviewed(#[source] ReviewError),
}

/// The rules in a file as it is now.
pub(crate) fn read(path: &Path) -> Result<Rules, FileError> {
    let bytes = std::fs::read(path).map_err(FileError::Unreadable)?;
    Rules::from_json(&bytes).map_err(FileError::Unusable)
}

/// Keeps an executor's allowlist as its file has it.
pub(crate) struct AllowlistFile {
    path: PathBuf,
    reviewer: Reviewer,
    unusable: Gauge,
    said: Option<String>,
    /// What the review did not let through, and when it is asked again.
    refused: Option<(Rules, Instant)>,
}

impl AllowlistFile {
    /// The file at `path`, from which the executor has read its first rules.
    pub(crate) fn new(path: PathBuf, reviewer: Reviewer, metrics: &Metrics) -> Self {
        let unusable = Gauge::default();
        metrics.register(
            "allowlist_unusable",
            "1 while the allowlist's file cannot be used, and the rules read before it are in force",
            unusable.clone(),
        );
        Self { path, reviewer, unusable, said: None, refused: None }
    }

    /// Looks at the file until the executor ends.
    pub(crate) async fn follow(mut self, executor: Arc<Executor>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = shutdown.wait() => return,
            }
            let found = read(&self.path);
            let is_refused = |rules| {
                self.refused
                    .as_ref()
                    .is_some_and(|(refused, until)| refused == rules && Instant::now() < *until)
            };
            if found.as_ref().is_ok_and(is_refused) {
                continue;
            }
            let taken = match found {
                Ok(rules) => self.take(&executor, rules).await,
                Err(error) => Err(error),
            };
            self.tell(taken);
        }
    }

    async fn take(&mut self, executor: &Executor, rules: Rules) -> Result<(), FileError> {
        let in_force = executor.allowlist.rules();
        if rules == in_force {
            return Ok(());
        }
        let narrowed = in_force.narrowed_to(&rules);
        if narrowed != in_force {
            executor.allowlist.put(narrowed);
        }
        if rules.adds_namespaces_to(&in_force) {
            let namespaces = executor.allowlist.touchable(&rules);
            if let Err(error) = self.reviewer.review(&namespaces).await {
                self.refused = Some((rules, Instant::now() + REVIEW_INTERVAL));
                return Err(FileError::Unreviewed(error));
            }
        }
        self.refused = None;
        executor.allowlist.put(rules);
        let namespaces = executor.allowlist.allowed().join(",");
        tracing::info!(namespaces, "the allowlist was changed");
        Ok(())
    }

    fn tell(&mut self, taken: Result<(), FileError>) {
        self.unusable.set(taken.is_err().into());
        let said = taken.as_ref().err().map(|error| format!("{error:?}"));
        match taken {
            Err(error) if said != self.said => tracing::error!(
                error = &error as &dyn std::error::Error,
                file = %self.path.display(),
                "the allowlist's file cannot be used: what was in force and it does not take away stays in force"
            ),
            Ok(()) if self.said.is_some() => tracing::info!("the allowlist's file can be used again"),
            _ => {}
        }
        self.said = said;
    }
}
