//! Rules that do nothing, or not what they seem to.

mod redundant;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answers::{Answers, Counting, enforced};
use super::diagram::{NOTHING, OverBudget, Region};
use super::regions::Regions;
use super::world::{Dimension, Named, Witness, World};
use crate::decision::{Decision, Effect, RuleEffect, RuleName};
use crate::document::{Mode, Policy, Rule};
use crate::evaluate::evaluate;
use crate::set::PolicySet;
use crate::trace::{RuleTrace, trace};

/// What is known about the place where the policies hold. What is not known is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Who holds each role, as principals.
    pub holders: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The namespaces that the executor of each cluster allows.
    pub allowlists: Option<BTreeMap<String, BTreeSet<String>>>,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Everything that was found, by policy and rule as they are ordered in the set.
    pub findings: Vec<Finding>,
    /// Everything that could not be decided; nothing is known about it.
    pub undecided: Vec<Undecided>,
}

/// One rule that does not do what it seems to, with a question that shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// Name of the policy.
    pub policy: String,
    /// Id of the rule in it.
    pub rule: String,
    /// One sentence for people.
    pub message: String,
    /// Other rules that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RuleName>,
    /// A question that shows it.
    pub witness: Witness,
    /// What the set answers to that question.
    pub decision: Decision,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// It asks for approvals that nobody can give.
    ApprovalImpossible,
    /// It has expired, or its policy has.
    Expired,
    /// It grants namespaces that no executor allows.
    NamespaceUnserved,
    /// Its time never opens.
    NeverOpens,
    /// Without it, every answer would be the same.
    Redundant,
    /// Everything it allows is denied.
    Shadowed,
    /// No question makes it apply.
    Unreachable,
}

impl FindingKind {
    /// The spelling of findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalImpossible => "approval-impossible",
            Self::Expired => "expired",
            Self::NamespaceUnserved => "namespace-unserved",
            Self::NeverOpens => "never-opens",
            Self::Redundant => "redundant",
            Self::Shadowed => "shadowed",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something of which nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Undecided {
    /// The rule; absent where it is about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// What was not decided, and why.
    pub reason: String,
}

pub(super) const TOO_LARGE: &str = "the rules are too many or too different for the budget of this analysis";

/// What is said where not every value of some dimension is represented.
pub(super) fn tangled(world: &World) -> Option<String> {
    let of = world.incomplete();
    let said =
        || format!("patterns and comparisons of {} are too tangled to tell all values apart", of.join(", "));
    (!of.is_empty()).then(said)
}

/// Looks at every rule of the set that is not in a policy of mode `off`, as it is from `now` on. Rules
/// of other modes than `enforce` decide nothing, and are only held against themselves.
pub fn check(set: &PolicySet, circumstances: &Circumstances, now: Timestamp, steps: u64) -> Checked {
    let rules: Vec<(&Policy, &Rule)> = set
        .policies()
        .filter(|(_, policy)| policy.mode() != Mode::Off)
        .flat_map(|(_, policy)| policy.compiled_rules().iter().map(move |rule| (policy, rule)))
        .collect();
    let world = World::new(&rules, &circumstances.named(), now);
    let mut regions = Regions::new(&world, steps);
    let mut checker =
        Checker { set, now, circumstances, checked: Checked::default(), tangled: tangled(&world) };
    for (policy, rule) in &rules {
        let name = RuleName { policy: policy.name().to_owned(), rule: rule.id.clone() };
        if checker.check_alone(policy, rule, &name, &mut regions) == Err(OverBudget) {
            checker.undecided(Some(name), TOO_LARGE);
        }
    }
    match Answers::of(&enforced(set), &mut regions) {
        Ok(answers) => checker.check_together(&answers, &mut regions),
        Err(OverBudget) => checker.undecided(None, TOO_LARGE),
    }
    let order = |policy: &str, rule: &str| {
        rules.iter().position(|(of, other)| of.name() == policy && other.id == rule)
    };
    checker
        .checked
        .findings
        .sort_by_cached_key(|finding| (order(&finding.policy, &finding.rule), finding.kind));
    checker.checked
}

impl Circumstances {
    /// What questions may name that no rule does.
    fn named(&self) -> Named {
        let mut named = Named::default();
        for (role, holders) in self.holders.iter().flatten() {
            named.roles.push(role.clone());
            // Only people who are alone in a role are asked about by name.
            if holders.len() <= HOLDERS_MAX {
                named.texts.extend(holders.iter().map(|holder| (Dimension::Principal, holder.clone())));
            }
        }
        for (cluster, namespaces) in self.allowlists.iter().flatten() {
            named.texts.push((Dimension::Cluster, cluster.clone()));
            named.texts.extend(namespaces.iter().map(|namespace| (Dimension::Namespace, namespace.clone())));
        }
        named
    }
}

/// Most holders of a role who are looked at one by one, as requesters who may not approve themselves.
const HOLDERS_MAX: usize = 20;

struct Checker<'a> {
    set: &'a PolicySet,
    now: Timestamp,
    circumstances: &'a Circumstances,
    checked: Checked,
    /// Why what is said of all questions may not hold; then only single questions prove anything.
    tangled: Option<String>,
}

