//! From `queued` to the outcome: intents, claims, receipts and endings. Each public function that
//! takes a [`Store`](crate::store::Store) is one transaction together with its audit entries.

mod claim;
mod ending;
mod intent;
mod receipt;
mod redecide;

use std::sync::Arc;

use tokio::sync::Notify;

pub use claim::{Claim, OrderTerms, claim};
use ending::expire_unlogged;
pub use ending::{Ending, Helped, Outcome, end_action, expire};
pub use intent::{NewIntent, preconditions_of, write_intent};
pub use receipt::{Recorded, mark_unknown, record_answer, record_not_accepted};
pub use redecide::{Redecided, expire_unapproved, redecide};

/// The principal of entries that the dispatcher writes; each names whom it acts for.
pub const DISPATCHER: &str = "engine:dispatch";

/// Wakes the dispatcher of this process: something was queued.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Something was queued.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Returns when something was queued since the last call.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}
