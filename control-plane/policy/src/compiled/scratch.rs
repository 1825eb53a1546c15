//! The memory of one decision, kept by the caller from one decision to the next.

use super::text::Symbol;
use super::time::Local;
use super::truth::Truth;
use super::value::Reading;

/// What a thread that takes decisions keeps from one to the next: memory only, nothing that could
/// change a decision. It fits every [`CompiledSet`](super::CompiledSet); the first decision with a
/// larger set allocates.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The number of the present decision.
    pub(super) round: u32,
    pub(super) predicates: Memo<Truth>,
    pub(super) nodes: Memo<Truth>,
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Applying {
    pub(super) rule: u32,
    pub(super) truth: Truth,
}

/// Values that are computed at most once per decision, each with the round in which it was.
#[derive(Debug, Default)]
pub(super) struct Memo<T>(Vec<(u32, T)>);

impl Scratch {
    /// Memory that grows with the first decision.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a decision: whatever was computed before is of an earlier round.
    pub(super) fn begin(&mut self) {
        self.roles.clear();
        self.applying.clear();
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // After 2^32 decisions the rounds begin again, and old ones would look like present ones.
            *self = Self { round: 1, ..Self::default() };
        }
    }
}

impl<T: Copy + Default> Memo<T> {
    /// Makes room for `len` values.
    pub(super) fn fit(&mut self, len: usize) {
        if self.0.len() < len {
            self.0.resize(len, (0, T::default()));
        }
    }

    pub(super) fn get(&self, round: u32, place: u32) -> Option<T> {
        let (computed, value) = self.0[place as usize];
        (computed == round).then_some(value)
    }

    pub(super) fn set(&mut self, round: u32, place: u32, value: T) {
        self.0[place as usize] = (round, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_earlier_decision_is_remembered_even_after_all_rounds() {
        let mut scratch = Scratch::new();
        scratch.round = u32::MAX - 1;
        for _ in 0..4 {
            scratch.begin();
            scratch.predicates.fit(1);
            let round = scratch.round;
            assert_eq!(scratch.predicates.get(round, 0), None);
            scratch.predicates.set(round, 0, Truth::TRUE);
            assert_eq!(scratch.predicates.get(round, 0), Some(Truth::TRUE));
        }
    }
}