/// What is claimed about a rule.
struct Claim<'a> {
    kind: FindingKind,
    name: &'a RuleName,
    message: String,
    related: Vec<RuleName>,
    /// Questions that show it.
    region: Region,
}

impl Checker<'_> {
    fn undecided(&mut self, rule: Option<RuleName>, reason: impl Into<String>) {
        self.checked.undecided.push(Undecided { rule, reason: reason.into() });
    }

    /// What can be said of a rule without the others.
    fn check_alone(
        &mut self,
        policy: &Policy,
        rule: &Rule,
        name: &RuleName,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let (matching, condition) = (regions.matching(&rule.matching)?, regions.condition(rule)?);
        let but_for_time = regions.diagrams.both(matching, condition)?;
        let plausible = regions.plausible()?;
        let reachable = regions.diagrams.both(but_for_time, plausible)?;
        let present = regions.values(&Dimension::Time, |at| *at == serde_json::json!(self.now))?;
        let claim =
            |kind, message: String, region| Claim { kind, name, message, related: Vec::new(), region };
        if reachable == NOTHING {
            let covered = regions.diagrams.both(matching, plausible)?;
            if covered == NOTHING {
                let message = "it matches no request that can be made".to_owned();
                let claim = claim(FindingKind::Unreachable, message, matching);
                return self.claim(claim, regions, |trace, _| trace.mismatches.is_empty());
            }
            let message = "its condition never says what makes it apply".to_owned();
            let claim = claim(FindingKind::Unreachable, message, covered);
            return self.claim(claim, regions, |trace, _| trace.mismatches.is_empty() && !trace.applies);
        }
        let until = [policy.validity().until, rule.validity.until].into_iter().flatten().min();
        if let Some(until) = until.filter(|until| *until <= self.now) {
            let region = regions.diagrams.both(reachable, present)?;
            let claim = claim(FindingKind::Expired, format!("it applies no more since {until}"), region);
            // That an instant has passed does not depend on what other values there are.
            return self.show(claim, regions, |trace, _| !trace.open);
        }
        if regions.timely(policy, rule)? == NOTHING {
            let message = "its time does not open within a year, nor around any date it names".to_owned();
            let region = regions.diagrams.both(reachable, present)?;
            return self
                .claim(claim(FindingKind::NeverOpens, message, region), regions, |trace, _| !trace.open);
        }
        Ok(())
    }

    /// What can be said of the rules as they decide together.
    fn check_together(&mut self, answers: &Answers<'_>, regions: &mut Regions<'_>) {
        for counting in &answers.rules {
            let looks: [Look<'_>; 3] = [Self::check_shadowed, Self::check_approvals, Self::check_namespaces];
            for look in looks {
                if look(self, counting, answers, regions) == Err(OverBudget) {
                    self.undecided(Some(counting.name()), TOO_LARGE);
                    break;
                }
            }
        }
        if self.check_redundant(answers, regions) == Err(OverBudget) {
            self.undecided(None, format!("which rules are redundant: {TOO_LARGE}"));
        }
    }

    /// Whether everything that an ALLOW allows is denied.
    fn check_shadowed(
        &mut self,
        counting: &Counting<'_>,
        answers: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let is_allow = counting.rule.effect == RuleEffect::Allow;
        let lets_through = regions.diagrams.both(counting.applies, answers.allowed)?;
        if !is_allow || counting.applies == NOTHING || lets_through != NOTHING {
            return Ok(());
        }
        let related =
            overlapping(answers, counting.applies, regions, |rule| rule.effect == RuleEffect::Deny)?;
        let name = counting.name();
        let message = format!("everything it allows is denied by {}", join(&related));
        let claim =
            Claim { kind: FindingKind::Shadowed, name: &name, message, related, region: counting.applies };
        self.claim(claim, regions, |trace, decision| trace.applies && decision.effect == Effect::Deny)
    }

    /// Whether there are people who can give the approvals a rule asks for.
    fn check_approvals(
        &mut self,
        counting: &Counting<'_>,
        _: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let Some(all) = &self.circumstances.holders else { return Ok(()) };
        let none = BTreeSet::new();
        for group in &counting.rule.approvals {
            let (role, min) = (&group.role, group.min as usize);
            let holders = all.get(role).unwrap_or(&none);
            let mut claims = Vec::new();
            if holders.len() < min {
                let held = match holders.len() {
                    0 => "nobody holds it".to_owned(),
                    held => format!("{held} hold it"),
                };
                claims.push((counting.decides, format!("it asks for {min} × {role}, and {held}")));
            } else if holders.len() == min && holders.len() <= HOLDERS_MAX {
                for holder in holders {
                    let asking = asking(holder, all, regions)?;
                    let region = regions.diagrams.both(counting.decides, asking)?;
                    let message = format!(
                        "it asks for {min} × {role}; when {holder} asks, who may not approve it, too few are left"
                    );
                    claims.push((region, message));
                }
            }
            for (region, message) in claims.into_iter().filter(|(region, _)| *region != NOTHING) {
                let (kind, name) = (FindingKind::ApprovalImpossible, counting.name());
                let claim = Claim { kind, name: &name, message, related: Vec::new(), region };
                self.show(claim, regions, |_, decision| {
                    decision.obligations.approvals.iter().any(|group| group.what.role == *role)
                })?;
            }
        }
        Ok(())
    }

    /// Whether there are executors that would act where a rule allows it.
    fn check_namespaces(
        &mut self,
        counting: &Counting<'_>,
        answers: &Answers<'_>,
        regions: &mut Regions<'_>,
    ) -> Result<(), OverBudget> {
        let Some(allowlists) = &self.circumstances.allowlists else { return Ok(()) };
        if counting.rule.effect != RuleEffect::Allow {
            return Ok(());
        }
        let served = served(allowlists, regions)?;
        let in_clusters = regions.text(&Dimension::Family, "k8s")?;
        let granted = regions.diagrams.all(&[counting.applies, answers.allowed, in_clusters])?;
        let mut entries = Vec::new();
        for pattern in &counting.rule.matching.resources {
            let region = regions.resource(pattern)?;
            entries.push((pattern.to_string(), regions.diagrams.both(granted, region)?));
        }
        if entries.is_empty() {
            entries.push(("every resource".to_owned(), granted));
        }
        for (entry, region) in entries {
            if region == NOTHING || regions.diagrams.both(region, served)? != NOTHING {
                continue;
            }
            let message = format!("it grants {entry}, where no executor allows any namespace");
            let (kind, name) = (FindingKind::NamespaceUnserved, counting.name());
            let claim = Claim { kind, name: &name, message, related: Vec::new(), region };
            self.claim(claim, regions, |trace, decision| trace.applies && decision.effect == Effect::Allow)?;
        }
        Ok(())
    }

    /// States what holds for all questions of a kind, with one that shows it.
    fn claim(
        &mut self,
        claim: Claim<'_>,
        regions: &mut Regions<'_>,
        shows: impl FnOnce(&RuleTrace, &Decision) -> bool,
    ) -> Result<(), OverBudget> {
        match &self.tangled {
            Some(why) => {
                let reason = format!("whether it is {}: {why}", claim.kind);
                self.undecided(Some(claim.name.clone()), reason);
                Ok(())
            }
            None => self.show(claim, regions, shows),
        }
    }

    /// States what one question shows.
    fn show(
        &mut self,
        claim: Claim<'_>,
        regions: &mut Regions<'_>,
        shows: impl FnOnce(&RuleTrace, &Decision) -> bool,
    ) -> Result<(), OverBudget> {
        let Claim { kind, name, message, related, region } = claim;
        let witness = regions.witness(region)?;
        let shown = witness.and_then(|witness| {
            let Witness { question, facts, at } = &witness;
            let decision = evaluate(self.set, question, facts.as_ref(), *at);
            let traces = trace(self.set, question, facts.as_ref(), *at);
            let trace = traces.iter().find(|trace| trace.policy == name.policy && trace.rule == name.rule)?;
            shows(trace, &decision).then_some((decision, witness))
        });
        match shown {
            Some((decision, witness)) => {
                let RuleName { policy, rule } = name.clone();
                self.checked.findings.push(Finding {
                    kind,
                    policy,
                    rule,
                    message,
                    related,
                    witness,
                    decision,
                });
            }
            None => self.undecided(
                Some(name.clone()),
                format!("whether it is {kind}: no question was found that shows it"),
            ),
        }
        Ok(())
    }
}

