//! What an executor sees of a target now. Decisions are taken on facts and store them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::plan::Plan;

/// The answer to an observing order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Observation {
    /// The object exists and may be looked at.
    Present {
        /// What was seen.
        facts: Facts,
    },
    /// There is no such object.
    Absent,
}

/// One object as it stood at `observed_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// When the executor read the object.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub observed_at: Timestamp,
    /// `metadata.uid`: a new object of the same name has another one.
    pub uid: String,
    /// `metadata.generation`: rises with every change of the spec.
    pub generation: u64,
    /// Digest of the pod template without restart annotations; absent for pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub template_digest: Option<Digest>,
    /// The template's `kubectl.kubernetes.io/restartedAt`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
    /// Wanted replicas; absent for DaemonSets and pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Pods that are ready.
    pub ready_replicas: u32,
    /// Pods that are available (ready for `minReadySeconds`).
    pub available_replicas: u32,
    /// Pods made from the present template.
    pub updated_replicas: u32,
    /// Whether rollouts of the object are paused.
    pub paused: bool,
    /// State of the latest rollout; for a pod, whether it is ready.
    pub rollout: Rollout,
    /// Pods that the change would make, end or replace. This and what follows stands in the facts that were asked for
    /// with a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_affected: Option<u32>,
    /// Most wanted pods that may not be available at one time while it is made, with those that are not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_max: Option<u32>,
    /// The same in per cent of the wanted pods, rounded up; 0 when none are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_max_percent: Option<u32>,
    /// Pods that the tightest disruption budget of the target lets go down; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptions_allowed: Option<u32>,
    /// All of what the change would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
}

impl Facts {
    /// The facts with a plan, and with what of it policies read.
    #[must_use]
    pub fn with_plan(self, plan: Plan) -> Self {
        Self {
            pods_affected: Some(plan.pods_affected),
            unavailable_max: Some(plan.pods_unavailable_max),
            unavailable_max_percent: Some(plan.unavailable_max_percent()),
            disruptions_allowed: plan.budgets.iter().map(|budget| budget.disruptions_allowed).min(),
            plan: Some(Box::new(plan)),
            ..self
        }
    }
}

/// State of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Rollout {
    /// Every pod is of the present template and available.
    Complete,
    /// Under way.
    Progressing,
    /// Kubernetes gave up waiting for progress.
    Failed,
}

impl Rollout {
    /// The name used in JSON and as a policy attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Progressing => "progressing",
            Self::Failed => "failed",
        }
    }
}
