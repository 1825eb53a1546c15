//! The control plane's API on a whole stack: what callers, policies and auditors rely on.

mod alert_sources;
mod audit;
mod bounds;
mod callers;
mod canaries;
mod clients;
mod description;
mod evaluations;
mod examples;
mod idempotency;
pub(crate) mod log;
mod mail;
mod master_key;
mod outages;
mod people;
mod policies;
mod reports;
mod requests;
mod role_grants;
pub(crate) mod rotation;
mod second_factor;
mod sessions;
mod sign_in;
mod signatures;
mod single_sign_on;
mod throttles;
mod withdrawal;
