//! What whoever was denied is told.

use aegis_policy::{JudgedLimit, NearMiss, Obligations, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Decided;
use crate::error::{Denial, Error};
use crate::service::approvals::Group;

/// What would help against a denial, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// From when on the same question would be allowed, if nothing but the time changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The rule that came nearest to allowing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_miss: Option<NearMiss>,
}

/// The part of a stored decision that whoever was denied is told.
#[derive(Deserialize)]
pub struct Denied {
    reason: String,
    /// What it would have had to be kept to.
    #[serde(default)]
    pub obligations: Obligations,
    #[serde(default)]
    limits: Vec<JudgedLimit>,
    #[serde(flatten)]
    remedy: Remedy,
}

impl Denied {
    /// Reads it from the bytes of a stored decision.
    ///
    /// # Errors
    /// When they are no decision.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map_err(Error::internal)
    }

    /// What whoever was denied is told at `now`, with the groups they would have to ask.
    #[must_use]
    pub fn told(self, approvals: Vec<Group>, now: Timestamp) -> Denial {
        let limits = self.limits.into_iter().filter(|limit| limit.verdict != Verdict::Room).collect();
        let retry_after_seconds = self.remedy.retry_at.map(|at| {
            let left = at.duration_since(now);
            // Rounded up, and never "at once": it was just denied.
            left.as_secs().saturating_add(i64::from(left.subsec_nanos() > 0)).max(1).unsigned_abs()
        });
        let nearest_miss = self.remedy.nearest_miss;
        Denial { reason: self.reason, retry_after_seconds, limits, approvals, nearest_miss }
    }
}

impl From<Decided> for Denied {
    fn from(decided: Decided) -> Self {
        let Decided { reason, decision, limits, remedy, .. } = decided;
        Self { reason, obligations: decision.obligations, limits, remedy }
    }
}
