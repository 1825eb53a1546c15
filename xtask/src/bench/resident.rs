//! How much memory the two services hold, as the kernel counts it.

use aegis_tests::process::Resident;
use aegis_tests::stack::Stack;
use anyhow::Result;

use super::{Case, Goal};

/// Goals in MiB, in the order of [`of`].
const LIMITS: [f64; 2] = [60.0, 40.0];
const NAMES: [&str; 2] = ["control plane", "executor"];

/// Of control plane and executor.
pub(super) fn of(stack: &Stack) -> Result<[Resident; 2]> {
    Ok([stack.control_plane(0).process().resident()?, stack.executor(0).process().resident()?])
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
