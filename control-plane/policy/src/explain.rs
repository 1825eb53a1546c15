//! What would have to be different for a denied question to be allowed. Asked for denials only, so
//! that deciding stays lean.

mod needs;
mod opening;

pub(crate) use opening::turns_of;

use std::fmt;

use aegis_contract::facts::Facts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decision::{Effect, Indeterminate, RuleEffect};
use crate::document::{Condition, Mode, Policy, Rule};
use crate::evaluate::{Situation, Truth, evaluate, judge};
use crate::question::Question;
use crate::set::PolicySet;

/// P40: what would help against a denial; nothing where nothing is known to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Explanation {
    /// The first instant from which on the same question would be allowed, as far as time alone
    /// decides; absent when there is none within a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub opens_at: Option<Timestamp>,
    /// The ALLOW that lacked least, when no rule forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_miss: Option<NearMiss>,
}

/// An ALLOW that is about the question and did not apply, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NearMiss {
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    pub version: u32,
    /// Id of the rule in it.
    pub rule: String,
    /// Everything it lacked; never empty.
    pub missing: Vec<Miss>,
}

/// One thing that a rule lacked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Miss {
    /// The requester holds none of the roles.
    Role {
        /// Patterns of roles, of which one is enough.
        needs: Vec<String>,
    },
    /// The rule is not valid now, or its time is closed.
    Time,
    /// P47: it does not let anything be scaled to no replicas.
    Zero,
    /// An attribute is not as it should be.
    Attribute {
        /// The attribute.
        path: String,
        /// Its value; absent when it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        found: Option<Value>,
        /// Why its value could not be compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unknown: Option<Indeterminate>,
        /// What would do, in words.
        needs: String,
    },
}

/// P40: says what would help against the denial of this question; nothing for an ALLOW.
pub fn explain(set: &PolicySet, question: &Question, facts: Option<&Facts>, now: Timestamp) -> Explanation {
    let decision = evaluate(set, question, facts, now);
    if decision.effect == Effect::Allow {
        return Explanation::default();
    }
    let situation = Situation::new(question, facts, now);
    let nearest_miss = if decision.rules.is_empty() { nearest_miss(set, &situation, now) } else { None };
    Explanation { opens_at: opening::opens_at(set, &situation, now), nearest_miss }
}

/// The enforced rules of the set, each with its policy.
fn enforced(set: &PolicySet) -> impl Iterator<Item = (u32, &Policy, &Rule)> {
    set.policies()
        .filter(|(_, policy)| policy.mode() == Mode::Enforce)
        .flat_map(|(version, policy)| policy.compiled_rules().iter().map(move |rule| (version, policy, rule)))
}

/// Of several that lack equally little, the first by policy and rule.
fn nearest_miss(set: &PolicySet, situation: &Situation<'_>, now: Timestamp) -> Option<NearMiss> {
    enforced(set)
        .filter(|(.., rule)| rule.effect == RuleEffect::Allow)
        .filter_map(|(version, policy, rule)| {
            let missing = missing(policy, rule, situation, now)?;
            let (policy, rule) = (policy.name().to_owned(), rule.id.clone());
            Some(NearMiss { policy, version, rule, missing })
        })
        .min_by(|left, right| {
            let rank = |miss: &NearMiss| (miss.missing.len(), miss.policy.clone(), miss.rule.clone());
            rank(left).cmp(&rank(right))
        })
}

/// What a rule lacks that is about this action, this resource and this principal; nothing for other
/// rules: whoever asks shall not learn of those.
fn missing(policy: &Policy, rule: &Rule, situation: &Situation<'_>, now: Timestamp) -> Option<Vec<Miss>> {
    let mut missing = Vec::new();
    match rule.matching.mismatches(situation.question)[..] {
        [] => {}
        ["roles"] => {
            let needs = rule.matching.roles.iter().map(ToString::to_string).collect();
            missing.push(Miss::Role { needs });
        }
        _ => return None,
    }
    if !policy.validity().holds(now) || !rule.is_open(now) {
        missing.push(Miss::Time);
    }
    if let Some(when) = &rule.when {
        missing.extend(lacks(when, true, situation));
    }
    if rule.floor().is_some_and(|floor| judge(floor, situation) != Truth::True) {
        missing.push(Miss::Zero);
    }
    Some(missing)
}

/// The fewest comparisons that would have to come out differently for the condition to be `wanted`.
fn lacks(condition: &Condition, wanted: bool, situation: &Situation<'_>) -> Vec<Miss> {
    match (condition, wanted) {
        (Condition::Not(member), _) => lacks(member, !wanted, situation),
        (Condition::All(members), true) | (Condition::Any(members), false) => {
            members.iter().flat_map(|member| lacks(member, wanted, situation)).collect()
        }
        (Condition::Any(members), true) | (Condition::All(members), false) => members
            .iter()
            .map(|member| lacks(member, wanted, situation))
            .min_by_key(Vec::len)
            .unwrap_or_default(),
        (Condition::Test(test), _) => {
            let unknown = match judge(condition, situation) {
                Truth::True if wanted => return Vec::new(),
                Truth::False if !wanted => return Vec::new(),
                Truth::True | Truth::False => None,
                Truth::Unknown(why) => Some(why),
            };
            let found = test.attribute.value(&test.path, situation.question, situation.facts);
            vec![Miss::Attribute {
                path: test.path.clone(),
                found,
                unknown,
                needs: needs::needs(&test.check, wanted),
            }]
        }
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        write!(f, "rule {} would allow: {}", self.rule, missing.join("; "))
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { needs } => write!(f, "needs the role {}", needs.join(" or ")),
            Self::Time => f.write_str("it does not apply at this time"),
            Self::Zero => f.write_str("needs a limit `replicas` with `min` 0, to scale to nothing"),
            Self::Attribute { path, found, unknown, needs } => match (found, unknown) {
                (Some(Value::String(text)), None) => write!(f, "{path} is '{text}', needs {needs}"),
                (Some(value), None) => write!(f, "{path} is {value}, needs {needs}"),
                (_, Some(why)) => write!(f, "{why}, needs {needs}"),
                (None, None) => write!(f, "{path} is missing, needs {needs}"),
            },
        }
    }
}
