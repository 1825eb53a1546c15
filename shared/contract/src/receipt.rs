//! Receipts: every signed answer of an executor. The canonical bytes of a [`Receipt`] are the
//! payload of a DSSE envelope ([`crate::dsse`]).

use aegis_evidence::Head;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::code::{OutcomeCode, RefusalCode};
use crate::digest::Digest;
use crate::facts::Observation;
use crate::ids::{ActionId, LedgerId};
use crate::order::WrittenFields;

/// What became of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// [`crate::order::CONTRACT_VERSION`].
    pub contract: u32,
    /// The cluster whose executor answers.
    pub cluster: String,
    /// Digest of the order's payload bytes. A final receipt names the acting order, also when it
    /// answers a resolving one.
    pub order_digest: Digest,
    /// The attempt it speaks of; absent for observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptName>,
    /// Where the ledger stood when this was signed; of a closed attempt, before it was closed.
    pub ledger: LedgerPosition,
    /// The newest head of the audit log that the executor had verified then.
    pub head: Head,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// The stage reached.
    pub stage: Stage,
}

/// Names one attempt of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptName {
    /// The action.
    pub action_id: ActionId,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// A ledger and its last row. A ledger that was restored has another id; a lower row than seen before
/// means that it was put back in a way that it cannot tell itself. Both may have forgotten attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerPosition {
    /// The ledger.
    pub id: LedgerId,
    /// The highest row number it holds; 0 when it is empty.
    pub row: u64,
}

/// How far an order got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Stage {
    /// An observing order was answered.
    Observed {
        /// What was seen.
        observation: Observation,
        /// The namespaces the executor may touch, sorted.
        allowed_namespaces: Vec<String>,
    },
    /// An observing order was refused.
    ObservationRefused {
        /// Why.
        code: RefusalCode,
        /// For people.
        message: String,
        /// The namespaces the executor may touch, sorted.
        allowed_namespaces: Vec<String>,
    },
    /// The receipt's head is that of the checkpoint, or one that has grown from it.
    Followed,
    /// The ledger holds the attempt; it is, or will be, carried out.
    Running {
        /// What has been done so far.
        steps: Vec<Step>,
    },
    /// The attempt never began and never will.
    Closed,
    /// The attempt was refused for good before anything was touched; the ledger holds it closed.
    Refused {
        /// Why.
        code: RefusalCode,
        /// For people.
        message: String,
    },
    /// The attempt has ended.
    Finished {
        /// How.
        result: ExecutionResult,
    },
}

/// How an accepted attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionResult {
    /// The ending.
    pub status: ExecutionStatus,
    /// The precise reason.
    pub code: OutcomeCode,
    /// For people.
    pub message: String,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// The fields before the write; absent when it never got that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<WrittenFields>,
    /// The fields as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<WrittenFields>,
}

/// The endings of an accepted attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionStatus {
    /// Written, and the target became as wanted.
    Succeeded,
    /// Written, found bad, and put back to what was there before.
    Returned,
    /// Written, and the target did not become as wanted; or the write was refused by the cluster.
    Failed,
    /// Accepted, but refused before the write: the object was not as the decision saw it.
    Refused,
    /// Its time ran out, and the write certainly did not happen.
    Expired,
    /// Whether the write happened cannot be known any more; a person must look.
    Unknown,
}

/// One thing an executor did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// What, as a short stable name: `accepted`, `checked`, `written`, `watched`, …
    pub name: String,
    /// When it was done.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// For people.
    pub message: String,
}
