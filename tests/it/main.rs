//! Black-box tests: the real binaries, a real PostgreSQL, a real Kubernetes API server.

mod actions;
mod admission;
mod approvals;
mod audit_log;
mod chance;
mod cli;
mod commands;
mod control_plane;
mod deployment;
mod dispatch;
mod executor;
mod fault_proxy;
mod faults;
mod house;
mod limits;
mod peers;
mod reviews;
mod testbed;
mod transport;
mod webhooks;
