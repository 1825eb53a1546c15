//! The services and receivers this one calls.

pub mod executor;
pub mod mirrors;
mod report;
pub mod transport;
pub mod webhooks;
