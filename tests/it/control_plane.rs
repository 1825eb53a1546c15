//! The control plane's API on a whole stack: what callers, policies and auditors rely on.

mod audit;
mod bounds;
mod callers;
mod evaluations;
mod idempotency;
pub(crate) mod log;
mod outages;
mod policies;
mod reports;
mod requests;
mod sessions;
mod signatures;
mod throttles;
mod withdrawal;
