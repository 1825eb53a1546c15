//! Judges what a write has caused, from what was observed of the workload and its pods: good, bad, or not
//! known. Pure: the observations and the time are passed in, nothing is asked and nothing waits.
//!
//! ```text
//!  pods ──► signs (tables) ──► history (since when) ──► verdict: good | bad | unknown
//!  workload ──► rollout, readiness, refused pods ──┘
//! ```
//! What is away, stale or still under way is unknown. Unknown is never taken for bad, and only what was
//! seen after the write, on pods that the write has made, counts against it.

mod history;
mod signs;
#[cfg(test)]
mod tests;

use aegis_contract::code::OutcomeCode;

pub(crate) use self::history::{History, NewPods, Written};

/// What is known of a write's effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The workload is as wanted.
    Good(String),
    /// It is not, and will not become so by itself.
    Bad(Bad),
    /// Under way, or out of sight.
    Unknown(String),
}

/// Why a write has turned out bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The stable reason.
    pub(crate) code: OutcomeCode,
    /// For people.
    pub(crate) message: String,
}

impl Bad {
    fn new(code: OutcomeCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
