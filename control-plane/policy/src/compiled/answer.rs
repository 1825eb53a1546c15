//! The answer as the fast path gives it.

use super::CompiledSet;
use super::scratch::Applying;
use crate::decision::{Decision, Effect};
use crate::evaluate::{self, conclude};

/// The answer to one question: its effect, and the rules that apply by their numbers. It lies in the
/// [`Scratch`](super::Scratch) of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'s> {
    set: &'s CompiledSet,
    effect: Effect,
    /// In no order, each rule once.
    applying: &'s [Applying],
}

impl<'s> Answer<'s> {
    pub(super) fn new(set: &'s CompiledSet, effect: Effect, applying: &'s [Applying]) -> Self {
        Self { set, effect, applying }
    }

    /// Whether it may be done.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Numbers of all rules that apply, of any effect and mode, in no order. Rules are numbered from
    /// 0 in the order of policies and ids; those of policies in mode `off` have no number.
    pub fn applying(&self) -> impl ExactSizeIterator<Item = u32> {
        self.applying.iter().map(|applying| applying.rule)
    }

    /// The whole answer, as it is stored and served.
    pub fn to_decision(&self) -> Decision {
        let attributes = &self.set.predicates.attributes;
        let applying = self.applying.iter().map(|applying| {
            let (version, policy, rule) = self.set.rule(applying.rule);
            evaluate::Applying {
                policy,
                version,
                rule,
                indeterminate: applying.truth.indeterminate(attributes),
            }
        });
        conclude(applying.collect())
    }
}
