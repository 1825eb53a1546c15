//! What changes when one set takes the place of another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answers::{Answers, Obligation, enforced};
use super::check::{TOO_LARGE, Undecided, tangled};
use super::diagram::{NOTHING, OverBudget, Region};
use super::regions::Regions;
use super::world::{Named, Witness, World};
use crate::decision::{Decision, Effect, RuleEffect, RuleName};
use crate::evaluate::evaluate;
use crate::set::PolicySet;

/// Most changes of one kind that are told.
const CHANGES_MAX: usize = 100;

/// How the answers of two sets differ. All lists are empty if, and only if, both give every question
/// the same effect and the same obligations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// What was denied and becomes allowed.
    pub gained: Vec<Change>,
    /// What was allowed and becomes denied.
    pub lost: Vec<Change>,
    /// What stays allowed, under other obligations.
    pub changed: Vec<Change>,
    /// What could not be decided; there may be more changes of that kind.
    pub undecided: Vec<Undecided>,
}

/// One change, with a question that shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The rules that make the difference: ALLOWs of the one set, DENYs of the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleName>,
    /// The obligation that is demanded on one side only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obligation: Option<String>,
    /// A question that shows it.
    pub witness: Witness,
    /// The answer of the first set.
    pub before: Decision,
    /// The answer of the second.
    pub after: Decision,
}

/// Finds what the second set answers otherwise than the first, from `now` on.
pub fn diff(before: &PolicySet, after: &PolicySet, now: Timestamp, steps: u64) -> Diff {
    let (old, new) = (enforced(before), enforced(after));
    let world = World::new(&[&old[..], &new].concat(), &Named::default(), now);
    let mut regions = Regions::new(&world, steps);
    let mut differ = Differ { before, after, diff: Diff::default() };
    if let Some(why) = tangled(&world) {
        differ.undecided(&why);
    }
    match (Answers::of(&old, &mut regions), Answers::of(&new, &mut regions)) {
        (Ok(old), Ok(new)) => {
            if differ.compare(&old, &new, &mut regions) == Err(OverBudget) {
                differ.undecided(TOO_LARGE);
            }
        }
        _ => differ.undecided(TOO_LARGE),
    }
    differ.diff
}

struct Differ<'a> {
    before: &'a PolicySet,
    after: &'a PolicySet,
    diff: Diff,
}

/// A list of [`Diff`].
type List = fn(&mut Diff) -> &mut Vec<Change>;

impl Differ<'_> {
    fn undecided(&mut self, reason: &str) {
        self.diff.undecided.push(Undecided { rule: None, reason: reason.to_owned() });
    }

    fn compare(
        &mut self,
        old: &Answers<'_>,
        new: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let gained = regions.diagrams.without(new.allowed, old.allowed)?;
        self.tell_by_rule(|diff| &mut diff.gained, gained, new, old, regions)?;
        let lost = regions.diagrams.without(old.allowed, new.allowed)?;
        self.tell_by_rule(|diff| &mut diff.lost, lost, old, new, regions)?;
        let kept = regions.diagrams.both(old.allowed, new.allowed)?;
        let mut obligations = old.obligations();
        obligations.extend(new.obligations());
        obligations.sort();
        obligations.dedup();
        for obligation in obligations {
            self.tell_obligation(&obligation, kept, old, new, regions)?;
        }
        Ok(())
    }

    /// Tells what is allowed by one set and denied by the other: for each rule that allows it there, and
    /// for each that denies it here.
    fn tell_by_rule(
        &mut self,
        list: List,
        region: Region,
        allowing: &Answers<'_>,
        denying: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        if region == NOTHING {
            return Ok(());
        }
        let allows = allowing.rules.iter().filter(|counting| counting.rule.effect == RuleEffect::Allow);
        let denies = denying.rules.iter().filter(|counting| counting.rule.effect == RuleEffect::Deny);
        for counting in allows.chain(denies) {
            let of_rule = regions.diagrams.both(region, counting.decides)?;
            if of_rule == NOTHING {
                continue;
            }
            if list(&mut self.diff).len() == CHANGES_MAX {
                self.undecided(&format!(
                    "there are more changes than the {CHANGES_MAX} of each kind that are told"
                ));
                return Ok(());
            }
            self.tell(list, Some(counting.name()), None, of_rule, regions, |before, after| {
                before.effect != after.effect
            })?;
        }
        Ok(())
    }

    fn tell_obligation(
        &mut self,
        obligation: &Obligation,
        kept: Region,
        old: &Answers<'_>,
        new: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let (old, new) = (old.demanding(obligation, regions)?, new.demanding(obligation, regions)?);
        for (word, more, less) in [("new", new, old), ("no longer", old, new)] {
            let differing = regions.diagrams.without(more, less)?;
            let differing = regions.diagrams.both(differing, kept)?;
            if differing == NOTHING || self.diff.changed.len() == CHANGES_MAX {
                continue;
            }
            let said = format!("{word}: {obligation}");
            self.tell(
                |diff| &mut diff.changed,
                None,
                Some(said),
                differing,
                regions,
                |before, after| {
                    (before.effect, after.effect) == (Effect::Allow, Effect::Allow)
                        && !before.obligations.demand_the_same_as(&after.obligations)
                },
            )?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        list: List,
        rule: Option<RuleName>,
        obligation: Option<String>,
        region: Region,
        regions: &mut Regions<'_>,
        shows: impl FnOnce(&Decision, &Decision) -> bool,
    ) -> Result<(), OverBudget> {
        let shown = regions.witness(region)?.and_then(|witness| {
            let decide = |set| evaluate(set, &witness.question, witness.facts.as_ref(), witness.at);
            let (before, after) = (decide(self.before), decide(self.after));
            shows(&before, &after).then_some((witness, before, after))
        });
        let Some((witness, before, after)) = shown else {
            self.undecided("no question was found that shows a change");
            return Ok(());
        };
        let list = list(&mut self.diff);
        // One question often shows what several rules do.
        match list.iter_mut().find(|change| change.witness == witness && change.obligation == obligation) {
            Some(change) => change.rules.extend(rule),
            None => {
                list.push(Change { rules: rule.into_iter().collect(), obligation, witness, before, after });
            }
        }
        Ok(())
    }
}
