//! Every workload on every engine that can bear it.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::engines::aegis::Aegis;
use crate::engines::casbin::Casbin;
use crate::engines::rego::Rego;
use crate::engines::{Contender, Engine, agree, cedar};
use crate::measure::{Times, times};
use crate::row::Row;
use crate::workloads::{
    all_apply, distinct_prefixes, heal, heal_without_metadata, metadata_heavy, missing_attributes,
    namespaces, rbac, time_windows,
};
use crate::world::Workload;

/// Largest set that is written as one Rego rule per rule: regorus' virtual machine takes programs of 65,535
/// instructions, some 2,600 rules.
const REGO_RULES_MAX: usize = 1_000;
/// Largest set put to casbin: it looks at every row, and each look takes microseconds.
const CASBIN_RULES_MAX: usize = 10_000;

/// About how long an engine may take to answer the requests of a group before it is timed. The slow ones
/// answer, and are timed with, the first requests of each group only.
const AGREEING: Duration = Duration::from_millis(500);
/// Requests of each group that every engine answers, however slow.
const REQUESTS_MIN: usize = 8;

/// How long to measure, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Each group of requests on each engine.
    pub budget: Duration,
    /// Largest set of rules.
    pub rules_max: usize,
}

impl Effort {
    /// Enough for figures.
    pub const FULL: Self = Self { budget: Duration::from_millis(400), rules_max: 100_000 };
    /// Enough to see that it works.
    pub const QUICK: Self = Self { budget: Duration::from_millis(50), rules_max: 1_000 };
}

/// Times of one engine on one group of requests.
struct Measured {
    name: &'static str,
    times: Times,
}

/// All workloads: what is printed, and what is held to goals.
pub fn run(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    run_workload(&rbac(), &[Casbin::roles], effort, &mut rows)?;
    for size in [10, 100, 1_000, 10_000, 100_000] {
        if size <= effort.rules_max {
            run_workload(&heal(size), &[], effort, &mut rows)?;
        }
    }
    for size in [10, 100, 1_000, CASBIN_RULES_MAX] {
        if size <= effort.rules_max {
            run_workload(&heal_without_metadata(size), &[Casbin::new], effort, &mut rows)?;
        }
    }
    for workload in [metadata_heavy(), time_windows()] {
        run_workload(&workload, &[], effort, &mut rows)?;
    }
    let adversarial = effort.rules_max.min(10_000);
    for workload in [
        all_apply(adversarial),
        distinct_prefixes(adversarial),
        missing_attributes(adversarial),
        namespaces(effort.rules_max),
    ] {
        run_workload(&workload, &[], effort, &mut rows)?;
    }
    Ok(rows)
}

type NewCasbin = fn(&Workload) -> Result<Casbin>;

fn run_workload(
    workload: &Workload,
    casbin: &[NewCasbin],
    effort: Effort,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let mut ours = Aegis::new(workload)?;
    let applying = ours.applying(0);
    let mut engines = vec![Contender { engine: Box::new(ours), requests_max: usize::MAX }];
    let mut others: Vec<Box<dyn Engine>> = vec![
        Box::new(cedar::Plain::new(workload)?),
        Box::new(cedar::Sliced::new(workload)?),
        Box::new(Rego::data(workload)?),
    ];
    if workload.rules.len() <= REGO_RULES_MAX {
        others.push(Box::new(Rego::rules(workload)?));
    }
    for new in casbin {
        others.push(Box::new(new(workload)?));
    }
    for mut engine in others {
        let start = Instant::now();
        engine.allows(0);
        let each = start.elapsed().max(Duration::from_nanos(100));
        let share = AGREEING.as_nanos() / each.as_nanos();
        let requests_max = usize::try_from(share).unwrap_or(usize::MAX).max(REQUESTS_MIN);
        engines.push(Contender { engine, requests_max });
    }
    agree(workload, &mut engines)?;
    let mut start = 0;
    for (group, len) in &workload.groups {
        let case =
            if group.is_empty() { workload.name.clone() } else { format!("{}, {group}", workload.name) };
        let mut measured = Vec::new();
        for Contender { engine, requests_max } in &mut engines {
            let requests = start..start + (*len).min(*requests_max);
            let times = times(&mut **engine, requests.clone(), effort.budget);
            println!(
                "{case:<42} {:<14} p50 {:>12.0} ns  p99 {:>12.0} ns  mean {:>12.0} ns  {:>4} requests, {} decisions",
                engine.name(),
                times.p50,
                times.p99,
                times.mean,
                requests.len(),
                times.samples
            );
            measured.push(Measured { name: engine.name(), times });
        }
        judge(&case, workload, applying, &measured, rows);
        start += len;
    }
    Ok(())
}

fn judge(case: &str, workload: &Workload, applying: usize, measured: &[Measured], rows: &mut Vec<Row>) {
    let ours = measured[0].times;
    if case.starts_with("heal, 10000 rules") {
        rows.push(Row::limit(format!("{case}: p50"), "ns", ours.p50, 100.0));
        rows.push(Row::limit(format!("{case}: p99"), "ns", ours.p99, 250.0));
    }
    if case.starts_with("all apply") {
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let each = ours.p50 / applying as f64;
        rows.push(Row::limit(format!("{case}: p50 for each rule that applies"), "ns", each, 5.0));
    }
    for (family, goal) in [("cedar", 10.0), ("regorus", 10.0), ("casbin", 100.0)] {
        let of_family = measured.iter().filter(|other| other.name.starts_with(family));
        let Some(better) = of_family.min_by(|left, right| left.times.p50.total_cmp(&right.times.p50)) else {
            continue;
        };
        let other = (better.name, better.times.p50);
        let row = match family == "casbin" && workload.rules.len() < 700 {
            true => Row::beside(format!("{case}: p50"), "ns", ours.p50, other),
            false => Row::against(format!("{case}: p50"), "ns", ours.p50, other, goal),
        };
        rows.push(row);
    }
}
