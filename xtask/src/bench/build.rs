//! Size and dependencies of what is shipped, against budgets: what they may not exceed unnoticed.

use std::collections::BTreeSet;
use std::time::Instant;

use aegis_tests::paths::{RunFolder, binary};
use anyhow::{Context, Result, ensure};

use super::{Case, Goal};
use crate::cargo::{cargo, run as run_cargo};

/// One binary, and the budgets of its size in MiB and of the crates linked into it.
struct Shipped {
    name: &'static str,
    size_max: f64,
    crates_max: f64,
}

const SHIPPED: [Shipped; 3] = [
    Shipped { name: "aegis-control-plane", size_max: 24.0, crates_max: 300.0 },
    Shipped { name: "aegis-executor", size_max: 20.0, crates_max: 280.0 },
    Shipped { name: "aegisctl", size_max: 12.0, crates_max: 200.0 },
];

/// Budget of a build from nothing on two processors.
const COLD_SECONDS_MAX: f64 = 900.0;

pub(super) fn run(cold: bool) -> Result<Vec<Case>> {
    let budget = |what, unit, ours, max| Case::new(what, unit, ours, max, "budget", Goal::Below);
    let mut cases = Vec::new();
    for Shipped { name, size_max, crates_max } in SHIPPED {
        let bytes = std::fs::metadata(binary(name)?)?.len();
        cases.push(budget(format!("size of {name}"), "MiB", bytes as f64 / 1_048_576.0, size_max));
        cases.push(budget(format!("crates linked into {name}"), "crates", crates(name)? as f64, crates_max));
    }
    if cold {
        cases.push(budget("build from nothing".to_owned(), "s", build_from_nothing()?, COLD_SECONDS_MAX));
    }
    Ok(cases)
}

/// How many crates other than ours are linked into a binary.
fn crates(package: &str) -> Result<usize> {
    let mut tree = cargo(["tree", "--locked", "--quiet", "--prefix", "none", "--no-dedupe"]);
    // Without macros, which only the compiler runs; of this platform, which is cargo's default.
    tree.args(["--edges", "normal,no-proc-macro", "--package", package]);
    let output = tree.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let foreign = text.lines().filter(|line| !line.is_empty() && !line.contains(" (/"));
    Ok(foreign.collect::<BTreeSet<_>>().len())
}

fn build_from_nothing() -> Result<f64> {
    let folder = RunFolder::create("cold-build")?;
    let mut build = cargo(["build", "--release", "--locked", "--target-dir"]);
    build.arg(folder.path());
    for Shipped { name, .. } in SHIPPED {
        build.args(["--package", name]);
    }
    let started_at = Instant::now();
    run_cargo(build)?;
    Ok(started_at.elapsed().as_secs_f64())
}
