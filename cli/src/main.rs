//! `aegisctl`: asks the control plane of Aegis for changes, and reads what it recorded.
//!
//! ```text
//!  arguments ──► commands ──► client ──► control plane
//!                   │            └── credentials: signs with contract::http_signature, or a token
//!                   └──► output (data, stdout) · progress and failure (everything else, stderr) · exit
//! ```
//! Holds no state and no rules: what may be done is decided by the control plane alone.

mod arguments;
mod client;
mod commands;
mod credentials;
mod exit;
mod failure;
mod output;
mod progress;
mod watch;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    commands::run(arguments::Arguments::parse()).await.into()
}
