//! The reference interpreter: the executable form of `docs/policies.md`. It looks at every rule of
//! every policy, one after the other, and is as slow and as obvious as it can be.

use std::collections::BTreeMap;

use aegis_contract::facts::Facts;
use jiff::{SignedDuration, Timestamp};
use semver::Version;
use serde_json::Value;

use crate::attribute::TARGET;
use crate::decision::{
    Cause, DecidingRule, Decision, Demanded, Effect, Indeterminate, Obligations, RuleEffect, RuleName,
    ShadowDecision,
};
use crate::document::{Check, Condition, Literal, Mode, Policy, Rule, Test};
use crate::obligation::{Approval, Limit, Review};
use crate::question::Question;
use crate::set::PolicySet;

/// The reason of a decision in which no rule applied.
pub const NO_RULE_ALLOWS: &str = "no rule allows this";

/// Oldest facts that a decision may rest on, in seconds; the same span before the present, because
/// the executor's clock may be ahead. Facts are asked for with every decision, so anything older
/// than a decision may become before it is sent is a fault.
pub const FACTS_AGE_SECONDS_MAX: u32 = 60;

/// What a condition says. Ordered by nothing; joined as Kleene's strong three-valued logic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown(Indeterminate),
}

/// Everything a condition may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) question: &'a Question,
    pub(crate) facts: Option<&'a Facts>,
    facts_are_stale: bool,
}

impl<'a> Situation<'a> {
    pub(crate) fn new(question: &'a Question, facts: Option<&'a Facts>, now: Timestamp) -> Self {
        Self { question, facts, facts_are_stale: facts.is_some_and(|facts| is_stale(facts, now)) }
    }

    /// P14: whether the facts are too old to say anything.
    pub(crate) fn facts_are_stale(&self) -> bool {
        self.facts_are_stale
    }
}

/// A rule that applies, and why it does if that is not certain.
#[derive(Clone, Debug)]
pub(crate) struct Applying<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) version: u32,
    pub(crate) rule: &'a Rule,
    pub(crate) indeterminate: Option<Indeterminate>,
}

/// Decides one question by all policies of the set, with what the executor saw of the target, at the
/// instant `now`. Always answers, and always the same to the same arguments.
pub fn evaluate(set: &PolicySet, question: &Question, facts: Option<&Facts>, now: Timestamp) -> Decision {
    let situation = Situation::new(question, facts, now);
    let mut applying = Vec::new();
    for (version, policy) in set.policies() {
        // P30: a policy has a validity, like a rule.
        if !policy.validity().holds(now) {
            continue;
        }
        for rule in policy.compiled_rules() {
            if let Some(indeterminate) = applies(rule, &situation, now) {
                applying.push(Applying { policy, version, rule, indeterminate });
            }
        }
    }
    conclude(applying)
}

/// What follows from the rules that apply.
pub(crate) fn conclude(applying: Vec<Applying<'_>>) -> Decision {
    let (mut enforced, mut warning, mut shadow) = (Vec::new(), Vec::new(), Vec::new());
    for applying in applying {
        // P31: the mode of a policy says whether its rules count.
        match applying.policy.mode() {
            Mode::Enforce => enforced.push(applying),
            Mode::Warn => warning.push(applying),
            Mode::Shadow => shadow.push(applying),
            Mode::Off => {}
        }
    }
    let mut decision = answer(&enforced);
    // P31: rules that only warn are told where they would have changed an ALLOW, and change nothing.
    if decision.effect == Effect::Allow {
        decision.warnings = named(warning.iter());
    }
    // P32: what the answer would be with the policies in mode `shadow` is told where it differs.
    enforced.extend(shadow);
    let Decision { effect, reason, rules, obligations, .. } = answer(&enforced);
    if effect != decision.effect || !obligations.demand_the_same_as(&decision.obligations) {
        decision.shadow = Some(Box::new(ShadowDecision { effect, reason, rules, obligations }));
    }
    decision
}

