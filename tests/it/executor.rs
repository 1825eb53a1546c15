//! The executor as the real binary, against a real cluster and ledger, ordered about by the test.

mod actions;
mod allowlist;
pub(crate) mod bench;
mod bounds;
mod canary;
mod crashes;
mod evictions;
mod evidence;
mod kubectl;
pub(crate) mod log;
mod outages;
mod plans;
mod refusals;
mod resolving;
mod restores;
mod soak;
mod steps;
mod turns;
mod verdicts;
mod workloads;
