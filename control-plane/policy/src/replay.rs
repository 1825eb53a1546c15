//! What was decided, looked at again: what another set would have answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aegis_contract::facts::Facts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::compiled::{CompiledSet, Scratch};
use crate::decision::{Decision, Demanded, Effect, Obligations, RuleEffect, RuleName};
use crate::question::Question;
use crate::zone::ZONE_DATA_VERSION;

/// Most samples of one kind of change by one rule.
const SAMPLES_PER_RULE: usize = 3;
/// Most samples of a report.
const SAMPLES_MAX: usize = 200;

/// How the answers of a set differ from what was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Decisions that were looked at.
    pub decisions: u64,
    /// Those that could be taken again exactly; all that follows is about them.
    pub replayable: u64,
    /// Those that this release cannot read.
    pub unreadable: u64,
    /// Those whose windows were read with another release of the zone data, if the set has any windows.
    pub other_zone_data: u64,
    /// Those with the same effect and the same obligations.
    pub unchanged: u64,
    /// All that changed.
    #[serde(flatten)]
    pub changes: Changes,
    /// The same by the rules that make the difference; a decision may count for several.
    pub by_rule: Vec<RuleChanges>,
    /// Some decisions of each kind and rule.
    pub samples: Vec<Sample>,
}

/// How many decisions changed, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Denied by the rules then, allowed by the set.
    pub newly_allowed: u64,
    /// Allowed by the rules then, denied by the set.
    pub newly_denied: u64,
    /// Allowed by both, with other approvals.
    pub changed_approvals: u64,
    /// Allowed by both, under other limits.
    pub changed_limits: u64,
    /// Allowed by both, and otherwise as to dry runs or reviews.
    pub changed_conditions: u64,
}

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// See [`Changes::newly_allowed`].
    NewlyAllowed,
    /// See [`Changes::newly_denied`].
    NewlyDenied,
    /// See [`Changes::changed_approvals`].
    ChangedApprovals,
    /// See [`Changes::changed_limits`].
    ChangedLimits,
    /// See [`Changes::changed_conditions`].
    ChangedConditions,
}

/// The changes that one rule makes, or made as long as it was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleChanges {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleName,
    /// How many decisions it changes.
    #[serde(flatten)]
    pub changes: Changes,
}

/// One decision that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// What changed.
    pub kind: ChangeKind,
    /// The rule that makes the difference.
    pub rule: RuleName,
    /// Id of the decision.
    pub decision_id: String,
    /// When it was taken.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub decided_at: Timestamp,
    /// What was asked.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub question: Question,
    /// What the rules answered.
    pub before: Effect,
    /// What the set answers.
    pub after: Decision,
}

/// The parts of a stored decision that are needed to take it again.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    decided_at: Timestamp,
    request: Question,
    facts: Option<Facts>,
    #[serde(borrow)]
    rules: Vec<Used<'a>>,
    #[serde(default)]
    obligations: Obligations,
    #[serde(borrow)]
    zone_data_version: Cow<'a, str>,
}

/// A rule as a stored decision names it.
#[derive(Deserialize)]
pub(crate) struct Used<'a> {
    #[serde(borrow)]
    policy: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    effect: RuleEffect,
}

impl Used<'_> {
    pub(crate) fn name(&self) -> RuleName {
        RuleName { policy: self.policy.clone().into_owned(), rule: self.rule.clone().into_owned() }
    }
}

/// Takes stored decisions again by one set.
#[derive(Debug)]
pub struct Replay<'a> {
    set: &'a CompiledSet,
    has_windows: bool,
    scratch: Scratch,
    report: ReplayReport,
    by_rule: BTreeMap<RuleName, Changes>,
    sampled: BTreeMap<(ChangeKind, RuleName), usize>,
}

impl<'a> Replay<'a> {
    /// Nothing looked at yet.
    pub fn new(set: &'a CompiledSet) -> Self {
        let mut rules = set.set().policies().flat_map(|(_, policy)| policy.compiled_rules());
        Self {
            set,
            has_windows: rules.any(|rule| rule.time.is_some()),
            scratch: Scratch::new(),
            report: ReplayReport::default(),
            by_rule: BTreeMap::new(),
            sampled: BTreeMap::new(),
        }
    }

