//! The harness of the black-box tests: everything a test needs that is real and must be started.
//!
//! ```text
//!  callers ──► Stack ──► control plane(s) ──► fault proxy ──► executor(s) ──► fault proxy ──► Cluster
//!                             └── Database ──────────────────────┘                (etcd, API server, kwok)
//! ```
//! Nothing started here survives the process that started it. A missing program fails with a sentence that says
//! what to install.

pub mod authenticator;
pub mod callers;
pub mod certificates;
pub mod cluster;
pub mod database;
pub mod eventually;
pub mod executor_accounts;
pub mod fake_clock;
pub mod fault_proxy;
pub mod kube_audit;
pub mod kubernetes;
pub mod mail_server;
pub mod oidc;
pub mod paths;
pub mod ports;
pub mod process;
pub mod programs;
pub mod progress;
pub mod python;
pub mod receiver;
pub mod redis;
pub mod schemathesis;
pub mod stack;
pub mod wire;
pub mod workload;
