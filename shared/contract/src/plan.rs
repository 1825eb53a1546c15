//! What a change would do to its target as it stands: worked out by the executor from the live objects, shown before
//! anybody agrees to it, and worked out again before anything is written.

use serde::{Deserialize, Serialize};

use crate::action::Change;
use crate::canonical;
use crate::code::OutcomeCode;
use crate::digest::Digest;
use crate::order::WrittenFields;

/// Names the layout of what [`Plan::digest`] covers.
const SCHEMA: &str = "aegis.plan/v1";

/// A change, planned on the objects as they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// What people agree to, and what must still hold when the change is made: see [`digest_of`].
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// `metadata.resourceVersion` of the target as it was read.
    pub resource_version: String,
    /// The fields to be written, as they are.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub before: WrittenFields,
    /// The same as they would be written; equal to `before` when nothing would be, absent behind an obstacle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub after: Option<WrittenFields>,
    /// The revision that a `rollback` would return to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_revision: Option<u64>,
    /// Pods that would be made, ended or replaced.
    pub pods_affected: u32,
    /// Pods that the target wants.
    pub pods_wanted: u32,
    /// Wanted pods that are not available now.
    pub pods_unavailable: u32,
    /// Most wanted pods that may not be available at one time while the change is made, with those that are not now.
    pub pods_unavailable_max: u32,
    /// Who else writes the fields, or the object as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Owner>,
    /// The disruption budgets that the target's pods fall under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// What would be written, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What whoever agrees should know, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How to take the change back, for people.
    pub undo: String,
    /// Why the executor would refuse the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
}

/// Somebody else who writes what a change writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// What kind of writer: `HorizontalPodAutoscaler`, `KEDA`, `Argo CD`, `Flux`, `Helm`.
    pub by: String,
    /// Its name there.
    pub name: String,
    /// What it writes: `spec.replicas`, or `object` for all of it.
    pub field: String,
}

/// A PodDisruptionBudget as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Its name, in the target's namespace.
    pub name: String,
    /// Pods that may be disrupted now.
    pub disruptions_allowed: u32,
}

/// Why a change must not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Obstacle {
    /// Stable.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: OutcomeCode,
    /// For people, with what would help.
    pub message: String,
}

impl Plan {
    /// The wanted pods that may not be available at one time, in per cent of all, rounded up; 0 when none are wanted.
    pub fn unavailable_max_percent(&self) -> u32 {
        match self.pods_wanted {
            0 => 0,
            wanted => (u64::from(self.pods_unavailable_max) * 100)
                .div_ceil(wanted.into())
                .try_into()
                .unwrap_or(u32::MAX),
        }
    }
}

/// Digest of what a plan is bound to: the object, its template, and the fields as they are and would be. Versions,
/// counts, names of pods and times are left out: they pass while people think.
///
/// # Panics
/// Never: text, numbers and digests have canonical bytes.
pub fn digest_of(
    change: &Change,
    uid: &str,
    template_digest: Option<Digest>,
    before: &WrittenFields,
    after: Option<&WrittenFields>,
) -> Digest {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bound<'a> {
        schema: &'static str,
        change: &'a Change,
        uid: &'a str,
        template_digest: Option<Digest>,
        before: WrittenFields,
        after: Option<WrittenFields>,
    }
    let bound = Bound {
        schema: SCHEMA,
        change,
        uid,
        template_digest,
        before: before.without_time(),
        after: after.map(WrittenFields::without_time),
    };
    Digest::of(&canonical::to_bytes(&bound).expect("text, numbers and digests have canonical bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{RestartParams, ScaleParams};

    #[test]
    fn a_plan_stays_the_same_while_time_passes_and_differs_with_object_template_and_fields() {
        let restart = Change::Restart(RestartParams::default());
        let at = |time: &str| WrittenFields::Restart { restarted_at: Some(time.to_owned()) };
        let template = Some(Digest::of(b"a"));
        let digest = digest_of(&restart, "u1", template, &at("t0"), Some(&at("t1")));
        assert_eq!(digest, digest_of(&restart, "u1", template, &at("t0"), Some(&at("t2"))));
        assert_ne!(digest, digest_of(&restart, "u2", template, &at("t0"), Some(&at("t1"))));
        assert_ne!(digest, digest_of(&restart, "u1", Some(Digest::of(b"b")), &at("t0"), Some(&at("t1"))));
        assert_ne!(digest, digest_of(&restart, "u1", template, &at("t0"), None));

        let scale = Change::Scale(ScaleParams { replicas: 5 });
        let to = |replicas| WrittenFields::Scale { replicas };
        let digest = digest_of(&scale, "u1", template, &to(3), Some(&to(5)));
        assert_ne!(digest, digest_of(&scale, "u1", template, &to(4), Some(&to(5))));
        assert_ne!(digest, digest_of(&restart, "u1", template, &to(3), Some(&to(5))));
    }

    #[test]
    fn shares_of_pods_are_rounded_up_and_nothing_is_missing_where_nothing_is_wanted() {
        let plan = |wanted, max| Plan {
            digest: Digest::of(b""),
            resource_version: String::new(),
            before: WrittenFields::Scale { replicas: wanted },
            after: None,
            to_revision: None,
            pods_affected: 0,
            pods_wanted: wanted,
            pods_unavailable: 0,
            pods_unavailable_max: max,
            owners: Vec::new(),
            budgets: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
            undo: String::new(),
            obstacle: None,
        };
        for (wanted, max, percent) in [(3, 1, 34), (4, 1, 25), (0, 0, 0), (3, 3, 100)] {
            assert_eq!(plan(wanted, max).unavailable_max_percent(), percent, "{max} of {wanted}");
        }
    }
}
