//! The control plane: decides by policy, records, signs orders, and believes only signed receipts.
//!
//! ```text
//!  http ──► service ──► store ──► Postgres
//!             │  │
//!             │  └────► aegis_policy (pure)
//!  engine ────┴──────► client ──► executors
//! ```
//!
//! `http` knows transport and never names the store; `service` knows use cases and never names the
//! transport. [`audit`] is the log's one way in. [`app`] wires it all together.

pub mod app;
pub mod audit;
pub mod bootstrap;
pub mod client;
pub mod engine;
pub mod error;
pub mod http;
pub mod metrics;
pub mod permission;
pub mod principal;
pub mod scope;
pub mod seal;
pub mod service;
pub mod settings;
pub mod store;
pub mod throttle;
