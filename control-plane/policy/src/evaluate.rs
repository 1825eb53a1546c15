//! The reference interpreter: the executable form of `docs/policies.md`. It looks at every rule of
//! every policy, one after the other, and is as slow and as obvious as it can be.

use aegis_contract::facts::Facts;
use jiff::{SignedDuration, Timestamp};

use crate::attribute::TARGET;
use crate::decision::{Cause, DecidingRule, Decision, Effect, Indeterminate};
use crate::document::{Check, Condition, Literal, Policy, Rule, Test};
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
enum Truth {
    True,
    False,
    Unknown(Indeterminate),
}

/// Everything a condition may look at.
struct Situation<'a> {
    question: &'a Question,
    facts: Option<&'a Facts>,
    facts_are_stale: bool,
}

/// Decides one question by all policies of the set, with what the executor saw of the target, at the
/// instant `now`. Always answers, and always the same to the same arguments.
pub fn evaluate(set: &PolicySet, question: &Question, facts: Option<&Facts>, now: Timestamp) -> Decision {
    let situation =
        Situation { question, facts, facts_are_stale: facts.is_some_and(|facts| is_stale(facts, now)) };
    let mut allows = Vec::new();
    let mut denies = Vec::new();
    for (version, policy) in set.policies() {
        for rule in policy.compiled_rules() {
            // P2: a rule is about a question if its match covers it …
            // P15: … and one of its windows is open.
            if !rule.matching.covers(question) || !rule.is_open(now) {
                continue;
            }
            // P6: a rule without a condition has none that could fail.
            let truth = rule.when.as_ref().map_or(Truth::True, |when| judge(when, &situation));
            match (rule.effect, truth) {
                (_, Truth::False) => {}
                (Effect::Allow, Truth::True) => allows.push(deciding(policy, version, rule, None)),
                // P18: unknown never makes an ALLOW apply.
                (Effect::Allow, Truth::Unknown(_)) => {}
                (Effect::Deny, Truth::True) => denies.push(deciding(policy, version, rule, None)),
                // P19: unknown makes a DENY apply.
                (Effect::Deny, Truth::Unknown(why)) => {
                    denies.push(deciding(policy, version, rule, Some(why)));
                }
            }
        }
    }
    // P3: a DENY wins over every ALLOW; P4: without either, the answer is DENY.
    if !denies.is_empty() {
        decision(Effect::Deny, denies)
    } else if !allows.is_empty() {
        decision(Effect::Allow, allows)
    } else {
        Decision { effect: Effect::Deny, reason: NO_RULE_ALLOWS.to_owned(), rules: Vec::new() }
    }
}

/// P5: all deciding rules are named, in an order that depends on their names alone. The reason is
/// that of the first one that applies for certain, or else of the first.
fn decision(effect: Effect, mut rules: Vec<DecidingRule>) -> Decision {
    rules.sort_by(|left, right| (&left.policy, &left.rule).cmp(&(&right.policy, &right.rule)));
    let first = rules.iter().find(|rule| rule.indeterminate.is_none()).unwrap_or(&rules[0]);
    Decision { effect, reason: first.reason.clone(), rules }
}

fn deciding(
    policy: &Policy,
    version: u32,
    rule: &Rule,
    indeterminate: Option<Indeterminate>,
) -> DecidingRule {
    let reason = match &indeterminate {
        None => rule.reason.clone(),
        Some(why) => format!("INDETERMINATE ({why}): {}", rule.reason),
    };
    DecidingRule {
        policy: policy.name().to_owned(),
        version,
        rule: rule.id.clone(),
        effect: rule.effect,
        reason,
        indeterminate,
    }
}

/// P7: groups are joined as Kleene's logic joins them.
fn judge(condition: &Condition, situation: &Situation<'_>) -> Truth {
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

fn join(members: &[Condition], situation: &Situation<'_>, decisive: &Truth, otherwise: Truth) -> Truth {
    let truths: Vec<Truth> = members.iter().map(|member| judge(member, situation)).collect();
    if truths.contains(decisive) {
        return decisive.clone();
    }
    // P17: of several attributes that are unknown, the alphabetically first is named.
    let unknown = truths.into_iter().filter_map(|truth| match truth {
        Truth::Unknown(why) => Some(why),
        Truth::True | Truth::False => None,
    });
    unknown.min().map_or(otherwise, Truth::Unknown)
}

fn check(test: &Test, situation: &Situation<'_>) -> Truth {
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
    let Some(value) = Literal::of(&value) else { return unknown(Cause::Mistyped) };
    compare(&test.check, &value).map_or_else(|| unknown(Cause::Mistyped), known)
}

/// Compares as the operator says; nothing if the types differ.
fn compare(check: &Check, value: &Literal) -> Option<bool> {
    match check {
        // P8: equality, of one type.
        Check::Eq(literal) => equal(value, literal),
        Check::Neq(literal) => equal(value, literal).map(|equal| !equal),
        // P9: membership is equality with one of a list, all of one type.
        Check::In(list) => one_of(value, list),
        Check::NotIn(list) => one_of(value, list).map(|found| !found),
        // P10: order, of numbers.
        Check::Lt(bound) => number(value).map(|number| number < *bound),
        Check::Lte(bound) => number(value).map(|number| number <= *bound),
        Check::Gt(bound) => number(value).map(|number| number > *bound),
        Check::Gte(bound) => number(value).map(|number| number >= *bound),
        Check::Present | Check::Absent => None,
    }
}

fn equal(value: &Literal, literal: &Literal) -> Option<bool> {
    value.is_comparable_with(literal).then(|| value == literal)
}

fn one_of(value: &Literal, list: &[Literal]) -> Option<bool> {
    let comparisons: Option<Vec<bool>> = list.iter().map(|literal| equal(value, literal)).collect();
    comparisons.map(|comparisons| comparisons.contains(&true))
}

fn number(value: &Literal) -> Option<f64> {
    match value {
        Literal::Number(number) => Some(*number),
        Literal::Text(_) | Literal::Flag(_) => None,
    }
}

fn known(holds: bool) -> Truth {
    if holds { Truth::True } else { Truth::False }
}

/// P14: facts hold for a minute.
fn is_stale(facts: &Facts, now: Timestamp) -> bool {
    now.duration_since(facts.observed_at).abs() > SignedDuration::from_secs(FACTS_AGE_SECONDS_MAX.into())
}
