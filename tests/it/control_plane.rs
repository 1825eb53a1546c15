//! The control plane's API on a whole stack: what callers, policies and auditors rely on.

mod audit;
mod callers;
mod clients;
mod evaluations;
mod examples;
mod idempotency;
pub(crate) mod log;
mod master_key;
mod outages;
mod policies;
mod reports;
mod requests;
mod sessions;
mod signatures;
mod withdrawal;
