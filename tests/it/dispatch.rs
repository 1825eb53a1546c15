//! The order protocol of the whole stack under faults: whatever is cut, killed, late or forgotten, an action is
//! written at most once, and what is said of it is true.

pub(crate) mod held_claims;
mod ledgers;
pub(crate) mod lost_orders;
mod queue;
mod replicas;
