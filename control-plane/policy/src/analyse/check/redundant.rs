//! Rules without which every answer would be the same.

use super::super::answers::{Answers, Counting, Obligation};
use super::super::diagram::{NOTHING, OverBudget, Region};
use super::super::regions::Regions;
use super::{Checker, Claim, FindingKind, join, overlapping};
use crate::decision::{RuleEffect, RuleName};
use crate::document::Rule;
use crate::evaluate::evaluate;

/// Rules that can stand in for each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Allow,
    Emergency,
    Deny,
    Require,
}

impl Role {
    fn of(rule: &Rule) -> Self {
        match rule.effect {
            RuleEffect::Allow if rule.break_glass.is_some() => Self::Emergency,
            RuleEffect::Allow => Self::Allow,
            RuleEffect::Deny => Self::Deny,
            RuleEffect::Require => Self::Require,
        }
    }
}

impl Checker<'_> {
    /// Finds rules that others make up for. Of two that make up for each other, the later one is named,
    /// so that leaving out all that are named changes nothing either.
    pub(super) fn check_redundant(
        &mut self,
        answers: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let mut left_out: Vec<RuleName> = Vec::new();
        for role in [Role::Allow, Role::Emergency, Role::Deny, Role::Require] {
            let rules: Vec<&Counting<'_>> =
                answers.rules.iter().filter(|counting| Role::of(counting.rule) == role).collect();
            // Where any of the first rules applies, for each number of them.
            let mut before = vec![NOTHING];
            for counting in &rules {
                let last = before.last().copied().unwrap_or(NOTHING);
                before.push(regions.diagrams.either(last, counting.applies)?);
            }
            let mut after = NOTHING;
            for (index, counting) in rules.iter().enumerate().rev() {
                let others = regions.diagrams.either(before[index], after)?;
                let name = counting.name();
                if self.is_redundant(counting, role, others, &left_out, answers, regions)? {
                    self.report_redundant(counting, role, &left_out, answers, regions)?;
                    left_out.push(name);
                } else {
                    after = regions.diagrams.either(after, counting.applies)?;
                }
            }
        }
        Ok(())
    }

    fn is_redundant(
        &self,
        counting: &Counting<'_>,
        role: Role,
        others: Region,
        left_out: &[RuleName],
        answers: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<bool, OverBudget> {
        // Rules that never apply or never let anything through are told so in other words.
        let lets_through = regions.diagrams.both(counting.applies, answers.allowed)?;
        let is_allow = matches!(role, Role::Allow | Role::Emergency);
        if counting.applies == NOTHING || (is_allow && lets_through == NOTHING) {
            return Ok(false);
        }
        if role != Role::Require && regions.diagrams.without(counting.decides, others)? != NOTHING {
            return Ok(false);
        }
        let name = counting.name();
        for obligation in Obligation::all_of(counting.rule) {
            let demanding: Vec<Region> = answers
                .rules
                .iter()
                .filter(|other| {
                    obligation.is_demanded_by(other.rule) || obligation.is_exceeded_by(other.rule)
                })
                .filter(|other| other.name() != name && !left_out.contains(&other.name()))
                .map(|other| other.decides)
                .collect();
            let demanded = regions.diagrams.any(&demanding)?;
            if regions.diagrams.without(counting.decides, demanded)? != NOTHING {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn report_redundant(
        &mut self,
        counting: &Counting<'_>,
        role: Role,
        left_out: &[RuleName],
        answers: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let name = counting.name();
        let mut related = overlapping(answers, counting.decides, regions, |rule| Role::of(rule) == role)?;
        related.retain(|other| *other != name && !left_out.contains(other));
        let message = match (role, counting.decides == NOTHING) {
            (Role::Require, true) => "no ALLOW overlaps it, so that it requires nothing".to_owned(),
            (Role::Emergency, true) => {
                "without an emergency, other rules allow all that is not denied".to_owned()
            }
            _ if related.is_empty() => "what it demands is demanded by the ALLOWs themselves".to_owned(),
            _ => format!("without it every answer would be the same, because of {}", join(&related)),
        };
        let region = if counting.decides == NOTHING { counting.applies } else { counting.decides };
        let others = self.set.without(&name);
        let claim = Claim { kind: FindingKind::Redundant, name: &name, message, related, region };
        let mut asked = None;
        if let Some(witness) = regions.witness(region)? {
            asked = Some(evaluate(&others, &witness.question, witness.facts.as_ref(), witness.at));
        }
        self.claim(claim, regions, |trace, decision| {
            trace.applies
                && asked.is_some_and(|other| {
                    other.effect == decision.effect
                        && other.obligations.demand_the_same_as(&decision.obligations)
                })
        })
    }
}