type Look<'c> = fn(&mut Checker<'c>, &Counting<'_>, &Answers<'_>, &mut Regions<'_>) -> Result<(), OverBudget>;

/// The questions of one person, who holds the roles that are known of them.
fn asking(
    person: &str,
    holders: &BTreeMap<String, BTreeSet<String>>,
    regions: &mut Regions<'_>,
) -> Result<Region, OverBudget> {
    let mut parts = vec![regions.text(&Dimension::Principal, person)?];
    for role in regions.world.roles() {
        let holds = holders.get(&role).is_some_and(|holders| holders.contains(person));
        parts.push(regions.values(&Dimension::Role(role), |held| *held == holds)?);
    }
    regions.diagrams.all(&parts)
}

/// The questions about namespaces that an executor allows.
fn served(
    allowlists: &BTreeMap<String, BTreeSet<String>>,
    regions: &mut Regions<'_>,
) -> Result<Region, OverBudget> {
    let mut served = Vec::new();
    for (cluster, namespaces) in allowlists {
        let cluster = regions.text(&Dimension::Cluster, cluster)?;
        let is_allowed =
            |value: &serde_json::Value| value.as_str().is_some_and(|name| namespaces.contains(name));
        let namespaces = regions.values(&Dimension::Namespace, is_allowed)?;
        served.push(regions.diagrams.both(cluster, namespaces)?);
    }
    regions.diagrams.any(&served)
}

/// The rules that share questions with a region.
fn overlapping(
    answers: &Answers<'_>,
    region: Region,
    regions: &mut Regions<'_>,
    is_wanted: impl Fn(&Rule) -> bool,
) -> Result<Vec<RuleName>, OverBudget> {
    let mut names = Vec::new();
    for counting in answers.rules.iter().filter(|counting| is_wanted(counting.rule)) {
        if regions.diagrams.both(region, counting.applies)? != NOTHING {
            names.push(counting.name());
        }
    }
    Ok(names)
}

fn join(rules: &[RuleName]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
