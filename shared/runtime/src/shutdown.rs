//! One token that tells every part of a process to finish.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the process has been asked to end. Clones share one state.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A token that SIGTERM or SIGINT triggers. A second signal ends the process at once.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn on_signals() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if first {
                    tracing::info!("shutting down");
                    sender.send_replace(true);
                } else {
                    std::process::exit(130);
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Returns once the process has been asked to end.
    pub async fn wait(&self) {
        // An error means that the sender is gone, which ends the process as well.
        let _ = self.0.clone().wait_for(|triggered| *triggered).await;
    }

    /// Returns after `time`, or at once when the process has been asked to end.
    pub async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wait() => {}
        }
    }

    /// Whether the process has been asked to end.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }
}
