//! What the evaluator answers, as it is stored and served.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a rule does, and what a decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Effect {
    /// Grants.
    Allow,
    /// Vetoes.
    Deny,
}

impl Effect {
    /// The spelling of documents, decisions and tables.
    pub fn as_str(self) -> &'static str {
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

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Whether it may be done.
    pub effect: Effect,
    /// Why, in one sentence: the reason of the first deciding rule, or that no rule allows it.
    pub reason: String,
    /// All rules that decided, sorted by policy and rule; empty when no rule applied.
    pub rules: Vec<DecidingRule>,
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
    pub effect: Effect,
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
