//! What can be known of policies without waiting for questions: rules that do nothing, what a change
//! would change, and who can do what.
//!
//! ```text
//!  rules ──► World      every dimension of a question, by values that no rule can tell from others
//!              │
//!              ▼
//!          Regions ──►  Answers          sets of questions (decision diagrams): where each rule
//!              │           │             applies, where it decides, what is allowed
//!              │           ▼
//!              │      check · diff · who_can · draft_tests
//!              ▼
//!           Witness ──► evaluate         every claim is shown by a question that was really asked
//! ```
//!
//! The language is decidable, so that these answers are exact, within two bounds that are said when
//! they are reached: a budget of steps, and patterns too tangled to tell all their texts apart. Then
//! the answer is "undecided", and never "nothing found". Time is looked at for a year from now, and for
//! a week around every date that a rule names.

mod answers;
mod check;
mod diagram;
mod diff;
mod drafts;
mod instants;
mod regions;
mod text;
mod values;
mod who_can;
mod world;

pub use check::{Checked, Circumstances, Finding, FindingKind, Undecided, check};
pub use diff::{Change, Diff, diff};
pub use drafts::{Draft, draft_tests};
pub use who_can::{Grant, Subject, SubjectVerdict, WhoCan, who_can};
pub use world::Witness;

/// The steps an analysis may take unless told otherwise: some seconds, and some hundred megabytes.
pub const STEPS_DEFAULT: u64 = 20_000_000;
