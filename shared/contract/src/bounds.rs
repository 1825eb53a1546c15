//! How far a change may go: what of policy's limits an executor can hold against figures of its own.

use serde::{Deserialize, Serialize};

/// The bounds of one order. What is absent is not bound, but for a scale to no replicas: [`ReplicaBounds::min`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// Most wanted pods that may not be available at one time while the change is made, with those that are not
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_max: Option<u32>,
    /// The same in per cent of the wanted pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_max_percent: Option<u32>,
    /// How far a `scale` may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaBounds>,
}

/// How far a `scale` may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaBounds {
    /// Fewest replicas. Where it is absent that is one: nothing is scaled to no replicas unless 0 stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Most replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Most replicas that are added or taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_step: Option<u32>,
}