    /// Takes one decision again, given as it was stored: by its question, its facts and its time. What
    /// limits had room for is not asked again: a decision counts as its rules answered.
    pub fn look_at(&mut self, body: &[u8]) {
        self.report.decisions += 1;
        let Ok(recorded) = serde_json::from_slice::<Recorded<'_>>(body) else {
            self.report.unreadable += 1;
            return;
        };
        if self.has_windows && recorded.zone_data_version != ZONE_DATA_VERSION {
            self.report.other_zone_data += 1;
            return;
        }
        self.report.replayable += 1;
        let facts = recorded.facts.as_ref();
        let answer = self.set.decide(&recorded.request, facts, recorded.decided_at, &mut self.scratch);
        let was_allowed = recorded.rules.iter().any(|rule| rule.effect == RuleEffect::Allow);
        match (was_allowed, answer.effect()) {
            (false, Effect::Deny) => self.report.unchanged += 1,
            (false, Effect::Allow) => {
                let after = answer.to_decision();
                self.count(&recorded, &after, &[(ChangeKind::NewlyAllowed, allowing(&recorded, &after))]);
            }
            (true, Effect::Deny) => {
                let after = answer.to_decision();
                self.count(&recorded, &after, &[(ChangeKind::NewlyDenied, denying(&recorded, &after))]);
            }
            (true, Effect::Allow) => {
                let after = answer.to_decision();
                if recorded.obligations.demand_the_same_as(&after.obligations) {
                    self.report.unchanged += 1;
                } else {
                    let changed = changed_obligations(&recorded.obligations, &after.obligations);
                    self.count(&recorded, &after, &changed);
                }
            }
        }
    }

    fn count(&mut self, recorded: &Recorded<'_>, after: &Decision, changed: &[(ChangeKind, Vec<RuleName>)]) {
        for (kind, rules) in changed {
            self.report.changes.count(*kind);
            for rule in rules {
                self.by_rule.entry(rule.clone()).or_default().count(*kind);
                let sampled = self.sampled.entry((*kind, rule.clone())).or_default();
                if *sampled < SAMPLES_PER_RULE && self.report.samples.len() < SAMPLES_MAX {
                    *sampled += 1;
                    self.report.samples.push(Sample::of(*kind, rule, recorded, after));
                }
            }
        }
    }

    /// What came of it.
    pub fn finish(self) -> ReplayReport {
        let by_rule = self.by_rule.into_iter().map(|(rule, changes)| RuleChanges { rule, changes });
        ReplayReport { by_rule: by_rule.collect(), ..self.report }
    }
}

/// The ALLOWs that are new to the decision, or else the DENYs that are gone.
fn allowing(recorded: &Recorded<'_>, after: &Decision) -> Vec<RuleName> {
    let denied: Vec<RuleName> =
        recorded.rules.iter().filter(|rule| rule.effect == RuleEffect::Deny).map(Used::name).collect();
    if denied.is_empty() { deciding(after, RuleEffect::Allow) } else { denied }
}

/// The DENYs that are new to the decision, or else the ALLOWs that are gone.
fn denying(recorded: &Recorded<'_>, after: &Decision) -> Vec<RuleName> {
    let denying = deciding(after, RuleEffect::Deny);
    if denying.is_empty() {
        recorded.rules.iter().filter(|rule| rule.effect == RuleEffect::Allow).map(Used::name).collect()
    } else {
        denying
    }
}

fn deciding(decision: &Decision, effect: RuleEffect) -> Vec<RuleName> {
    let deciding = decision.rules.iter().filter(|rule| rule.effect == effect);
    deciding.map(|rule| RuleName { policy: rule.policy.clone(), rule: rule.rule.clone() }).collect()
}

