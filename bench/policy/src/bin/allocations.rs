//! Counts allocations and bytes. A binary of its own: what counts would slow down what is timed.

use std::path::PathBuf;

use aegis_bench_policy::engines::aegis::{Aegis, policy_set};
use aegis_bench_policy::engines::rego::Rego;
use aegis_bench_policy::engines::{Engine, cedar};
use aegis_bench_policy::row::Row;
use aegis_bench_policy::workloads::heal;
use aegis_bench_policy::world::Workload;
use aegis_policy::CompiledSet;
use allocation_counter::{AllocationInfo, measure};
use anyhow::{Context, Result, ensure};

const RULES: usize = 10_000;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    ensure!(arguments.len() == 2 && arguments[0] == "--rows", "usage: allocations --rows FILE");
    let workload = heal(RULES);
    let mut rows = per_decision(&workload)?;
    rows.extend(per_set(&workload)?);
    let file = PathBuf::from(&arguments[1]);
    std::fs::write(&file, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

fn per_decision(workload: &Workload) -> Result<Vec<Row>> {
    let mut ours = Aegis::new(workload)?;
    let mut cedar = cedar::Sliced::new(workload)?;
    let mut rego = Rego::data(workload)?;
    let ours = each(workload, &mut ours);
    let case = format!("allocations per decision, {}", workload.name);
    Ok(vec![
        Row::limit(&case, "", ours, 0.0),
        Row::beside(&case, "", ours, ("cedar sliced", each(workload, &mut cedar))),
        Row::beside(&case, "", ours, ("regorus data", each(workload, &mut rego))),
    ])
}

/// The mean of all requests, after each was decided once.
#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn each(workload: &Workload, engine: &mut dyn Engine) -> f64 {
    let requests = workload.requests.len();
    let mut decide_all = || (0..requests).for_each(|request| _ = engine.allows(request));
    decide_all();
    measure(decide_all).count_total as f64 / requests as f64
}

fn per_set(workload: &Workload) -> Result<Vec<Row>> {
    // What an engine keeps is what its rules take, without requests.
    let rules = Workload { requests: Vec::new(), ..workload.clone() };
    let set = policy_set(&rules.rules)?;
    let compiled = kept(|| CompiledSet::compile(set));
    let both = kept(|| CompiledSet::compile(policy_set(&rules.rules).expect("it was read before")));
    let cedar = kept(|| cedar::Plain::new(&rules).expect("the policies are fit for it"));
    let rego = kept(|| Rego::data(&rules).expect("the rules are fit for it"));
    let mut rows = Vec::new();
    for (unit, figure) in [("MiB", mebibytes as fn(&AllocationInfo) -> f64), ("", count)] {
        let what = if unit.is_empty() { "allocations" } else { "memory" };
        let case = |of: &str| format!("{what} of {RULES} rules, {of}");
        rows.push(Row::beside(
            case("compiled alone"),
            unit,
            figure(&compiled),
            ("read as well", figure(&both)),
        ));
        rows.push(Row::beside(case("read and compiled"), unit, figure(&both), ("cedar", figure(&cedar))));
        rows.push(Row::beside(
            case("read and compiled"),
            unit,
            figure(&both),
            ("regorus data", figure(&rego)),
        ));
    }
    Ok(rows)
}

/// What making this leaves allocated.
fn kept<T>(make: impl FnOnce() -> T) -> AllocationInfo {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    drop(made);
    info
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn mebibytes(info: &AllocationInfo) -> f64 {
    info.bytes_current as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn count(info: &AllocationInfo) -> f64 {
    info.count_current as f64
}
