//! `aegisctl`: asks the control plane of Aegis for changes, and reads what it recorded.
//!
//! ```text
//!  arguments ─────┐
//!  environment ───┼──► settings ──► commands ──► client ──► control plane
//!  contexts ──────┘                    │            └── credentials: signs with contract::http_signature, or a token
//!                                      └──► output (data, stdout) · progress and failure (the rest, stderr) · exit
//! ```
//! Holds no rules, and no state but named settings: what may be done is decided by the control plane alone.

mod arguments;
mod client;
mod commands;
mod contexts;
mod credentials;
mod environment;
mod exit;
mod failure;
mod markdown;
mod output;
mod progress;
mod session;
mod settings;
mod watch;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    commands::run(arguments::Arguments::parse()).await
}
