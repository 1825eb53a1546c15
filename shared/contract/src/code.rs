//! Stable codes. A code is never given another meaning and never removed while a receipt or an
//! audit entry may hold it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All codes, in the order they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it stands in JSON, tables and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// Why an executor did not begin an order, in the order in which it checks.
    RefusalCode {
        /// The body is larger than 64 KiB.
        TooLarge = "too-large",
        /// The body is not the strict JSON of an order request with one signature.
        EnvelopeMalformed = "envelope-malformed",
        /// No live key has the envelope's key id.
        KeyUnknown = "key-unknown",
        /// The signature does not fit the received bytes.
        SignatureInvalid = "signature-invalid",
        /// The order is of a contract version this executor does not know.
        ContractUnsupported = "contract-unsupported",
        /// The signed bytes are not an order.
        OrderMalformed = "order-malformed",
        /// The order is for another cluster's executor.
        AudienceMismatch = "audience-mismatch",
        /// Other bytes were already received for this attempt.
        AttemptMismatch = "attempt-mismatch",
        /// The order was signed for another ledger; nothing was written.
        LedgerChanged = "ledger-changed",
        /// Another attempt of this action was already accepted.
        ActionAccepted = "action-accepted",
        /// `notAfter` has passed.
        OrderExpired = "order-expired",
        /// `issuedAt` lies too far ahead of the executor's clock.
        OrderFromFuture = "order-from-future",
        /// `notAfter` lies too far behind `issuedAt`.
        LifetimeTooLong = "lifetime-too-long",
        /// The nonce is missing or was used by another order.
        NonceReplayed = "nonce-replayed",
        /// The target's namespace is not on the executor's allowlist.
        NamespaceNotAllowed = "namespace-not-allowed",
        /// The change cannot be applied to the target's kind, is out of bounds, or is not on the executor's allowlist for
        /// the namespace.
        ActionNotAllowed = "action-not-allowed",
        /// The intent in the order is not the intent of this order.
        EvidenceMismatch = "evidence-mismatch",
        /// The audit log was found to have two histories; nothing is begun until a person has acted.
        LogForked = "log-forked",
        /// The checkpoint beside the order is not one that a believed key of the log signed; nothing was written.
        CheckpointInvalid = "checkpoint-invalid",
        /// Nothing shows how the checkpoint, if there is one, belongs to the head held here; nothing was written.
        HeadUnknown = "head-unknown",
        /// The intent is not where the evidence says; nothing was written.
        EntryNotInLog = "entry-not-in-log",
        /// There is no such object.
        TargetAbsent = "target-absent",
    }
}

codes! {
    /// How an accepted attempt, or an action, ended.
    OutcomeCode {
        /// The rollout that the write caused is complete.
        RolloutComplete = "rollout-complete",
        /// The evicted pod, or each of those that were evicted, is gone.
        PodReplaced = "pod-replaced",
        /// The object already was as wanted; nothing was written.
        AlreadyDone = "already-done",
        /// The API server accepted the write as a dry run.
        DryRun = "dry-run",
        /// Kubernetes reported that the rollout failed.
        RolloutFailed = "rollout-failed",
        /// An image cannot be pulled.
        ImagePullFailed = "image-pull-failed",
        /// A container cannot be made from its configuration.
        ContainerConfigFailed = "container-config-failed",
        /// A container ends again and again.
        CrashLoop = "crash-loop",
        /// No node takes a pod.
        PodUnschedulable = "pod-unschedulable",
        /// Pods cannot be created: a quota, or an admission that says no.
        PodsNotCreated = "pods-not-created",
        /// Fewer pods serve than before.
        ReadinessWorse = "readiness-worse",
        /// The rollout was not complete when the time to watch was over.
        RolloutTimeout = "rollout-timeout",
        /// The object is not there any more.
        TargetGone = "target-gone",
        /// Another object of the same name stands in its place.
        TargetReplaced = "target-replaced",
        /// A field to be written is not as the decision saw it.
        PreconditionFailed = "precondition-failed",
        /// Rollouts of the object are paused.
        TargetPaused = "target-paused",
        /// A rollout is under way, and the change would go over it.
        RolloutInProgress = "rollout-in-progress",
        /// The update strategy leaves pods as they are until somebody deletes them.
        StrategyOnDelete = "strategy-on-delete",
        /// The partition of a StatefulSet keeps every pod as it is.
        PartitionHidesPods = "partition-hides-pods",
        /// No pods are wanted: there is nothing to restart.
        NoReplicas = "no-replicas",
        /// Every pod is ready: there is none to evict.
        NoUnreadyPods = "no-unready-pods",
        /// No pod can go first: it would be all that is wanted, the only one that is ready, or one that stays away while
        /// another is not ready.
        NoCanary = "no-canary",
        /// A resource quota leaves no room for the pod that the rollout needs first.
        QuotaExceeded = "quota-exceeded",
        /// An autoscaler sets the replicas.
        AutoscalerOwned = "autoscaler-owned",
        /// The change would do something else now than what was agreed to.
        PlanChanged = "plan-changed",
        /// The figures of the object as it stands go beyond what the order allows; nothing was written.
        BoundExceeded = "bound-exceeded",
        /// No earlier revision has another template and is good enough.
        NoEarlierRevision = "no-earlier-revision",
        /// The named revision failed before: a person must agree to it.
        RevisionKnownBad = "revision-known-bad",
        /// The earlier template would give its pods other rights; nothing was written.
        TemplateOutOfBounds = "template-out-of-bounds",
        /// The executor's allowlist was changed before the write; nothing was written.
        NoLongerAllowed = "no-longer-allowed",
        /// The pod has no controller that would replace it.
        NoController = "no-controller",
        /// Somebody else changed the written fields; nothing more was done.
        Contested = "contested",
        /// A disruption budget has no room for what the rollout takes down, blocked the eviction until the time was over,
        /// or was another action's to use until then.
        BudgetBlocked = "budget-blocked",
        /// The API server refused the write.
        ClusterRefused = "cluster-refused",
        /// The API server could not be reached or did not answer in time.
        ClusterUnavailable = "cluster-unavailable",
        /// The time to start ran out, and nothing was written.
        DeadlinePassed = "deadline-passed",
        /// The intent did not come into the audit log in time; nothing was ordered.
        IntentNotInLog = "intent-not-in-log",
        /// Whether the write happened cannot be known.
        WriteInDoubt = "write-in-doubt",
        /// Two people closed the action without knowing what happened.
        Unresolved = "unresolved",
        /// Withdrawn before it was ordered.
        Cancelled = "cancelled",
        /// Policy said no.
        PolicyDenied = "policy-denied",
        /// The target is on hold for automation until a person lifts that.
        TargetOnHold = "target-on-hold",
        /// Somebody who was asked to approve it said no.
        ApprovalDenied = "approval-denied",
        /// Not enough people agreed in time.
        ApprovalExpired = "approval-expired",
    }
}
