//! The memory of one decision, kept by the caller from one decision to the next.

use super::text::Symbol;
use super::time::Local;
use super::truth::{Memo, Truth};
use super::value::Reading;

/// What a thread that takes decisions keeps from one to the next: memory only, nothing that could
/// change a decision. It fits every [`CompiledSet`](super::CompiledSet); the first decision with a
/// larger set allocates.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) predicates: Memo<Truth>,
    pub(super) guards: Memo<Truth>,
    pub(super) readings: Memo<Reading>,
    pub(super) locals: Memo<Local>,
    /// Rules that were met.
    pub(super) met: Memo<()>,
    /// Symbols of the roles that the principal holds.
    pub(super) roles: Vec<Symbol>,
    /// For texts that are written only when a condition asks for them.
    pub(super) text: String,
    pub(super) applying: Vec<Applying>,
}

/// A rule that applies, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Applying {
    pub(super) rule: u32,
    pub(super) truth: Truth,
}

impl Scratch {
    /// Memory that grows with the first decision.
    pub fn new() -> Self {
        Self::default()
    }
}
