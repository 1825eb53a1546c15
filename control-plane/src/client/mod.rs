//! The services and receivers this one calls.

pub mod executor;
pub mod mail;
pub mod mirrors;
pub mod oidc;
mod report;
pub mod transport;
pub mod webhooks;