/// Whether a rule applies, and what about it is unknown.
#[expect(clippy::option_option, reason = "nothing: it does not apply; something: perhaps with a remark")]
fn applies(rule: &Rule, situation: &Situation<'_>, now: Timestamp) -> Option<Option<Indeterminate>> {
    // P2: a rule is about a question if its match covers it …
    // P15, P29, P30: … and applies only while it is valid and its time is open.
    if !rule.matching.covers(situation.question) || !rule.is_open(now) {
        return None;
    }
    let truth = holds_of(rule, situation);
    truth.makes_apply(rule.effect).then(|| truth.unknown())
}

/// P6: what the conditions of a rule say; one without any has none that could fail.
pub(crate) fn holds_of(rule: &Rule, situation: &Situation<'_>) -> Truth {
    join(rule.conditions(), situation, &Truth::False, Truth::True)
}

impl Truth {
    /// Whether a rule of this effect applies when its condition says this.
    pub(crate) fn makes_apply(&self, effect: RuleEffect) -> bool {
        match (effect, self) {
            (_, Self::True) => true,
            (_, Self::False) => false,
            // P18: unknown never makes an ALLOW apply.
            (RuleEffect::Allow, Self::Unknown(_)) => false,
            // P19: unknown makes a DENY and a REQUIRE apply.
            (RuleEffect::Deny | RuleEffect::Require, Self::Unknown(_)) => true,
        }
    }

    fn unknown(self) -> Option<Indeterminate> {
        match self {
            Self::Unknown(why) => Some(why),
            Self::True | Self::False => None,
        }
    }
}

/// What the rules that apply answer together.
fn answer(applying: &[Applying<'_>]) -> Decision {
    let of = |effect| applying.iter().filter(move |applying| applying.rule.effect == effect);
    // P3: a DENY wins over every ALLOW.
    if of(RuleEffect::Deny).next().is_some() {
        return decision(Effect::Deny, named(of(RuleEffect::Deny)), Obligations::default());
    }
    // P38: rules for emergencies count only where no other rule allows it.
    let ordinary = of(RuleEffect::Allow).any(|applying| applying.rule.break_glass.is_none());
    let allows = || of(RuleEffect::Allow).filter(|allow| !ordinary || allow.rule.break_glass.is_none());
    // P4: without either, the answer is DENY.
    if allows().next().is_none() {
        return decision(Effect::Deny, Vec::new(), Obligations::default());
    }
    // P33: every REQUIRE adds what it demands to what the ALLOWs demand.
    let deciding = || allows().chain(of(RuleEffect::Require));
    decision(Effect::Allow, named(deciding()), demanded(deciding()))
}

/// P5: the reason is that of the first rule that applies for certain, or else of the first; in an
/// ALLOW, of the first that allows.
fn decision(effect: Effect, rules: Vec<DecidingRule>, obligations: Obligations) -> Decision {
    let giving = || rules.iter().filter(|rule| rule.effect != RuleEffect::Require);
    let first = giving().find(|rule| rule.indeterminate.is_none()).or_else(|| giving().next());
    let reason = first.map_or(NO_RULE_ALLOWS, |rule| &rule.reason).to_owned();
    Decision { effect, reason, rules, obligations, warnings: Vec::new(), shadow: None }
}

/// P5: all deciding rules are named, in an order that depends on their names alone.
fn named<'a>(applying: impl Iterator<Item = &'a Applying<'a>>) -> Vec<DecidingRule> {
    let mut rules: Vec<DecidingRule> = applying.map(deciding).collect();
    rules.sort_by(|left, right| (&left.policy, &left.rule).cmp(&(&right.policy, &right.rule)));
    rules
}

