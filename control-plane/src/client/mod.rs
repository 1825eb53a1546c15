//! The services and receivers this one calls.

pub mod executor;
mod report;
pub mod webhooks;
