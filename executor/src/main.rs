//! Aegis' executor: the only part that touches a cluster. It takes signed orders, checks each of them
//! itself, carries them out at most once, and answers with signed receipts.
//!
//! ```text
//!  http ──► execute ──► verify    the checks of an order, pure
//!                  ├──► ledger    what was accepted, begun, ended and closed (Postgres)
//!                  └──► action    the changes themselves, on real objects ──► cluster (Kubernetes)
//! ```

mod action;
mod allowlist_file;
mod app;
mod cluster;
mod execute;
mod http;
mod ledger;
mod rights;
mod settings;
mod verdict;
mod verify;

use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    app::run(app::Arguments::parse()).await
}