fn deciding(applying: &Applying<'_>) -> DecidingRule {
    let Applying { policy, version, rule, indeterminate } = applying;
    let reason = match indeterminate {
        None => rule.reason.clone(),
        Some(why) => format!("INDETERMINATE ({why}): {}", rule.reason),
    };
    DecidingRule {
        policy: policy.name().to_owned(),
        version: *version,
        rule: rule.id.clone(),
        effect: rule.effect,
        reason,
        indeterminate: indeterminate.clone(),
    }
}

/// P33: all that the deciding rules demand holds, each with the rules that demand it.
fn demanded<'a>(deciding: impl Iterator<Item = &'a Applying<'a>>) -> Obligations {
    let mut limits: BTreeMap<&Limit, Vec<RuleName>> = BTreeMap::new();
    let mut approvals: BTreeMap<&str, Demanded<Approval>> = BTreeMap::new();
    let mut reviews: BTreeMap<&str, Demanded<Review>> = BTreeMap::new();
    let mut dry_run_only = false;
    for Applying { policy, rule, .. } in deciding {
        let name = || RuleName { policy: policy.name().to_owned(), rule: rule.id.clone() };
        for limit in &rule.limits {
            limits.entry(limit).or_default().push(name());
        }
        // P36: of two groups of one role, the greater number and the shorter time hold.
        for group in &rule.approvals {
            let merged = approvals.entry(&group.role).or_insert_with(|| from_no_rule(group));
            merged.what.min = merged.what.min.max(group.min);
            merged.what.expires_seconds = merged.what.expires_seconds.min(group.expires_seconds);
            merged.rules.push(name());
        }
        // P37: one rule is enough for dry runs only.
        dry_run_only |= rule.dry_run_only;
        // P38: of two reviews by one role, the shorter time holds.
        if let Some(review) = &rule.break_glass {
            let merged = reviews.entry(&review.review_role).or_insert_with(|| from_no_rule(review));
            merged.what.review_seconds = merged.what.review_seconds.min(review.review_seconds);
            merged.rules.push(name());
        }
    }
    // P34: of limits that bound the same thing, only the strictest is left.
    let is_strictest = |limit: &Limit| !limits.keys().any(|other| other.is_stricter_than(limit));
    let strictest = limits.iter().filter(|(limit, _)| is_strictest(limit));
    let limits = strictest.map(|(limit, rules)| Demanded { what: (*limit).clone(), rules: rules.clone() });
    Obligations {
        limits: limits.map(sorted).collect(),
        approvals: approvals.into_values().map(sorted).collect(),
        dry_run_only,
        break_glass: reviews.into_values().map(sorted).collect(),
    }
}

fn from_no_rule<T: Clone>(what: &T) -> Demanded<T> {
    Demanded { what: what.clone(), rules: Vec::new() }
}

fn sorted<T>(mut demanded: Demanded<T>) -> Demanded<T> {
    demanded.rules.sort();
    demanded
}

/// P7: groups are joined as Kleene's logic joins them.
pub(crate) fn judge(condition: &Condition, situation: &Situation<'_>) -> Truth {
    match condition {
        // `all` is false if a member is false, else unknown if one is unknown, else true.
        Condition::All(members) => join(members, situation, &Truth::False, Truth::True),
        // `any` is true if a member is true, else unknown if one is unknown, else false.
        Condition::Any(members) => join(members, situation, &Truth::True, Truth::False),
        // `not` turns true and false round, and leaves unknown as it is.
        Condition::Not(member) => match judge(member, situation) {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            unknown @ Truth::Unknown(_) => unknown,
        },
        Condition::Test(test) => check(test, situation),
    }
}

fn join<'a>(
    members: impl IntoIterator<Item = &'a Condition>,
    situation: &Situation<'_>,
    decisive: &Truth,
    otherwise: Truth,
) -> Truth {
    let truths: Vec<Truth> = members.into_iter().map(|member| judge(member, situation)).collect();
    if truths.contains(decisive) {
        return decisive.clone();
    }
    // P17: of several attributes that are unknown, the alphabetically first is named.
    let unknown = truths.into_iter().filter_map(Truth::unknown);
    unknown.min().map_or(otherwise, Truth::Unknown)
}

