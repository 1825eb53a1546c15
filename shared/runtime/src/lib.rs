//! Plumbing that every binary of Aegis needs, without business meaning.
//!
//! ```text
//!  environment ──► settings      one read, all problems at once
//!  signals     ──► shutdown      one token that everything waits on
//!  request     ──► http          request id, trace context, log line, metrics, problem body
//!  connection  ──► tls           certificates from files, and whom they name
//! ```
//!
//! The only crate that reads the environment ([`settings`]) and the clock ([`clock`]). Only services need
//! what serves requests: the feature `service`.

pub mod clock;
#[cfg(feature = "service")]
pub mod http;
pub mod lines;
#[cfg(feature = "service")]
pub mod metrics;
pub mod settings;
#[cfg(feature = "service")]
pub mod shutdown;
#[cfg(feature = "service")]
pub mod telemetry;
#[cfg(feature = "service")]
pub mod tls;
#[cfg(feature = "service")]
pub mod trace_context;
