//! What the evaluator answers, as it is stored and served.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::obligation::{Approval, Limit, Review};

/// What a decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Effect {
    /// It may be done, under the obligations of the decision.
    Allow,
    /// It may not.
    Deny,
}

impl Effect {
    /// The spelling of decisions and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleEffect {
    /// Grants.
    Allow,
    /// Vetoes.
    Deny,
    /// Adds obligations to every grant.
    Require,
}

impl RuleEffect {
    /// Every one, as documents spell them.
    pub const NAMES: &'static [&'static str] = &["ALLOW", "DENY", "REQUIRE"];

    /// The spelling of documents and decisions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Require => "REQUIRE",
        }
    }
}

impl fmt::Display for RuleEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PolicyDecision))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Whether it may be done.
    pub effect: Effect,
    /// Why, in one sentence: the reason of the first deciding rule, or that no rule allows it.
    pub reason: String,
    /// All rules that decided, sorted by policy and rule: the ALLOWs and REQUIREs of an ALLOW, the
    /// DENYs of a DENY; empty when no rule applied.
    pub rules: Vec<DecidingRule>,
    /// What must be kept to besides; empty in a DENY.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
    /// The rules of policies in mode `warn` that would have changed this ALLOW, sorted by policy and
    /// rule. They are no part of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<DecidingRule>,
    /// What the answer would be if the policies in mode `shadow` counted; absent when it would be the
    /// same in effect and obligations. It is no part of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<ShadowDecision>>,
}

/// What the answer would be if the policies in mode `shadow` counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShadowDecision {
    /// Whether it might be done.
    pub effect: Effect,
    /// Why.
    pub reason: String,
    /// All rules that would decide.
    pub rules: Vec<DecidingRule>,
    /// What would have to be kept to.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
}

/// What must be kept to when doing what an ALLOW allows: that of every deciding rule, the strictest
/// where several bound the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Obligations {
    /// All of them hold; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Demanded<Limit>>,
    /// All groups must agree; sorted by role, each role once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Demanded<Approval>>,
    /// Only a dry run may be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run_only: bool,
    /// Who must look at it afterwards, because nothing but a break-glass rule allows it; sorted by
    /// role, each role once. Empty when an ordinary rule allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<Demanded<Review>>,
}

/// An obligation and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Demanded<T> {
    /// What is demanded.
    #[serde(flatten)]
    pub what: T,
    /// The rules that demand it, sorted by policy and rule.
    pub rules: Vec<RuleName>,
}

/// Names one rule of the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleName {
    /// Name of the policy.
    pub policy: String,
    /// Id of the rule in it.
    pub rule: String,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy, self.rule)
    }
}

impl Obligations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether both demand the same, from whatever rules it comes.
    pub fn demand_the_same_as(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(left: &[Demanded<T>], right: &[Demanded<T>]) -> bool {
            left.iter().map(|demanded| &demanded.what).eq(right.iter().map(|demanded| &demanded.what))
        }
        same(&self.limits, &other.limits)
            && same(&self.approvals, &other.approvals)
            && self.dry_run_only == other.dry_run_only
            && same(&self.break_glass, &other.break_glass)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// One rule that led to the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecidingRule {
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    pub version: u32,
    /// Id of the rule in it.
    pub rule: String,
    /// What the rule does.
    pub effect: RuleEffect,
    /// The reason its author wrote; it begins with `INDETERMINATE` when the rule applies only
    /// because a condition could not be evaluated.
    pub reason: String,
    /// Present when the rule applies only because a condition could not be evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indeterminate: Option<Indeterminate>,
}

/// Which attribute kept a condition from being true or false.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Indeterminate {
    /// The attribute.
    pub path: String,
    /// What was wrong with it.
    pub cause: Cause,
}

/// Why a condition on an attribute is neither true nor false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It is not there.
    Missing,
    /// It has another type than the condition compares with.
    Mistyped,
    /// It was observed too long ago.
    Stale,
}

impl fmt::Display for Indeterminate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            Cause::Missing => "is missing",
            Cause::Mistyped => "has another type",
            Cause::Stale => "was observed too long ago",
        };
        write!(f, "{} {cause}", self.path)
    }
}
