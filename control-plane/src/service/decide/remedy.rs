//! What whoever was denied is told.

use aegis_policy::{JudgedLimit, NearMiss, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Denial, Error};

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

impl Remedy {
    /// What whoever was denied is told at `now`.
    pub fn denial(self, reason: String, limits: Vec<JudgedLimit>, now: Timestamp) -> Denial {
        let without_room = limits.into_iter().filter(|limit| limit.verdict != Verdict::Room).collect();
        let retry_after_seconds = self.retry_at.map(|at| {
            let left = at.duration_since(now);
            // Rounded up, and never "at once": it was just denied.
            left.as_secs().saturating_add(i64::from(left.subsec_nanos() > 0)).max(1).unsigned_abs()
        });
        Denial { reason, retry_after_seconds, limits: without_room, nearest_miss: self.nearest_miss }
    }
}

/// The part of a stored decision that whoever was denied is told.
#[derive(Deserialize)]
struct Denied {
    reason: String,
    #[serde(default)]
    limits: Vec<JudgedLimit>,
    #[serde(flatten)]
    remedy: Remedy,
}

/// What whoever was denied by a stored decision is told at `now`.
///
/// # Errors
/// When the stored bytes are no decision.
pub fn denial_of(body: &[u8], now: Timestamp) -> Result<Denial, Error> {
    let Denied { reason, limits, remedy } = serde_json::from_slice(body).map_err(Error::internal)?;
    Ok(remedy.denial(reason, limits, now))
}
