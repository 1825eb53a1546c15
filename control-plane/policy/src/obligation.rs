//! What an ALLOW and a REQUIRE may demand besides: limits, approvals, and a review afterwards. The
//! same types stand in documents and, merged, in decisions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::question::Question;

/// How long people have to approve, in seconds, where a policy does not say.
pub(crate) const APPROVAL_SECONDS_DEFAULT: u32 = 900;

/// What two actions must share to be counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// The same type of action.
    Action,
    /// The same cluster.
    Cluster,
    /// The same namespace of the same cluster.
    Namespace,
    /// The same requester.
    Principal,
    /// The same object.
    Target,
}

impl Per {
    /// Every one, in the order of their names.
    pub const ALL: [Self; 5] = [Self::Action, Self::Cluster, Self::Namespace, Self::Principal, Self::Target];

    /// The spelling of documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Cluster => "cluster",
            Self::Namespace => "namespace",
            Self::Principal => "principal",
            Self::Target => "target",
        }
    }

    /// What the question has there; nothing for the cluster and the namespace of an `aegis/` resource.
    fn of(self, question: &Question) -> Option<String> {
        let target = question.resource().target();
        match self {
            Self::Action => Some(question.action().to_owned()),
            Self::Cluster => target.map(|target| target.cluster.clone()),
            Self::Namespace => target.map(|target| format!("{}/{}", target.cluster, target.namespace)),
            Self::Principal => Some(question.principal().as_str().to_owned()),
            Self::Target => Some(question.resource().to_string()),
        }
    }

    /// What the question has at all of these together.
    pub(crate) fn key(pers: &[Self], question: &Question) -> Option<String> {
        let parts: Option<Vec<String>> =
            pers.iter().map(|per| Some(format!("{}={}", per.as_str(), per.of(question)?))).collect();
        parts.map(|parts| parts.join("&"))
    }
}

/// One bound on what automation may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Limit {
    /// No second action for a while.
    Cooldown {
        /// Sorted, each once.
        per: Vec<Per>,
        /// The least time between two actions.
        seconds: u32,
    },
    /// So many actions in any span of time.
    Rate {
        /// Sorted, each once.
        per: Vec<Per>,
        /// Length of the span.
        seconds: u32,
        /// Most actions in it.
        max: u32,
    },
    /// So many actions under way at once.
    Concurrency {
        /// Sorted, each once.
        per: Vec<Per>,
        /// Most actions at once.
        max: u32,
    },
    /// So much of something may be unavailable already. Exactly one of the bounds is there: a limit
    /// written with both is two limits.
    Unavailable {
        /// Of what.
        of: Whole,
        /// Most of the wanted pods, in per cent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_percent: Option<u32>,
        /// Most pods.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_pods: Option<u32>,
    },
    /// So many replicas, for what scales. Exactly one of the bounds is there: a limit written with several is as
    /// many limits.
    Replicas {
        // In the order that sorts a floor before a ceiling and that before a step.
        /// Most replicas that one action adds or takes away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_step: Option<u32>,
        /// Most replicas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
        /// Fewest replicas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<u32>,
    },
    /// No action for a while after so many failures of our own.
    Breaker {
        /// Sorted, each once.
        per: Vec<Per>,
        /// The span of time in which failures are counted.
        seconds: u32,
        /// The failure that opens the breaker.
        failures: u32,
        /// How long it then stays open.
        open_seconds: u32,
    },
}

/// What an `unavailable` limit looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// The pods of the target.
    Target,
}

