//! The services this one calls.

pub mod executor;
mod report;
