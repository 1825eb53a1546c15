//! Something made of files, made again when they change.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::TlsError;
use super::files::Contents;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How often the files are looked at. Their bytes are compared, not their times: a Secret's mount is a link that is
/// exchanged, and the files behind it may be older than those before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is made of files as they were when last they could be used. Clones share it.
pub(super) struct Followed<T>(Arc<Inner<T>>);

type Read = dyn Fn() -> Result<Contents, TlsError> + Send + Sync;
type Make<T> = dyn Fn(&Contents) -> Result<T, TlsError> + Send + Sync;

struct Inner<T> {
    read: Box<Read>,
    make: Box<Make<T>>,
    in_force: RwLock<(Contents, Arc<T>)>,
}

impl<T> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Followed<T> {
    /// Reads the files for the first time.
    pub(super) fn open(
        read: impl Fn() -> Result<Contents, TlsError> + Send + Sync + 'static,
        make: impl Fn(&Contents) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let contents = read()?;
        let made = Arc::new(make(&contents)?);
        let in_force = RwLock::new((contents, made));
        Ok(Self(Arc::new(Inner { read: Box::new(read), make: Box::new(make), in_force })))
    }

    /// What was made last.
    pub(super) fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.in_force.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Looks at the files until the process ends. What cannot be used changes nothing and raises an alarm.
    pub(super) async fn follow(self, purpose: &'static str, metrics: Metrics, shutdown: Shutdown) {
        let (mut seen, mut said) = (None, None);
        metrics.set_tls_unusable(purpose, false);
        while !shutdown.is_triggered() {
            shutdown.pause(LOOK_INTERVAL).await;
            let failed = match self.look(&mut seen) {
                Look::AsBefore => None,
                Look::Taken => {
                    tracing::info!(purpose, "TLS goes on with new files");
                    None
                }
                Look::Changing => continue,
                Look::Failed(error) => Some(error),
            };
            metrics.set_tls_unusable(purpose, failed.is_some());
            let says = failed.as_ref().map(|error| format!("{error:?}"));
            if let Some(error) = failed.filter(|_| says != said) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    purpose,
                    "files for TLS cannot be used: what was read before stays in force"
                );
            }
            said = says;
        }
    }

    /// Takes new files once two looks found the same, so that nobody is caught between writing a certificate and its
    /// key.
    fn look(&self, seen: &mut Option<Contents>) -> Look {
        let found = match (self.0.read)() {
            Ok(found) => found,
            Err(error) => return Look::Failed(error),
        };
        if self.0.in_force.read().unwrap_or_else(PoisonError::into_inner).0 == found {
            return Look::AsBefore;
        }
        if seen.as_ref() != Some(&found) {
            *seen = Some(found);
            return Look::Changing;
        }
        match (self.0.make)(&found) {
            Ok(made) => {
                *self.0.in_force.write().unwrap_or_else(PoisonError::into_inner) = (found, Arc::new(made));
                Look::Taken
            }
            Err(error) => Look::Failed(error),
        }
    }
}

/// What one look at the files has shown.
enum Look {
    /// They are those in force.
    AsBefore,
    /// They were not yet like this at the look before.
    Changing,
    /// They are in force now.
    Taken,
    /// They cannot be used.
    Failed(TlsError),
}
