//! Orders: everything an executor is ever told. The canonical bytes of an [`Order`] are the payload
//! of a DSSE envelope ([`crate::dsse`]).

use aegis_evidence::{Consistency, Evidence};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::Change;
use crate::bounds::Bounds;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::facts::Facts;
use crate::ids::{ActionId, DecisionId, LedgerId};
use crate::intent::Approval;
use crate::plan::digest_of;
use crate::target::Target;

/// Version of everything in this module and in [`crate::receipt`]. It rises with each change of
/// them; another version is refused as `contract-unsupported`, never read half-way.
pub const CONTRACT_VERSION: u32 = 7;
/// Longest span between `issued_at` and `not_after` an executor accepts, in seconds.
pub const ORDER_LIFETIME_SECONDS_MAX: u32 = 60;
/// How far an order's `issued_at` may lie ahead of the executor's clock, in seconds.
pub const CLOCK_AHEAD_SECONDS_MAX: u32 = 5;
/// Longest an executor holds the answer to an order open for its `wait` parameter, in seconds.
pub const WAIT_SECONDS_MAX: u32 = 30;

/// The member of a problem `head-unknown` that says how many entries the head has that a proof is needed from.
pub const NEEDS: &str = "needs";

/// Body of `POST /v1/orders`. The answer is a receipt's [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The signed order.
    pub order: Envelope,
    /// Shows that the intent of an acting order is in the audit log. It proves itself and stands outside the
    /// signature, so that it can be renewed when the same order is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// One signed instruction to one executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// [`CONTRACT_VERSION`].
    pub contract: u32,
    /// The cluster whose executor is meant.
    pub audience: String,
    /// Makes the bytes of every order unique.
    pub nonce: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Nothing may be begun because of this order after this instant.
    pub not_after: Timestamp,
    /// What to do.
    pub instruction: Instruction,
}

/// What an order can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Instruction {
    /// Change the target.
    Act(Box<Act>),
    /// Say what the target looks like.
    Observe(Observe),
    /// Say what became of an attempt, and never begin it from now on.
    Resolve(Resolve),
    /// Keep the newest head of the audit log.
    Follow(Follow),
}

/// Carry out one attempt of one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Act {
    /// The action.
    pub action_id: ActionId,
    /// The attempt, from 1; an attempt is one stored byte string.
    pub attempt: u32,
    /// The ledger it was signed for: the one last seen in the cluster. No other one accepts it.
    pub ledger: LedgerId,
    /// What to change.
    pub target: Target,
    /// How to change it.
    pub change: Change,
    /// What the decision saw and must still hold.
    pub preconditions: Preconditions,
    /// How long to watch after the write, in seconds.
    pub watch_seconds: u32,
    /// How long the target must stay as wanted before the write counts as good, in seconds. Not in orders
    /// before version 5, like the next.
    #[serde(default)]
    pub soak_seconds: u32,
    /// Permission to put back what was there before, once, if the write turns out bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_return: Option<AutomaticReturn>,
    /// How far it may go, by the executor's own figures right before the write. Not in orders before version 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Send the one write with `dryRun=All` and watch nothing.
    pub dry_run: bool,
    /// The decision that allowed it.
    pub decision_id: DecisionId,
    /// The policy set it was taken from.
    pub policy_digest: Digest,
    /// The people on whose word it goes ahead; none where policy asks nobody. Not in orders of version 2,
    /// which a ledger may still have to carry out.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The exact bytes of the audit entry of kind `action.intent`, in base64.
    pub intent: String,
}

/// Permission for one automatic return. It needs no word of the control plane when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutomaticReturn {
    /// How long after the write was announced in the ledger it may be made, in seconds.
    pub within_seconds: u32,
}

/// The values the decision saw, of the object's identity and of the fields that will be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preconditions {
    /// `metadata.uid`.
    pub uid: String,
    /// The fields that the change writes.
    pub fields: WrittenFields,
    /// What was planned to be done: the plan made before the write must be the same. Not in orders of version 4, which
    /// a ledger may still have to carry out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
}

/// What of a plan stands in an order. With the values that the decision saw it has the plan's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Planned {
    /// The target's pod template then; a pod has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_digest: Option<Digest>,
    /// The fields as they would be written, without the time of a restart; absent behind an obstacle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<WrittenFields>,
}

/// The fields that a change writes, with their values at one time. They are compared before the
/// write, and tell after a crash whether the write has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum WrittenFields {
    /// Of `restart`: the template's `kubectl.kubernetes.io/restartedAt`.
    Restart {
        /// Its value; `null` when the annotation is absent.
        restarted_at: Option<String>,
    },
    /// Of `restart` with `pods: unhealthy`: the pods that are not ready, whichever they are and however many.
    UnreadyPods {
        /// Whether they have been replaced.
        replaced: bool,
    },
    /// Of `restart-pod`: the pod's existence.
    RestartPod {
        /// Whether the pod of this uid is there and not being deleted.
        present: bool,
    },
    /// Of `scale`: `spec.replicas`.
    Scale {
        /// Its value.
        replicas: u32,
    },
    /// Of `rollback`: the pod template.
    Rollback {
        /// Its digest, restart annotations left out.
        template_digest: Digest,
    },
}

impl WrittenFields {
    /// The same without the time of a restart, which no plan is bound to.
    #[must_use]
    pub fn without_time(&self) -> Self {
        match self {
            Self::Restart { .. } => Self::Restart { restarted_at: None },
            Self::UnreadyPods { .. }
            | Self::RestartPod { .. }
            | Self::Scale { .. }
            | Self::Rollback { .. } => self.clone(),
        }
    }
}

impl Preconditions {
    /// What `facts` say of the object and of the fields `change` writes; `None` when the object
    /// lacks them (no replicas, no template).
    pub fn of(change: &Change, facts: &Facts) -> Option<Self> {
        let fields = match change {
            Change::Restart(_) if change.is_of_unready_pods() => {
                WrittenFields::UnreadyPods { replaced: false }
            }
            Change::Restart(_) => WrittenFields::Restart { restarted_at: facts.restarted_at.clone() },
            Change::RestartPod(_) => WrittenFields::RestartPod { present: true },
            Change::Scale(_) => WrittenFields::Scale { replicas: facts.replicas? },
            Change::Rollback(_) => WrittenFields::Rollback { template_digest: facts.template_digest? },
        };
        let planned = facts.plan.as_ref().map(|plan| Planned {
            template_digest: facts.template_digest,
            after: plan.after.as_ref().map(WrittenFields::without_time),
        });
        Some(Self { uid: facts.uid.clone(), fields, planned })
    }

    /// Digest of the plan that a change was decided on ([`digest_of`]).
    pub fn plan_digest(&self, change: &Change) -> Option<Digest> {
        let Planned { template_digest, after } = self.planned.as_ref()?;
        Some(digest_of(change, &self.uid, *template_digest, &self.fields, after.as_ref()))
    }
}

/// Look at one object, and plan a change of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    /// The object.
    pub target: Target,
    /// What shall be planned; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// Close an attempt and all earlier ones of its action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolve {
    /// The action.
    pub action_id: ActionId,
    /// The newest attempt to close.
    pub attempt: u32,
}

/// Follow the audit log to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// The signed head (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// Proofs that it has grown from heads that the executor may keep.
    pub consistency: Vec<Consistency>,
}
