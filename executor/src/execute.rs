//! Carries out orders: answers each with a signed receipt, and sees accepted actions through.
//!
//! ```text
//!  orders ──► verify ──► ledger (accepted) ──► worker ──► ledger (acting) ──► write ──► watch ──► ledger (finished)
//!                                                ▲
//!                                resume loop ────┘  (a lease that ran out)
//! ```
//! A worker can die at any point and another one, here or in another replica, goes on from the
//! ledger and the live object alone.

mod canary;
mod evicting;
mod first_look;
mod history;
mod lease;
mod metrics;
mod naming;
mod orders;
mod prospect;
mod receipts;
mod returning;
mod soaking;
mod turns;
mod watching;
mod worker;
mod workers;
mod writing;

use std::time::Duration;

use aegis_contract::action::Change;
use aegis_contract::dsse::OrderKeys;
use aegis_runtime::settings::SettingsError;
use aegis_runtime::settings::renewal::InForce;
use aegis_runtime::shutdown::Shutdown;

pub(crate) use self::history::{Held, History};
pub(crate) use self::metrics::ExecutorMetrics;
pub(crate) use self::orders::{AnswerError, Patience};
pub(crate) use self::receipts::ReceiptSigner;
pub(crate) use self::soaking::watch_soaking;
pub(crate) use self::workers::{Workers, resume_actions};
use crate::cluster::Cluster;
use crate::ledger::Ledger;
use crate::settings::Secrets;
use crate::verify::allowlist::Allowlist;

/// Everything that answering orders and carrying out actions needs.
pub(crate) struct Executor {
    /// The audience this executor answers to.
    pub(crate) cluster_name: String,
    /// Opens orders.
    pub(crate) order_keys: InForce<OrderKeys>,
    /// Signs receipts.
    pub(crate) receipts: ReceiptSigner,
    /// How long all pods must have been available with a template before it can be returned to; zero: not at all.
    pub(crate) soak: Duration,
    /// The executor's own ceiling.
    pub(crate) allowlist: Allowlist,
    /// The audit log as far as it was verified.
    pub(crate) history: History,
    /// What was accepted, begun, ended and closed.
    pub(crate) ledger: Ledger,
    /// Where targets live, as the executor's own account.
    pub(crate) cluster: Cluster,
    /// The same, as the account that writes rollbacks; absent where rollbacks are off.
    pub(crate) rollbacks: Option<Cluster>,
    /// The actions this process carries out at present.
    pub(crate) workers: Workers,
    /// What is counted.
    pub(crate) metrics: ExecutorMetrics,
    /// When to hand over.
    pub(crate) shutdown: Shutdown,
}

impl Executor {
    /// Goes on with other secrets.
    ///
    /// # Errors
    /// What cannot be used; nothing has changed.
    pub(crate) async fn renew(&self, secrets: Secrets) -> Result<(), SettingsError> {
        let renewed = self.ledger.renew(secrets.database).await;
        renewed.map_err(|error| SettingsError(vec![format!("DATABASE_URL {error}")]))?;
        self.receipts.renew(secrets.receipt_key);
        self.order_keys.put(secrets.order_keys);
        Ok(())
    }

    /// The cluster as the account that writes this change. Without an account for rollbacks the allowlist lets none
    /// through, and the API server would refuse it under the executor's own.
    pub(crate) fn writer(&self, change: &Change) -> &Cluster {
        match (change, &self.rollbacks) {
            (Change::Rollback(_), Some(rollbacks)) => rollbacks,
            _ => &self.cluster,
        }
    }
}
