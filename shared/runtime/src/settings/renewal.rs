//! Secrets that change while a process runs: their files are read again and again.
//!
//! Files that are changed one after the other belong together, so nothing counts before it was found twice. What cannot
//! be used changes nothing and raises an alarm.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tracing::{error, info};

use super::{SettingsError, Source};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How often files are looked at. What they say is compared, not their times: a Secret's mount is a link that is
/// exchanged, and the file behind it may be older than the one before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time that taking secrets over may take: what they name may not answer.
const TAKE_WITHIN: Duration = Duration::from_secs(10);

/// What is in force until something else is put in its place.
#[derive(Debug, Default)]
pub struct InForce<T>(RwLock<Arc<T>>);

impl<T> InForce<T> {
    /// With this to begin with.
    pub fn new(first: T) -> Self {
        Self(RwLock::new(Arc::new(first)))
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts something into force, and returns what was before.
    pub fn put(&self, next: T) -> Arc<T> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), Arc::new(next))
    }
}

/// Keeps secrets as their files have them.
pub struct Renewal {
    /// Of what is in force, by [`Source::fingerprint`].
    in_force: u64,
    /// Of what was found last, and what was wrong with it.
    found: u64,
    refused: Option<String>,
    is_production: bool,
    unusable: Gauge,
    renewed: Counter,
}

impl Renewal {
    /// From secrets with this [`Source::fingerprint`] on; for production only such as it starts with.
    pub fn new(in_force: u64, is_production: bool, metrics: &Metrics) -> Self {
        let unusable = Gauge::default();
        metrics.register(
            "secrets_unusable",
            "1 while files of secrets cannot be used as they are, and what was read before is in force",
            unusable.clone(),
        );
        let renewed = Counter::default();
        metrics.register(
            "secrets_renewed",
            "How often secrets were changed to what their files say",
            renewed.clone(),
        );
        Self { in_force, found: in_force, refused: None, is_production, unusable, renewed }
    }

    /// Reads them until the process ends, and puts into force by `take` what has changed. What `take` refuses is offered
    /// to it again.
    pub async fn follow<T>(
        mut self,
        read: impl Fn(&mut Source) -> Option<T>,
        mut take: impl AsyncFnMut(T) -> Result<(), SettingsError>,
        shutdown: Shutdown,
    ) {
        while !shutdown.is_triggered() {
            shutdown.pause(LOOK_INTERVAL).await;
            let mut source = Source::from_environment();
            let secrets = read(&mut source);
            let found = source.fingerprint();
            let settled = std::mem::replace(&mut self.found, found) == found;
            if found == self.in_force {
                self.tell(None);
            } else if settled {
                if self.is_production {
                    source.refuse_examples();
                }
                let taken = match source.finish(secrets) {
                    Ok(secrets) => in_time(take(secrets)).await,
                    Err(error) => Err(error),
                };
                if taken.is_ok() {
                    self.in_force = found;
                    self.renewed.inc();
                    info!("secrets were changed");
                }
                self.tell(taken.err());
            }
        }
    }

    fn tell(&mut self, refused: Option<SettingsError>) {
        self.unusable.set(refused.is_some().into());
        let refused = refused.map(|error| error.to_string());
        if let Some(problem) = refused.as_ref().filter(|_| refused != self.refused) {
            error!(
                problem,
                "secrets cannot be changed to what their files say: those read before are in force"
            );
        }
        self.refused = refused;
    }
}

async fn in_time(taking: impl Future<Output = Result<(), SettingsError>>) -> Result<(), SettingsError> {
    let late = |_| {
        let seconds = TAKE_WITHIN.as_secs();
        SettingsError(vec![format!("what the secrets are for did not answer within {seconds} s")])
    };
    tokio::time::timeout(TAKE_WITHIN, taking).await.map_err(late)?
}
