//! How much of the processors each process takes: with many requests at once that is what bounds them on a small
//! machine.

use aegis_tests::process::descendants;
use aegis_tests::stack::Stack;
use anyhow::{Context, Result};

/// Clock ticks a second in `/proc`, the same on every Linux we know.
const TICKS_PER_SECOND: f64 = 100.0;
const NAMES: [&str; 7] =
    ["control plane", "executor", "PostgreSQL", "API server", "etcd", "controller manager", "this benchmark"];

/// Processor time that each process has taken since its start, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken([f64; NAMES.len()]);

impl Taken {
    pub(super) fn read(stack: &Stack) -> Result<Self> {
        let cluster = stack.cluster()?;
        let processes = [
            stack.control_plane(0).process(),
            stack.executor(0).process(),
            stack.server().process(),
            cluster.component("kube-apiserver")?,
            cluster.component("etcd")?,
            cluster.component("kube-controller-manager")?,
        ];
        let mut taken = Self::default();
        for (sum, process) in taken.0.iter_mut().zip(processes) {
            let pid = process.pid().with_context(|| format!("{} has ended", process.name()))?;
            *sum = milliseconds(pid)?;
            // A descendant may end while it is looked at; then its parent has taken its time over.
            *sum += descendants(pid).into_iter().filter_map(|pid| milliseconds(pid).ok()).sum::<f64>();
        }
        taken.0[NAMES.len() - 1] = milliseconds(std::process::id())?;
        Ok(taken)
    }

    pub(super) fn add(&mut self, from: Self, to: Self) {
        for (sum, (from, to)) in self.0.iter_mut().zip(from.0.into_iter().zip(to.0)) {
            *sum += to - from;
        }
    }
}

/// Prints what one of so many took of each process, a column for each arm.
pub(super) fn print<const N: usize>(title: &str, arms: [(&str, Taken, usize); N]) {
    let line = |name: &str, cells: [String; N]| {
        println!("{name:<54}{}", cells.map(|cell| format!(" {cell:>16}")).concat());
    };
    println!();
    line(title, arms.map(|(arm, ..)| format!("{arm}, ms")));
    for (index, name) in NAMES.into_iter().enumerate() {
        line(name, arms.map(|(_, taken, many)| format!("{:.2}", taken.0[index] / many as f64)));
    }
    line("all", arms.map(|(_, taken, many)| format!("{:.2}", taken.0.iter().sum::<f64>() / many as f64)));
}

/// Of one process and of those of its children that have ended.
fn milliseconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may itself hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(4).filter_map(|text| text.parse::<f64>().ok()).sum();
    Ok(ticks * 1_000.0 / TICKS_PER_SECOND)
}
