//! Plumbing that every binary of Aegis needs, without business meaning.
//!
//! ```text
//!  environment ──► settings      one read, all problems at once
//!  signals     ──► shutdown      one token that everything waits on
//!  request     ──► http          request id, trace context, log line, metrics, problem body
//! ```
//!
//! The only crate that reads the environment ([`settings`]) and the clock ([`clock`]).

pub mod clock;
pub mod http;
pub mod metrics;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod trace_context;
