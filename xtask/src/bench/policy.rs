//! The policy evaluator beside Cedar, regorus and casbin. It is measured by a workspace of its own,
//! `bench/`, so that nothing of them is linked into anything of ours.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Case, Goal};
use crate::cargo::{cargo, run as run_cargo};

/// What the binaries of `bench/policy` write.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    case: String,
    unit: String,
    ours: f64,
    other: f64,
    other_name: String,
    part_max: Option<f64>,
}

/// Builds and runs both binaries: what counts allocations would slow down what is timed.
pub(super) fn run(quick: bool) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for program in ["aegis-bench-policy", "allocations"] {
        let rows = tempfile::NamedTempFile::new().context("cannot make a file for the figures")?;
        let mut command = cargo(["run", "--release", "--locked", "--manifest-path", "bench/Cargo.toml"]);
        command.args(["--package", "aegis-bench-policy", "--bin", program, "--", "--rows"]).arg(rows.path());
        if quick && program == "aegis-bench-policy" {
            command.arg("--quick");
        }
        run_cargo(command)?;
        let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(rows.path())?)?;
        cases.extend(rows.into_iter().map(case));
    }
    Ok(cases)
}

fn case(row: Row) -> Case {
    let goal = row.part_max.map_or(Goal::None, Goal::PartMax);
    Case::new(row.case, row.unit, row.ours, row.other, row.other_name, goal)
}
