//! How much memory the two services hold, as the kernel counts it.

use aegis_tests::stack::{Part, Stack};
use anyhow::{Context, Result};

use super::{Case, Goal};

/// Goals in MiB, in the order of [`Resident::of`].
const LIMITS: [f64; 2] = [60.0, 40.0];
const NAMES: [&str; 2] = ["control plane", "executor"];

/// Memory of one process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// Held now.
    pub(super) now: f64,
    /// The most that was ever held.
    peak: f64,
}

impl Resident {
    /// Of control plane and executor.
    pub(super) fn of(stack: &Stack) -> Result<[Self; 2]> {
        Ok([Self::of_part(stack.control_plane(0))?, Self::of_part(stack.executor(0))?])
    }

    fn of_part(part: &Part) -> Result<Self> {
        let pid = part.process().pid().context("the service has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self { now: mebibytes(&status, "VmRSS:")?, peak: mebibytes(&status, "VmHWM:")? })
    }
}

/// Both services against their limits at one moment, such as "idle".
pub(super) fn cases(when: &str, resident: [Resident; 2]) -> Vec<Case> {
    let case = |what: String, ours, limit| Case::new(what, "MiB", ours, limit, "limit", Goal::Below);
    let mut cases = Vec::new();
    for ((name, limit), resident) in NAMES.into_iter().zip(LIMITS).zip(resident) {
        cases.push(case(format!("memory of {name}, {when}"), resident.now, limit));
        cases.push(case(format!("memory of {name}, {when}, peak"), resident.peak, limit));
    }
    cases
}

/// Whether both services hold about as much as before.
pub(super) fn growth(early: [Resident; 2], early_name: &'static str, late: [Resident; 2]) -> Vec<Case> {
    /// Allocators keep a little more than is used, and never the same twice.
    const PART_MAX: f64 = 1.1;
    let case = |((name, early), late): ((&str, Resident), Resident)| {
        let what = format!("memory of {name}, at the end");
        Case::new(what, "MiB", late.now, early.now, early_name, Goal::PartMax(PART_MAX))
    };
    NAMES.into_iter().zip(early).zip(late).map(case).collect()
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB")).map(str::trim);
    Ok(kibibytes.with_context(|| format!("no {field} in the status of a process"))?.parse::<f64>()? / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_table() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(mebibytes(status, "VmRSS:").unwrap(), 10.0);
        assert_eq!(mebibytes(status, "VmHWM:").unwrap(), 20.0);
        mebibytes(status, "VmSwap:").unwrap_err();
    }
}
