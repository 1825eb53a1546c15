//! The compiled evaluator: the same answers as [`evaluate`](crate::evaluate()), found quickly.
//!
//! ```text
//!  rules ─► rows ─► index: shard by a literal text ─► blocks of 64 rows ─► rows that match
//!             │                                            │
//!             └─► predicates: each distinct one once ◄─────┤
//!                                                          ▼
//!           guards: windows and conditions ──────────► rules that apply ─► Answer ─► Decision
//! ```
//!
//! A [`CompiledSet`] is immutable and shared; all that a decision writes is in the caller's
//! [`Scratch`]. No decision is remembered.

mod answer;
mod asked;
mod comparison;
mod condition;
mod decide;
mod filing;
mod index;
mod predicate;
mod rules;
mod scratch;
mod text;
mod time;
mod truth;
mod value;

pub use answer::Answer;
pub use scratch::Scratch;

use condition::Conditions;
use index::Index;
use predicate::Predicates;

use crate::set::PolicySet;

/// A [`PolicySet`] made ready for many decisions.
#[derive(Debug)]
pub struct CompiledSet {
    set: PolicySet,
    /// Place of each rule in the set, sorted by names: P5.
    rules: Box<[rules::Place]>,
    predicates: Predicates,
    conditions: Conditions,
    index: Index,
    bound: Bound,
}

/// The most work that one decision can be, known before the first question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Predicates that are evaluated, each once. The work for one grows with the texts of the
    /// question and of its patterns, and with the number of roles that the principal holds.
    pub predicates: u64,
    /// Look-ups of predicates already evaluated, and rows and conditions looked at.
    pub steps: u64,
}

impl CompiledSet {
    /// What it was compiled from.
    pub fn set(&self) -> &PolicySet {
        &self.set
    }

    /// The most work that one decision can be.
    pub fn bound(&self) -> Bound {
        self.bound
    }
}