impl Limit {
    /// Whether this one forbids at least what `other` forbids and more: both bound the same thing, and
    /// this one tighter.
    pub(crate) fn is_stricter_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cooldown { per, seconds }, Self::Cooldown { per: per_other, seconds: other }) => {
                per == per_other && seconds > other
            }
            (
                Self::Rate { per, seconds, max },
                Self::Rate { per: per_other, seconds: seconds_other, max: other },
            ) => per == per_other && seconds == seconds_other && max < other,
            (Self::Concurrency { per, max }, Self::Concurrency { per: per_other, max: other }) => {
                per == per_other && max < other
            }
            (
                Self::Unavailable { of, max_percent, max_pods },
                Self::Unavailable { of: of_other, max_percent: percent_other, max_pods: pods_other },
            ) => of == of_other && (is_less(*max_percent, *percent_other) || is_less(*max_pods, *pods_other)),
            (
                Self::Replicas { min, max, max_step },
                Self::Replicas { min: other_min, max: other_max, max_step: other_step },
            ) => is_less(*other_min, *min) || is_less(*max, *other_max) || is_less(*max_step, *other_step),
            (
                Self::Breaker { per, seconds, failures, open_seconds },
                Self::Breaker {
                    per: per_other,
                    seconds: seconds_other,
                    failures: failures_other,
                    open_seconds: other,
                },
            ) => {
                per == per_other
                    && seconds == seconds_other
                    && failures == failures_other
                    && open_seconds > other
            }
            _ => false,
        }
    }

    /// What an action must share with the one of this question to be counted with it, for example
    /// `action=restart&namespace=prod/shop`; nothing when the question does not have it, and then the
    /// limit counts as exceeded.
    pub fn key(&self, question: &Question) -> Option<String> {
        Per::key(self.per().unwrap_or(&[Per::Target]), question)
    }

    /// P35: what counted actions share; nothing for a limit that counts no actions.
    pub fn per(&self) -> Option<&[Per]> {
        match self {
            Self::Cooldown { per, .. }
            | Self::Rate { per, .. }
            | Self::Concurrency { per, .. }
            | Self::Breaker { per, .. } => Some(per),
            Self::Unavailable { of: Whole::Target, .. } | Self::Replicas { .. } => None,
        }
    }

    /// P47: whether this one says that nothing may be left.
    pub(crate) fn lets_scale_to_zero(&self) -> bool {
        matches!(self, Self::Replicas { min: Some(0), .. })
    }
}

fn is_less(left: Option<u32>, right: Option<u32>) -> bool {
    matches!((left, right), (Some(left), Some(right)) if left < right)
}

/// People of one role who must agree before the action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    // Whose word counts is P44, and for what P45.
    /// The role they hold.
    pub role: String,
    /// How many of them.
    pub min: u32,
    /// How long they have.
    pub expires_seconds: u32,
}

/// People of one role who must look at the action afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ReviewDemand))]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The role they hold.
    pub review_role: String,
    /// How long they have.
    pub review_seconds: u32,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |per: &[Per]| per.iter().map(|per| per.as_str()).collect::<Vec<_>>().join(" and ");
        match self {
            Self::Cooldown { per, seconds } => write!(f, "cooldown of {seconds} s per {}", names(per)),
            Self::Rate { per, seconds, max } => write!(f, "{max} in {seconds} s per {}", names(per)),
            Self::Concurrency { per, max } => write!(f, "{max} at once per {}", names(per)),
            Self::Unavailable { max_percent: Some(percent), .. } => {
                write!(f, "{percent} % of the target's pods unavailable")
            }
            Self::Unavailable { max_pods, .. } => {
                write!(f, "{} of the target's pods unavailable", max_pods.unwrap_or_default())
            }
            Self::Replicas { min: Some(min), .. } => write!(f, "replicas at least {min}"),
            Self::Replicas { max: Some(max), .. } => write!(f, "replicas at most {max}"),
            Self::Replicas { max_step, .. } => {
                write!(f, "replicas changed by at most {}", max_step.unwrap_or_default())
            }
            Self::Breaker { per, seconds, failures, open_seconds } => {
                let per = names(per);
                write!(f, "closed for {open_seconds} s after {failures} failures in {seconds} s per {per}")
            }
        }
    }
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} in {} s", self.min, self.role, self.expires_seconds)
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "review by {} in {} s", self.review_role, self.review_seconds)
    }
}
