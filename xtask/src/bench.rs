//! `cargo xtask bench`: figures, measured side by side in one run with what a user would take
//! instead. Release builds of everything, etcd and PostgreSQL writing through to the disk.

mod api;
mod audit;
mod build;
mod decide;
mod edge;
mod heal;
mod memory;
mod pgbench;
mod policy;
mod processors;
mod replay;
mod resident;
mod rollout;
mod scene;
mod search;
mod sign_in;
mod verifier;

use std::borrow::Cow;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cargo::{cargo, run as run_cargo};

/// What to measure.
#[derive(Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    subject: Subject,
    /// Few rounds: shows that it works, not how fast it is
    #[arg(long, global = true)]
    quick: bool,
    /// Also write the cases to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Subject {
    /// From a signed heal request to the change at the API server, against a bare patch
    Heal,
    /// From a bad rollout's first failing pod to nothing left of it, against kubectl
    Rollout,
    /// Memory of both services over two thousand actions
    Memory,
    /// Durable decisions, against rows that pgbench inserts
    Decide,
    /// Rehearsed heals without and with a thousand idle and slow connections
    Edge,
    /// Five hundred people who ask and think, by k6
    Api,
    /// From an entry's commit to the checkpoint over it, and rows of a chain that pgbench inserts
    Audit,
    /// Failed sign-ins of people who are known, unknown, disabled and invited
    SignIn,
    /// Searches in a large audit log
    Search {
        /// How many entries it has; with ten million, some 10 GB on the disk
        #[arg(long, default_value_t = 1_000_000)]
        entries: u64,
    },
    /// A whole log with every meaning checked, hashes, and proofs in a log of ten million entries
    Verifier,
    /// Policy decisions, against Cedar, regorus and casbin
    Policy,
    /// One million stored decisions, taken again under a draft
    Replay,
    /// Size and dependencies of the binaries
    Build {
        /// Also build them from nothing, which takes minutes
        #[arg(long)]
        cold: bool,
    },
}

/// What a case is meant to reach, beside `other`.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// Nothing: the figure is there to be seen.
    None,
    /// At most that much more than `other`.
    AddedMax(f64),
    /// At least that part of `other`.
    PartMin(f64),
    /// At most that part of `other`.
    PartMax(f64),
    /// Less than `other`, which is a limit.
    Below,
}

impl Goal {
    fn words(self, unit: &str) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::AddedMax(added) => format!("at most {added} {unit} more"),
            Self::PartMin(part) => format!("at least {part} of it"),
            Self::PartMax(part) => format!("at most {part} of it"),
            Self::Below => "below it".to_owned(),
        }
    }

    fn is_met(self, ours: f64, other: f64) -> bool {
        match self {
            Self::None => true,
            Self::AddedMax(added) => ours <= other + added,
            Self::PartMin(part) => ours >= other * part,
            Self::PartMax(part) => ours <= other * part,
            Self::Below => ours < other,
        }
    }
}

/// One comparison.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    /// What was measured.
    case: String,
    /// Of `ours` and `other`.
    unit: Cow<'static, str>,
    ours: f64,
    other: f64,
    other_name: Cow<'static, str>,
    /// `ours` divided by `other`.
    ratio: f64,
    /// What it is meant to reach, in words.
    goal: String,
    met: bool,
}

impl Case {
    fn new(
        case: impl Into<String>,
        unit: impl Into<Cow<'static, str>>,
        ours: f64,
        other: f64,
        other_name: impl Into<Cow<'static, str>>,
        goal: Goal,
    ) -> Self {
        let (unit, other_name) = (unit.into(), other_name.into());
        // Nothing beside nothing is the same, not unknown.
        let ratio = if ours == other { 1.0 } else { ours / other };
        let (goal, met) = (goal.words(&unit), goal.is_met(ours, other));
        Self { case: case.into(), unit, ours, other, other_name, ratio, goal, met }
    }

    fn print(&self) {
        let Self { case, unit, ours, other, other_name, ratio, goal, met } = self;
        let verdict = if *met { "met" } else { "MISSED" };
        println!(
            "{case:<52} {ours:>8.2} {unit:<6} {other_name:>12} {other:>8.2} {unit:<6} ratio {ratio:>5.2}   \
             goal: {goal}: {verdict}"
        );
    }
}

/// Measures, prints, and writes what was asked for.
pub(crate) async fn run(arguments: BenchArguments) -> Result<()> {
    // The policy evaluator is built for release by a workspace of its own.
    if cfg!(debug_assertions) && !matches!(arguments.subject, Subject::Policy) {
        return in_release();
    }
    let load_before = load()?;
    let cases = match arguments.subject {
        Subject::Heal => heal::run(arguments.quick).await?,
        Subject::Rollout => rollout::run(arguments.quick).await?,
        Subject::Memory => memory::run(arguments.quick).await?,
        Subject::Decide => decide::run(arguments.quick).await?,
        Subject::Edge => edge::run(arguments.quick).await?,
        Subject::Api => api::run(arguments.quick).await?,
        Subject::Audit => audit::run(arguments.quick).await?,
        Subject::SignIn => sign_in::run(arguments.quick).await?,
        Subject::Search { entries } => search::run(entries, arguments.quick).await?,
        Subject::Verifier => verifier::run(arguments.quick).await?,
        Subject::Policy => policy::run(arguments.quick)?,
        Subject::Replay => replay::run(arguments.quick).await?,
        Subject::Build { cold } => build::run(cold)?,
    };
    println!();
    for case in &cases {
        case.print();
    }
    let processors = std::thread::available_parallelism()?;
    println!("\n{processors} processors; load {load_before} before, {} after", load()?);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&cases)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Builds everything for release and goes on there: a stack is made of the binaries beside us.
fn in_release() -> Result<()> {
    run_cargo(cargo(["build", "--release", "--workspace", "--bins"]))?;
    let debug = std::env::current_exe()?;
    let target = debug.ancestors().nth(2).context("the running executable lies in no target folder")?;
    let mut release = std::process::Command::new(target.join("release/xtask"));
    let error = release.args(std::env::args_os().skip(1)).exec();
    bail!("cannot start the release build: {error}")
}

/// Average number of processes that wanted to run in the last minute: figures of a busy machine are
/// to be read with it.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("an empty /proc/loadavg")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_against_the_other_figure() {
        for (goal, ours, met) in [
            (Goal::None, 1_000.0, true),
            (Goal::AddedMax(15.0), 24.9, true),
            (Goal::AddedMax(15.0), 25.1, false),
            (Goal::PartMin(0.5), 5.0, true),
            (Goal::PartMin(0.5), 4.9, false),
            (Goal::PartMax(1.1), 11.0, true),
            (Goal::PartMax(1.1), 11.1, false),
            (Goal::Below, 10.0, false),
            (Goal::Below, 9.9, true),
        ] {
            assert_eq!(goal.is_met(ours, 10.0), met, "{goal:?} with {ours}");
        }
    }
}
