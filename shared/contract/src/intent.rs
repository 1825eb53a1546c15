//! Audit entries as bytes, and the one kind of entry that an executor reads: the intent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::Change;
use crate::bounds::Bounds;
use crate::digest::Digest;
use crate::ids::{ActionId, DecisionId, EntryId};
use crate::order::AutomaticReturn;
use crate::target::Target;

/// Names the layout of [`Entry`].
pub const ENTRY_SCHEMA: &str = "aegis.entry/v1";
/// The kind of an entry that holds an [`Intent`].
pub const INTENT_KIND: &str = "action.intent";

/// One record of the audit log. Its canonical bytes are what is stored, hashed and proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry<T> {
    /// [`ENTRY_SCHEMA`].
    pub schema: String,
    /// Names the entry.
    pub id: EntryId,
    /// What happened, from a closed list.
    pub kind: String,
    /// When, by the control plane's clock.
    pub at: Timestamp,
    /// Who did it: `user:…`, `client:…`, `engine:…` or `anonymous`.
    pub principal: String,
    /// The action it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_id: Option<ActionId>,
    /// The request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What is particular to the kind.
    pub data: T,
}

/// What will be ordered: written before the order is signed, carried in it, compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Attempt the intent belongs to, from 1.
    pub attempt: u32,
    /// What will be changed.
    pub target: Target,
    /// How it will be changed.
    pub change: Change,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// Whether, and for how long, the executor may put back what was there before. Not in entries of
    /// releases that never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_return: Option<AutomaticReturn>,
    /// How far policy's limits let it go. Not in entries of releases that left that to the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// The decision that allowed it.
    pub decision_id: DecisionId,
    /// The policy set the decision was taken from.
    pub policy_digest: Digest,
    /// The plan that was agreed to. Not in entries of releases that made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    /// The people on whose word it goes ahead; none where policy asks nobody. Not in entries of releases
    /// that asked nobody.
    #[serde(default)]
    pub approvals: Vec<Approval>,
}

/// One person's word for an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Who: `user:…`.
    pub principal: String,
    /// Digest of exactly what they agreed to.
    pub digest: Digest,
    /// The audit entry that says so.
    pub entry_id: EntryId,
}