pub(crate) fn check(test: &Test, situation: &Situation<'_>) -> Truth {
    let unknown = |cause| Truth::Unknown(Indeterminate { path: test.path.clone(), cause });
    // P14: stale facts say nothing, not even that something is missing.
    if situation.facts_are_stale && test.path.starts_with(TARGET) {
        return unknown(Cause::Stale);
    }
    let value = test.attribute.value(&test.path, situation.question, situation.facts);
    // P11: presence is never unknown.
    match test.check {
        Check::Present => return known(value.is_some()),
        Check::Absent => return known(value.is_none()),
        _ => {}
    }
    // P16: every other operator is unknown on a missing or mistyped attribute.
    let Some(value) = value else { return unknown(Cause::Missing) };
    compare(&test.check, &value).map_or_else(|| unknown(Cause::Mistyped), known)
}

/// Compares as the operator says; nothing if the value has another type than the operator reads.
pub(crate) fn compare(check: &Check, value: &Value) -> Option<bool> {
    match check {
        // P8: equality, of one type.
        Check::Eq(literal) => equal(value, literal),
        Check::Neq(literal) => equal(value, literal).map(|equal| !equal),
        // P9: membership is equality with one of a list, all of one type.
        Check::In(list) => one_of(value, list),
        Check::NotIn(list) => one_of(value, list).map(|found| !found),
        // P10: order, of numbers.
        Check::Lt(bound) => value.as_f64().map(|number| number < *bound),
        Check::Lte(bound) => value.as_f64().map(|number| number <= *bound),
        Check::Gt(bound) => value.as_f64().map(|number| number > *bound),
        Check::Gte(bound) => value.as_f64().map(|number| number >= *bound),
        Check::Between(low, high) => value.as_f64().map(|number| *low <= number && number <= *high),
        // P25: parts of texts.
        Check::Prefix(text) => value.as_str().map(|value| value.starts_with(text)),
        Check::Suffix(text) => value.as_str().map(|value| value.ends_with(text)),
        Check::Glob(glob) => value.as_str().map(|value| glob.matches(value)),
        // P26: a text that is no address has another type.
        Check::Cidr(network) => network.contains(value.as_str()?),
        // P27: a text that is no version has another type.
        Check::Semver(versions) => Some(versions.matches(&Version::parse(value.as_str()?).ok()?)),
        // P28: lists.
        Check::AnyOf(texts) => holds(value).map(|holds| texts.iter().any(holds)),
        Check::AllOf(texts) => holds(value).map(|holds| texts.iter().all(holds)),
        Check::NoneOf(texts) => holds(value).map(|holds| !texts.iter().any(holds)),
        Check::Present | Check::Absent => None,
    }
}

fn equal(value: &Value, literal: &Literal) -> Option<bool> {
    let value = Literal::of(value)?;
    value.is_comparable_with(literal).then(|| value == *literal)
}

fn one_of(value: &Value, list: &[Literal]) -> Option<bool> {
    let comparisons: Option<Vec<bool>> = list.iter().map(|literal| equal(value, literal)).collect();
    comparisons.map(|comparisons| comparisons.contains(&true))
}

fn holds(value: &Value) -> Option<impl Fn(&String) -> bool> {
    let list = value.as_array()?;
    Some(|text: &String| list.iter().any(|entry| entry.as_str() == Some(text)))
}

fn known(holds: bool) -> Truth {
    if holds { Truth::True } else { Truth::False }
}

/// P14: facts hold for a minute.
fn is_stale(facts: &Facts, now: Timestamp) -> bool {
    now.duration_since(facts.observed_at).abs() > SignedDuration::from_secs(FACTS_AGE_SECONDS_MAX.into())
}
