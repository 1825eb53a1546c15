//! Black-box tests: the real binaries, a real PostgreSQL, a real Kubernetes API server.

mod actions;
mod cli;
mod commands;
mod control_plane;
mod dispatch;
mod executor;
mod fault_proxy;
mod faults;
mod peers;
mod testbed;
