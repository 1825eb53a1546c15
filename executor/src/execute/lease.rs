//! Holding a lease while an action is carried out.

use std::time::Duration;

use tokio::time::Instant;

use super::worker::Stop;
use crate::ledger::Ledger;
use crate::ledger::leases::{LEASE_SECONDS, LeaseGrant};

/// How often a lease is renewed: two renewals may fail before it runs out.
const RENEW_INTERVAL: Duration = Duration::from_millis(1_500);

/// A lease of this process.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    ledger: Ledger,
    pub(super) grant: LeaseGrant,
}

impl Lease {
    pub(super) fn new(ledger: Ledger, grant: LeaseGrant) -> Self {
        Self { ledger, grant }
    }

    /// Renews the lease, and returns once it is lost.
    pub(super) async fn keep(&self) {
        let lasts = Duration::from_secs_f64(LEASE_SECONDS);
        let mut valid_until = Instant::now() + lasts;
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            let asked_at = Instant::now();
            match self.ledger.renew_lease(self.grant).await {
                Ok(true) => valid_until = asked_at + lasts,
                Ok(false) => return,
                Err(error) if Instant::now() >= valid_until => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a lease could not be renewed");
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Asks the ledger whether the lease is still held.
    pub(super) async fn confirm(&self) -> Result<(), Stop> {
        if self.ledger.renew_lease(self.grant).await? { Ok(()) } else { Err(Stop::LeaseLost) }
    }

    /// Lets another replica take over at once.
    pub(super) async fn release(&self) {
        if let Err(error) = self.ledger.release_lease(self.grant).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a lease could not be released; it runs out"
            );
        }
    }
}
