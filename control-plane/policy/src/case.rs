//! The tests of a document: questions, and the answers they must get.

use aegis_contract::facts::Facts;
use jiff::Timestamp;

use crate::decision::{Effect, RuleName};
use crate::obligation::{Approval, Limit};
use crate::question::Question;

/// P39: one test of a document.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the document.
    pub name: String,
    /// The time of the decision.
    pub at: Timestamp,
    /// What is asked.
    pub question: Question,
    /// What the executor saw of the target.
    pub facts: Option<Facts>,
    /// The answer.
    pub expect: Expect,
}

/// What an answer must be; what is not said may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The effect.
    pub effect: Effect,
    /// Exactly the deciding rules, sorted.
    pub rules: Option<Vec<RuleName>>,
    /// Exactly the limits, sorted.
    pub limits: Option<Vec<Limit>>,
    /// Exactly the groups of approvers, sorted.
    pub approvals: Option<Vec<Approval>>,
    /// Whether only a dry run is allowed.
    pub dry_run_only: Option<bool>,
    /// Whether a review is asked for afterwards.
    pub break_glass: Option<bool>,
}
