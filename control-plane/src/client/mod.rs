//! The services and receivers this one calls.

pub mod executor;
pub mod mail;
pub mod mirrors;
mod report;
pub mod webhooks;
