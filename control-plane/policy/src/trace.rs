//! Everything a decision looked at: for people who ask why, and for the coverage of tests.

use aegis_contract::facts::Facts;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::attribute::REPLICAS;
use crate::decision::{Indeterminate, RuleEffect};
use crate::document::{Rule, Test};
use crate::evaluate::{Situation, Truth, check, holds_of, judge};
use crate::question::Question;
use crate::set::PolicySet;

/// How one rule of the set stands to a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleTrace {
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    pub version: u32,
    /// Its mode.
    pub mode: &'static str,
    /// Id of the rule in it.
    pub rule: String,
    /// What the rule does.
    pub effect: RuleEffect,
    /// The dimensions of `match` that do not cover the question; the rule is about it when there are none.
    pub mismatches: Vec<&'static str>,
    /// Whether policy and rule are valid and a window is open.
    pub open: bool,
    /// What its condition says; `true` without one.
    pub condition: Judgement,
    /// Every comparison of its condition, in the order they are written; last the unwritten one of an ALLOW that does
    /// not let this be scaled to no replicas, under an empty pointer.
    pub comparisons: Vec<Comparison>,
    /// Whether it applies.
    pub applies: bool,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be said.
    Unknown(Indeterminate),
}

/// One comparison of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Where it stands: a JSON pointer into the rule's `when`.
    pub pointer: String,
    /// The attribute.
    pub path: String,
    /// Its value; absent when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub found: Option<Value>,
    /// What came of it.
    pub verdict: Judgement,
}

impl From<Truth> for Judgement {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::True => Self::True,
            Truth::False => Self::False,
            Truth::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// Says of every rule of the set how it stands to a question, sorted by policy, and as ordered in it.
pub fn trace(set: &PolicySet, question: &Question, facts: Option<&Facts>, now: Timestamp) -> Vec<RuleTrace> {
    let situation = Situation::new(question, facts, now);
    let mut traces = Vec::new();
    for (version, policy) in set.policies() {
        for rule in policy.compiled_rules() {
            let open = policy.validity().holds(now) && rule.is_open(now);
            let truth = holds_of(rule, &situation);
            let mismatches = rule.matching.mismatches(question);
            traces.push(RuleTrace {
                policy: policy.name().to_owned(),
                version,
                mode: policy.mode().as_str(),
                rule: rule.id.clone(),
                effect: rule.effect,
                applies: mismatches.is_empty() && open && truth.makes_apply(rule.effect),
                mismatches,
                open,
                condition: truth.into(),
                comparisons: comparisons(rule, &situation),
            });
        }
    }
    traces
}

fn comparisons(rule: &Rule, situation: &Situation<'_>) -> Vec<Comparison> {
    let comparison = |(pointer, test): (String, &Test)| Comparison {
        pointer,
        path: test.path.clone(),
        found: test.attribute.value(&test.path, situation.question, situation.facts),
        verdict: check(test, situation).into(),
    };
    let mut comparisons: Vec<Comparison> = rule.comparisons().into_iter().map(comparison).collect();
    let truth = rule.floor().map(|floor| judge(floor, situation)).filter(|truth| *truth != Truth::True);
    comparisons.extend(truth.map(|truth| Comparison {
        pointer: String::new(),
        path: REPLICAS.to_owned(),
        found: situation.question.params().get("replicas").cloned(),
        verdict: truth.into(),
    }));
    comparisons
}
