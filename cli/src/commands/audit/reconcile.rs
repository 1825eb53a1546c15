//! `aegisctl audit reconcile`: whether everything that the executor's accounts wrote in a cluster is in the log, and
//! everything that the log says was written is in the cluster's own audit log.

mod answer;
mod compare;
mod kube;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::arguments::Options;
use crate::commands::audit::courses::{Courses, Entry};
use crate::commands::audit::source::SourceOptions;
use crate::commands::page::parse_time;
use crate::exit::Reconciled;
use crate::failure::Failure;
use crate::settings::Settings;
use answer::Answer;
use compare::{Compared, Known};
use kube::KubeLog;

/// How long before a write its action's intent and order were recorded at most, and how long after it the outcome:
/// an action is watched for an hour at most, and begun within an hour of being decided.
const MARGIN: SignedDuration = SignedDuration::from_hours(3);

/// The accounts that the manifests make.
const ACCOUNTS: [&str; 2] = [
    "system:serviceaccount:aegis-system:aegis-executor",
    "system:serviceaccount:aegis-system:aegis-executor-rollback",
];

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Reconcile {
    /// Audit log of the cluster's API server (lines of audit.k8s.io/v1 events); more than once for one that was rotated
    #[arg(long, value_name = "FILE", required = true)]
    kube_audit: Vec<PathBuf>,
    /// Cluster as the control plane calls it
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Identity of the executor in the cluster; more than once for each of its accounts
    #[arg(long = "user", value_name = "NAME", default_values = ACCOUNTS)]
    users: Vec<String>,
    /// Compare from this time on: 2026-11-20T12:00:00Z, or so long ago: 90m, 24h, 7d; if absent, as far as the files go
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Compare up to this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    source: SourceOptions,
}

/// Runs the command.
pub(crate) async fn run(command: &Reconcile, options: &Options) -> Result<Reconciled, Failure> {
    let settings = Settings::resolve(options)?;
    let log = KubeLog::read(&command.kube_audit, &command.users)?;
    let Some((first, last)) = log.span else {
        return Err(Failure::usage("the files hold no events, so that nothing can be compared"));
    };
    let (from, to) = (command.from.unwrap_or(first), command.to.unwrap_or(last));
    if to < from {
        return Err(Failure::usage(format!("--to {to} is before {from}")));
    }
    let cluster = command.cluster.as_deref().unwrap_or(&settings.cluster);
    let mut courses = Courses::default();
    let mut unreadable = 0;
    let around = (from.saturating_sub(MARGIN), to.saturating_add(MARGIN));
    let around = (around.0.map_err(Failure::usage)?, around.1.map_err(Failure::usage)?);
    let taken = command
        .source
        .take(&settings, around, |line| match serde_json::from_slice::<Entry>(line) {
            Ok(entry) => courses.take(&entry),
            Err(_) => unreadable += 1,
        })
        .await?;
    let known = Known { courses: &courses, cluster, taken: &taken, unreadable };
    let compared = Compared::of(&log, &known, (from, to));
    let answer = Answer::of(&compared, &taken, (from, to), cluster);
    answer.write(settings.output)?;
    Ok(answer.verdict)
}
