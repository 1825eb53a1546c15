//! What a set answers to all questions at once.

use std::fmt;

use super::diagram::{NOTHING, OverBudget, Region};
use super::regions::Regions;
use crate::decision::{RuleEffect, RuleName};
use crate::document::{Mode, Policy, Rule};
use crate::obligation::Limit;
use crate::set::PolicySet;

/// One rule that counts, with the questions to which it applies.
pub(super) struct Counting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a Rule,
    pub(super) applies: Region,
    /// The questions to whose answer it belongs.
    pub(super) decides: Region,
}

/// The answers of a set.
pub(super) struct Answers<'a> {
    pub(super) rules: Vec<Counting<'a>>,
    pub(super) allowed: Region,
}

/// The rules that count, each with its policy, sorted by policy and as ordered in it.
pub(super) fn enforced(set: &PolicySet) -> Vec<(&Policy, &Rule)> {
    set.policies()
        .filter(|(_, policy)| policy.mode() == Mode::Enforce)
        .flat_map(|(_, policy)| policy.compiled_rules().iter().map(move |rule| (policy, rule)))
        .collect()
}

impl<'a> Answers<'a> {
    /// What these rules answer together.
    pub(super) fn of(
        enforced: &[(&'a Policy, &'a Rule)],
        regions: &mut Regions<'_>,
    ) -> Result<Self, OverBudget> {
        let mut rules = Vec::new();
        for (policy, rule) in enforced {
            let applies = regions.applying(policy, rule)?;
            rules.push(Counting { policy, rule, applies, decides: NOTHING });
        }
        let of = |is_wanted: fn(&Rule) -> bool| {
            let wanted = rules.iter().filter(|counting: &&Counting<'_>| is_wanted(counting.rule));
            wanted.map(|counting| counting.applies).collect::<Vec<_>>()
        };
        let denied = regions.diagrams.any(&of(|rule| rule.effect == RuleEffect::Deny))?;
        let ordinary = regions
            .diagrams
            .any(&of(|rule| rule.effect == RuleEffect::Allow && rule.break_glass.is_none()))?;
        let emergency = regions.diagrams.any(&of(|rule| rule.break_glass.is_some()))?;
        let allowed = regions.diagrams.either(ordinary, emergency)?;
        let allowed = regions.diagrams.without(allowed, denied)?;
        for counting in &mut rules {
            counting.decides = match counting.rule.effect {
                RuleEffect::Deny => counting.applies,
                RuleEffect::Require => regions.diagrams.both(counting.applies, allowed)?,
                RuleEffect::Allow => {
                    let alone = if counting.rule.break_glass.is_some() {
                        regions.diagrams.without(counting.applies, ordinary)?
                    } else {
                        counting.applies
                    };
                    regions.diagrams.both(alone, allowed)?
                }
            };
        }
        Ok(Self { rules, allowed })
    }

    /// Where an obligation is what the answer demands.
    pub(super) fn demanding(
        &self,
        obligation: &Obligation,
        regions: &mut Regions<'_>,
    ) -> Result<Region, OverBudget> {
        let demanding = self.union(regions, |rule| obligation.is_demanded_by(rule))?;
        // P34: of limits that bound the same thing, only the strictest is left.
        let stricter = self.union(regions, |rule| obligation.is_exceeded_by(rule))?;
        regions.diagrams.without(demanding, stricter)
    }

    /// Where any rule decides for which this is true; a DENY demands nothing.
    fn union(
        &self,
        regions: &mut Regions<'_>,
        is_wanted: impl Fn(&Rule) -> bool,
    ) -> Result<Region, OverBudget> {
        let wanted: Vec<Region> = self
            .rules
            .iter()
            .filter(|counting| is_wanted(counting.rule))
            .map(|counting| counting.decides)
            .collect();
        regions.diagrams.any(&wanted)
    }

    /// Every obligation that some rule demands, each once.
    pub(super) fn obligations(&self) -> Vec<Obligation> {
        let mut all: Vec<Obligation> =
            self.rules.iter().flat_map(|counting| Obligation::all_of(counting.rule)).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Counting<'_> {
    pub(super) fn name(&self) -> RuleName {
        RuleName { policy: self.policy.name().to_owned(), rule: self.rule.id.clone() }
    }
}

/// One thing that an answer may demand. Two answers demand the same if they demand the same of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obligation {
    Limit(Limit),
    /// At least so many people of a role.
    Approvers {
        role: String,
        min: u32,
    },
    /// The approval of a role within that time or less.
    ApprovalWithin {
        role: String,
        seconds: u32,
    },
    DryRunOnly,
    /// A review by a role within that time or less.
    ReviewWithin {
        role: String,
        seconds: u32,
    },
}

impl Obligation {
    /// All that a rule demands.
    pub(super) fn all_of(rule: &Rule) -> Vec<Self> {
        let mut all: Vec<Self> = rule.limits.iter().cloned().map(Self::Limit).collect();
        for group in &rule.approvals {
            let role = || group.role.clone();
            all.push(Self::Approvers { role: role(), min: group.min });
            all.push(Self::ApprovalWithin { role: role(), seconds: group.expires_seconds });
        }
        all.extend(rule.dry_run_only.then_some(Self::DryRunOnly));
        all.extend(rule.break_glass.as_ref().map(|review| Self::ReviewWithin {
            role: review.review_role.clone(),
            seconds: review.review_seconds,
        }));
        all
    }

    /// Whether a rule demands at least this.
    pub(super) fn is_demanded_by(&self, rule: &Rule) -> bool {
        match self {
            Self::Limit(limit) => rule.limits.contains(limit),
            Self::Approvers { role, min } => {
                rule.approvals.iter().any(|group| group.role == *role && group.min >= *min)
            }
            Self::ApprovalWithin { role, seconds } => {
                rule.approvals.iter().any(|group| group.role == *role && group.expires_seconds <= *seconds)
            }
            Self::DryRunOnly => rule.dry_run_only,
            Self::ReviewWithin { role, seconds } => {
                let within =
                    |review: &crate::Review| review.review_role == *role && review.review_seconds <= *seconds;
                rule.break_glass.as_ref().is_some_and(within)
            }
        }
    }

    /// Whether a rule demands a limit that leaves nothing of this one.
    pub(super) fn is_exceeded_by(&self, rule: &Rule) -> bool {
        match self {
            Self::Limit(limit) => rule.limits.iter().any(|other| other.is_stricter_than(limit)),
            _ => false,
        }
    }
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "limit: {limit}"),
            Self::Approvers { role, min } => write!(f, "approval by at least {min} × {role}"),
            Self::ApprovalWithin { role, seconds } => write!(f, "approval by {role} within {seconds} s"),
            Self::DryRunOnly => f.write_str("dry runs only"),
            Self::ReviewWithin { role, seconds } => write!(f, "review by {role} within {seconds} s"),
        }
    }
}