/// The kinds of obligations that differ, each with the rules that demand them on one side only.
fn changed_obligations(before: &Obligations, after: &Obligations) -> Vec<(ChangeKind, Vec<RuleName>)> {
    let limits = differing(&before.limits, &after.limits);
    let approvals = differing(&before.approvals, &after.approvals);
    let mut conditions = differing(&before.break_glass, &after.break_glass);
    let mut changed = Vec::new();
    for (kind, rules) in [(ChangeKind::ChangedLimits, limits), (ChangeKind::ChangedApprovals, approvals)] {
        changed.extend(rules.map(|rules| (kind, rules)));
    }
    if before.dry_run_only != after.dry_run_only {
        conditions.get_or_insert_default();
    }
    changed.extend(conditions.map(|rules| (ChangeKind::ChangedConditions, rules)));
    changed
}

/// The rules behind what only one side demands; nothing when both demand the same.
fn differing<T: PartialEq>(before: &[Demanded<T>], after: &[Demanded<T>]) -> Option<Vec<RuleName>> {
    let only = |of: &[Demanded<T>], other: &[Demanded<T>]| {
        let only = of.iter().filter(|demanded| !other.iter().any(|same| same.what == demanded.what));
        only.flat_map(|demanded| demanded.rules.clone()).collect::<Vec<_>>()
    };
    let mut rules = only(before, after);
    rules.extend(only(after, before));
    rules.sort();
    rules.dedup();
    (!rules.is_empty()).then_some(rules)
}

impl Sample {
    fn of(kind: ChangeKind, rule: &RuleName, recorded: &Recorded<'_>, after: &Decision) -> Self {
        let was_allowed = recorded.rules.iter().any(|rule| rule.effect == RuleEffect::Allow);
        Self {
            kind,
            rule: rule.clone(),
            decision_id: recorded.id.clone().into_owned(),
            decided_at: recorded.decided_at,
            question: recorded.request.clone(),
            before: if was_allowed { Effect::Allow } else { Effect::Deny },
            after: after.clone(),
        }
    }
}

impl Changes {
    fn count(&mut self, kind: ChangeKind) {
        *match kind {
            ChangeKind::NewlyAllowed => &mut self.newly_allowed,
            ChangeKind::NewlyDenied => &mut self.newly_denied,
            ChangeKind::ChangedApprovals => &mut self.changed_approvals,
            ChangeKind::ChangedLimits => &mut self.changed_limits,
            ChangeKind::ChangedConditions => &mut self.changed_conditions,
        } += 1;
    }

    fn add(&mut self, other: &Self) {
        self.newly_allowed += other.newly_allowed;
        self.newly_denied += other.newly_denied;
        self.changed_approvals += other.changed_approvals;
        self.changed_limits += other.changed_limits;
        self.changed_conditions += other.changed_conditions;
    }
}

impl ReplayReport {
    /// The report about the decisions of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.decisions += other.decisions;
        self.replayable += other.replayable;
        self.unreadable += other.unreadable;
        self.other_zone_data += other.other_zone_data;
        self.unchanged += other.unchanged;
        self.changes.add(&other.changes);
        let mut by_rule: BTreeMap<RuleName, Changes> = BTreeMap::new();
        for RuleChanges { rule, changes } in self.by_rule.into_iter().chain(other.by_rule) {
            by_rule.entry(rule).or_default().add(&changes);
        }
        self.by_rule = by_rule.into_iter().map(|(rule, changes)| RuleChanges { rule, changes }).collect();
        let mut samples = self.samples;
        samples.extend(other.samples);
        samples.sort_by(|left, right| {
            (left.kind, &left.rule, left.decided_at).cmp(&(right.kind, &right.rule, right.decided_at))
        });
        let mut taken: BTreeMap<(ChangeKind, RuleName), usize> = BTreeMap::new();
        samples.retain(|sample| {
            let taken = taken.entry((sample.kind, sample.rule.clone())).or_default();
            *taken += 1;
            *taken <= SAMPLES_PER_RULE
        });
        samples.truncate(SAMPLES_MAX);
        self.samples = samples;
        self
    }
}
