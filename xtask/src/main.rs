//! `cargo xtask`: everything one does with the checkout.
//!
//! ```text
//!  up     a whole Aegis on this machine, and its main job before your eyes
//!  test   every check and every test, exactly as CI runs them
//!  stack  a whole Aegis in the background, for other tools
//!  bench  figures, side by side with what one would take instead
//!  sqlx   the descriptions of the SQL queries, renewed or checked
//!  dependencies  what is linked, held to deny.toml and listed
//! ```

mod bench;
mod cargo;
mod fuzz_api;
mod install;
mod sqlx;
mod stack;
mod supply_chain;
mod test;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Works on this checkout of Aegis.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Start a whole Aegis on this machine and watch it heal a workload
    Up {
        /// Use this cluster rather than the test bed's; an ambient KUBECONFIG is never used
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// End after the demonstration, with exit code 0 only if every step of it happened
        #[arg(long)]
        once: bool,
        /// Take the binaries as they are
        #[arg(long, hide = true)]
        built: bool,
    },
    /// Run every check and every test
    Test {
        /// Run only the tests whose names hold one of these, and no other checks
        filters: Vec<String>,
        /// Also run the tests that take long
        #[arg(long)]
        long: bool,
    },
    /// A whole Aegis in the background, for other tools
    Stack(stack::StackArguments),
    /// Measure, side by side with what one would take instead
    Bench(bench::BenchArguments),
    /// Send the API what its description allows, and what it does not, and judge every answer by it
    FuzzApi {
        /// How long to go on
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// Begin with the requests of an earlier run; each round tells its seed
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Renew the descriptions of the SQL queries in .sqlx
    Sqlx {
        /// Only say whether they are up to date
        #[arg(long)]
        check: bool,
    },
    /// Hold what is linked to deny.toml, and list it in target/sbom
    Dependencies,
}

fn main() -> ExitCode {
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(Command::parse())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { kubeconfig, once, built } => up::run(kubeconfig, once, built).await,
        Command::Test { filters, long } => test::run(&filters, long).await,
        Command::Stack(arguments) => stack::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::FuzzApi { minutes, seed } => fuzz_api::run(minutes, seed).await,
        Command::Sqlx { check } => sqlx::run(check).await,
        Command::Dependencies => supply_chain::run().await,
    }
}
