//! The catalogue of actions: what can be asked for, with which parameters, on which kinds, and the
//! states an action goes through.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::target::Kind;

/// Most replicas a `scale` may ask for. Policies bound further; this bounds mistakes of writing.
pub const REPLICAS_MAX: u32 = 1_000;
/// Longest span in which an action may start, in seconds.
pub const DEADLINE_SECONDS_MAX: u32 = 3_600;
/// Span in which an action may start when the request names none, in seconds.
pub const DEADLINE_SECONDS_DEFAULT: u32 = 300;

/// The name of one kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ActionType {
    /// Rolling restart of all pods of a workload.
    Restart,
    /// Eviction of one pod, which its controller replaces.
    RestartPod,
    /// Another number of replicas.
    Scale,
    /// Return to an earlier revision of the pod template.
    Rollback,
}

impl ActionType {
    /// All types, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Restart, Self::RestartPod, Self::Scale, Self::Rollback];

    /// The name used in JSON, policies, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::RestartPod => "restart-pod",
            Self::Scale => "scale",
            Self::Rollback => "rollback",
        }
    }

    /// The kinds of target this type can be applied to.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Restart => &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
            Self::RestartPod => &[Kind::Pod],
            Self::Scale => &[Kind::Deployment, Kind::StatefulSet],
            Self::Rollback => &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionType {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        Self::ALL
            .into_iter()
            .find(|action_type| action_type.as_str() == text)
            .ok_or_else(|| ChangeError::Type(text.to_owned()))
    }
}

/// One change with its parameters, as it stands in orders: `{"type": …, "params": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "params", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// See [`ActionType::Restart`].
    Restart(RestartParams),
    /// See [`ActionType::RestartPod`].
    RestartPod(NoParams),
    /// See [`ActionType::Scale`].
    Scale(ScaleParams),
    /// See [`ActionType::Rollback`].
    Rollback(RollbackParams),
}

/// The empty parameter object `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Parameters of `restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RestartParams {
    /// Restart also while a rollout is under way.
    #[serde(default, skip_serializing_if = "is_false")]
    pub during_rollout: bool,
    /// Which pods are restarted.
    #[serde(default, skip_serializing_if = "RestartedPods::is_all")]
    pub pods: RestartedPods,
    /// Restart one pod before the others, and those only when its successor is good. Not in orders before version 7.
    #[serde(default, skip_serializing_if = "is_false")]
    pub canary: bool,
}

impl RestartParams {
    /// What a canary cannot be combined with, and what to do instead.
    fn canary_refused(self) -> Option<&'static str> {
        match self {
            Self { canary: false, .. } => None,
            Self { pods: RestartedPods::Unhealthy, .. } => Some(
                "canary does not go with pods unhealthy, which replaces one pod at a time and stops at the first that \
                 does not get ready: leave one of the two out",
            ),
            Self { during_rollout: true, .. } => Some(
                "canary does not go with duringRollout: the pods that a rollout makes tell as much as a canary would; \
                 wait for its end, or leave one of the two out",
            ),
            Self { .. } => None,
        }
    }
}

/// The pods that a `restart` replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartedPods {
    /// All of them, by a rolling restart: the template gets another revision.
    #[default]
    All,
    /// Those that are not ready, by evictions: the template stays as it is.
    Unhealthy,
}

impl RestartedPods {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Parameters of `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleParams {
    /// Wanted replicas, 0 to [`REPLICAS_MAX`].
    pub replicas: u32,
}

/// Parameters of `rollback`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RollbackParams {
    /// Revision to return to; absent means the newest earlier one whose template differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_revision: Option<u64>,
}

/// Why a type, its parameters and a kind do not make a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not one of [`ActionType::ALL`].
    #[error("type `{0}` must be one of restart, restart-pod, scale, rollback")]
    Type(String),
    /// The parameters are not those of the type.
    #[error("params of {action_type}: {message}")]
    Params {
        /// The type they were meant for.
        action_type: ActionType,
        /// JSON pointer below `params`, or empty for the whole.
        pointer: String,
        /// What is wrong and what is expected.
        message: String,
    },
    /// The type cannot be applied to this kind.
    #[error("{action_type} cannot be applied to a {kind}; it takes {}", list(action_type.kinds()))]
    Kind {
        /// The wanted type.
        action_type: ActionType,
        /// The kind of the target.
        kind: Kind,
    },
}

fn list(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

impl Change {
    /// Reads the parameters of `action_type` and checks their bounds and the kind of the target.
    pub fn new(action_type: ActionType, params: Value, kind: Kind) -> Result<Self, ChangeError> {
        let change = Self::from_params(action_type, params)?;
        change.check_bounds()?;
        if !action_type.kinds().contains(&kind) {
            return Err(ChangeError::Kind { action_type, kind });
        }
        Ok(change)
    }

    fn from_params(action_type: ActionType, params: Value) -> Result<Self, ChangeError> {
        let refuse = |error: serde_json::Error| ChangeError::Params {
            action_type,
            pointer: String::new(),
            message: error.to_string(),
        };
        Ok(match action_type {
            ActionType::Restart => Self::Restart(serde_json::from_value(params).map_err(refuse)?),
            ActionType::RestartPod => Self::RestartPod(serde_json::from_value(params).map_err(refuse)?),
            ActionType::Scale => Self::Scale(serde_json::from_value(params).map_err(refuse)?),
            ActionType::Rollback => Self::Rollback(serde_json::from_value(params).map_err(refuse)?),
        })
    }

    fn check_bounds(&self) -> Result<(), ChangeError> {
        let out_of_bounds = |pointer: &str, message: String| {
            Err(ChangeError::Params { action_type: self.action_type(), pointer: pointer.to_owned(), message })
        };
        match self {
            Self::Scale(params) if params.replicas > REPLICAS_MAX => out_of_bounds(
                "/replicas",
                format!("replicas must be 0 to {REPLICAS_MAX}, not {}", params.replicas),
            ),
            Self::Rollback(RollbackParams { to_revision: Some(0) }) => {
                out_of_bounds("/toRevision", "toRevision counts from 1".to_owned())
            }
            Self::Restart(params) => match params.canary_refused() {
                Some(message) => out_of_bounds("/canary", message.to_owned()),
                None => Ok(()),
            },
            Self::RestartPod(_) | Self::Scale(_) | Self::Rollback(_) => Ok(()),
        }
    }

    /// Whether what it overwrites can be put back. A restart leaves nothing to return to: the template was
    /// the same before; and an evicted pod does not come back.
    pub fn can_be_returned(&self) -> bool {
        matches!(self, Self::Scale(_) | Self::Rollback(_))
    }

    /// Whether it evicts pods that are not ready, and writes nothing else.
    pub fn is_of_unready_pods(&self) -> bool {
        matches!(self, Self::Restart(RestartParams { pods: RestartedPods::Unhealthy, .. }))
    }

    /// Whether it evicts one pod before it changes the target.
    pub fn has_canary(&self) -> bool {
        matches!(self, Self::Restart(RestartParams { canary: true, .. }))
    }

    /// What is left to do once its canary was good.
    #[must_use]
    pub fn after_canary(&self) -> Self {
        match self {
            Self::Restart(params) => Self::Restart(RestartParams { canary: false, ..*params }),
            Self::RestartPod(_) | Self::Scale(_) | Self::Rollback(_) => self.clone(),
        }
    }

    /// The type of this change.
    pub fn action_type(&self) -> ActionType {
        match self {
            Self::Restart(_) => ActionType::Restart,
            Self::RestartPod(_) => ActionType::RestartPod,
            Self::Scale(_) => ActionType::Scale,
            Self::Rollback(_) => ActionType::Rollback,
        }
    }

    /// The parameters as the JSON object that [`Change::new`] reads.
    pub fn params(&self) -> Value {
        match self {
            // Flags and names are always JSON.
            Self::Restart(params) => serde_json::to_value(params).unwrap_or_default(),
            Self::RestartPod(_) => serde_json::json!({}),
            Self::Scale(params) => serde_json::json!({ "replicas": params.replicas }),
            Self::Rollback(RollbackParams { to_revision: None }) => serde_json::json!({}),
            Self::Rollback(RollbackParams { to_revision: Some(revision) }) => {
                serde_json::json!({ "toRevision": revision })
            }
        }
    }
}

/// Where an action stands. It moves only by a guarded update in the transaction that also appends
/// the audit entry of the move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// Allowed, if the people agree who are asked.
    AwaitingApproval,
    /// Allowed; waits for its turn on the target.
    Queued,
    /// An order was signed for it.
    Running,
    /// The order's time is over and the executor has not said what happened.
    Unknown,
    /// Done, and the target is as wanted.
    Succeeded,
    /// Tried, and the target is not as wanted.
    Failed,
    /// Changed, found bad, and put back to what was there before.
    Returned,
    /// Policy said no, or somebody who was asked.
    Denied,
    /// The executor said no before it touched anything.
    Refused,
    /// Withdrawn before it was ordered.
    Cancelled,
    /// Its time to start ran out, and nothing was written.
    Expired,
}

impl ActionState {
    /// All states, in the order of [the flow](self).
    pub const ALL: [Self; 11] = [
        Self::AwaitingApproval,
        Self::Queued,
        Self::Running,
        Self::Unknown,
        Self::Succeeded,
        Self::Failed,
        Self::Returned,
        Self::Denied,
        Self::Refused,
        Self::Cancelled,
        Self::Expired,
    ];

    /// The name used in JSON, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting-approval",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether the action has ended; an ended action never changes its state again.
    pub fn is_final(self) -> bool {
        match self {
            Self::AwaitingApproval | Self::Queued | Self::Running | Self::Unknown => false,
            Self::Succeeded
            | Self::Failed
            | Self::Returned
            | Self::Denied
            | Self::Refused
            | Self::Cancelled
            | Self::Expired => true,
        }
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// The text names no [`ActionState`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "state `{0}` must be one of awaiting-approval, queued, running, unknown, succeeded, failed, returned, denied, refused, cancelled, expired"
)]
pub struct UnknownState(pub String);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_reads_back_the_parameters_it_writes() {
        for (action_type, params) in [
            (ActionType::Restart, json!({})),
            (ActionType::Restart, json!({ "duringRollout": true })),
            (ActionType::Restart, json!({ "pods": "unhealthy" })),
            (ActionType::Restart, json!({ "duringRollout": true, "pods": "unhealthy" })),
            (ActionType::Restart, json!({ "canary": true })),
            (ActionType::RestartPod, json!({})),
            (ActionType::Scale, json!({ "replicas": 5 })),
            (ActionType::Rollback, json!({})),
            (ActionType::Rollback, json!({ "toRevision": 3 })),
        ] {
            let change = Change::new(action_type, params.clone(), action_type.kinds()[0]).unwrap();
            assert_eq!(change.params(), params);
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
        }
    }

    #[test]
    fn parameters_out_of_bounds_unknown_or_missing_are_refused() {
        for (action_type, params) in [
            (ActionType::Scale, json!({ "replicas": REPLICAS_MAX + 1 })),
            (ActionType::Scale, json!({ "replicas": -1 })),
            (ActionType::Scale, json!({ "replicas": 1.5 })),
            (ActionType::Scale, json!({})),
            (ActionType::Restart, json!({ "force": true })),
            (ActionType::Restart, json!({ "pods": "some" })),
            (ActionType::Restart, json!({ "canary": 1 })),
            (ActionType::Restart, json!({ "canary": true, "pods": "unhealthy" })),
            (ActionType::Restart, json!({ "canary": true, "duringRollout": true })),
            (ActionType::Restart, json!(null)),
            (ActionType::Rollback, json!({ "toRevision": 0 })),
        ] {
            let kind = action_type.kinds()[0];
            let error = Change::new(action_type, params.clone(), kind).unwrap_err();
            assert!(matches!(error, ChangeError::Params { .. }), "{action_type} {params}: {error}");
        }
    }

    #[test]
    fn a_type_is_refused_on_a_kind_it_cannot_change() {
        for action_type in ActionType::ALL {
            for kind in Kind::ALL {
                let params =
                    if action_type == ActionType::Scale { json!({ "replicas": 1 }) } else { json!({}) };
                let allowed = Change::new(action_type, params, kind).is_ok();
                assert_eq!(allowed, action_type.kinds().contains(&kind), "{action_type} on {kind}");
            }
        }
    }
}
