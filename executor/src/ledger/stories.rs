//! What happened to an accepted action: its `accepted`, `acting` and `finished` rows.

use std::collections::BTreeSet;

use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, LedgerId};
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::receipt::{AttemptName, LedgerPosition, Step};
use aegis_contract::target::{Kind, Target};
use aegis_runtime::clock;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::attempts::read_digest;
use super::leases::LeaseGrant;
use super::{Ledger, LedgerError, attempt_number, bounded, read_row};

/// An accepted action, as far as it got.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// The accepted attempt.
    pub(crate) name: AttemptName,
    /// Digest of `order_bytes`.
    pub(crate) order_digest: Digest,
    /// The payload as it was signed.
    pub(crate) order_bytes: Vec<u8>,
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
    /// The writes that were announced, in order; only the last one may not be made yet.
    pub(crate) writes: Vec<Acting>,
    /// The final receipt, once there is one.
    pub(crate) receipt: Option<Vec<u8>>,
    /// How the ledger stood when this was read.
    pub(crate) ledger: LedgerPosition,
}

/// Body of an `acting` row: what will be written, and to what. Every write of an action has its own,
/// and none is announced before the one ahead of it has taken effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Acting {
    /// Which write of its action, from 1; rows from before there were several bear no number.
    #[serde(default = "first")]
    pub(crate) number: u32,
    /// The instant after which it may not be made; absent where that is the order's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<Timestamp>,
    /// Of a return: what it answers. Absent where the write is the change itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) returns: Option<Cause>,
    /// Of an eviction: the pod. Absent where the write is one to the target itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evicts: Option<Evicts>,
    /// How many pods were ready; absent where that does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_before: Option<u32>,
    /// The target, also where the write is to one of its pods.
    pub(crate) uid: String,
    /// Its generation before the write.
    pub(crate) generation: u64,
    /// The fields before the write.
    pub(crate) before: WrittenFields,
    /// The fields as they will be written.
    pub(crate) after: WrittenFields,
    /// When the row was written.
    pub(crate) at: Timestamp,
    /// What had been done by then.
    pub(crate) steps: Vec<Step>,
    /// `lastUpdateTime` of a failed rollout that stood there before the write; only another one
    /// tells of the rollout that the write causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed_before: Option<String>,
}

/// What an eviction takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evicts {
    /// The pod.
    pub(crate) pod: PodName,
    /// In the first row of a restart of the pods that are not ready: those whose turn comes after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) then: Vec<PodName>,
    /// Of a canary: the uids of the pods among which it was chosen. Another one came after it, whatever clocks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) among: Option<BTreeSet<String>>,
}

impl Evicts {
    /// Whether the pod goes before all others of its workload.
    pub(crate) fn is_canary(&self) -> bool {
        self.among.is_some()
    }

    /// Whether the pod of this uid came after the canary.
    pub(crate) fn is_new(&self, uid: &str) -> bool {
        self.among.as_ref().is_some_and(|among| !among.contains(uid))
    }
}

/// One pod: another one of its name has another uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PodName {
    /// `metadata.name`
    pub(crate) name: String,
    /// `metadata.uid`
    pub(crate) uid: String,
}

impl PodName {
    /// The pod as a target, beside its workload.
    pub(crate) fn target(&self, workload: &Target) -> Target {
        Target { kind: Kind::Pod, name: self.name.clone(), ..workload.clone() }
    }
}

/// Why a change is put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cause {
    /// What the action ends with.
    pub(crate) code: OutcomeCode,
    /// For people.
    pub(crate) message: String,
}

/// Longest a return is watched, in seconds: what it puts back may well have been unwell before.
const RETURN_WATCH_SECONDS_MAX: u32 = 60;

impl Acting {
    /// How long to watch after it, in seconds.
    pub(crate) fn watch_seconds(&self, act: &Act) -> u32 {
        if self.returns.is_some() {
            act.watch_seconds.min(RETURN_WATCH_SECONDS_MAX)
        } else {
            act.watch_seconds
        }
    }
}

fn first() -> u32 {
    1
}

/// What the ledger holds of an action; `None` unless one of its attempts was accepted.
pub(super) async fn read_story(
    conn: &mut PgConnection,
    action_id: ActionId,
) -> Result<Option<Story>, LedgerError> {
    let rows = sqlx::query!(
        r#"select kind, attempt, order_digest, at, order_bytes, body as "body: sqlx::types::Json<Acting>", receipt,
                  (select ledger.current_id()) as ledger, (select max(row_number) from ledger.rows) as "last_row!"
           from ledger.rows
           where action_id = $1 and kind in ('accepted', 'acting', 'finished')"#,
        action_id.0,
    )
    .fetch_all(conn)
    .await?;
    let (mut accepted, mut writes, mut receipt) = (None, Vec::new(), None);
    for row in rows {
        match row.kind.as_str() {
            "accepted" => accepted = Some(row),
            "acting" => writes.extend(row.body.map(|body| body.0)),
            _ => receipt = row.receipt,
        }
    }
    writes.sort_by_key(|acting: &Acting| acting.number);
    let Some(row) = accepted else { return Ok(None) };
    let (Some(order_digest), Some(order_bytes)) = (row.order_digest, row.order_bytes) else {
        return Ok(None);
    };
    let attempt = u32::try_from(row.attempt)
        .map_err(|_| LedgerError::Unreadable(format!("attempt {}", row.attempt)))?;
    let id = LedgerId(row.ledger.ok_or(LedgerError::Unnamed)?);
    Ok(Some(Story {
        name: AttemptName { action_id, attempt },
        order_digest: read_digest(&order_digest)?,
        order_bytes,
        accepted_at: row.at.to_jiff(),
        writes,
        receipt,
        ledger: LedgerPosition { id, row: read_row(row.last_row)? },
    }))
}

impl Ledger {
    /// What happened to an action; `None` unless one of its attempts was accepted.
    pub(crate) async fn story(&self, action_id: ActionId) -> Result<Option<Story>, LedgerError> {
        bounded(async { read_story(&mut *self.pool.acquire().await?, action_id).await }).await
    }

    /// Writes the `acting` row. `false` when the lease is lost; then nothing was written.
    pub(crate) async fn begin_acting(
        &self,
        name: AttemptName,
        order_digest: Digest,
        lease: LeaseGrant,
        acting: &Acting,
    ) -> Result<bool, LedgerError> {
        let attempt = attempt_number(name.attempt)?;
        let body =
            serde_json::to_value(acting).map_err(|error| LedgerError::Unreadable(error.to_string()))?;
        bounded(async {
            // INVARIANT: the lease's row is locked while its fence is compared, so that a holder
            // that lost it can never add a row.
            let written = sqlx::query!(
                "insert into ledger.rows (kind, action_id, attempt, order_digest, fence, at, body)
                 select 'acting', action_id, $4, $5, fence, $6, $7 from worker_leases
                 where action_id = $1 and owner_id = $2 and fence = $3 and ledger.current_id() = $8
                 for update",
                lease.action_id.0,
                lease.owner,
                lease.fence,
                attempt,
                order_digest.to_string(),
                acting.at.to_sqlx() as _,
                body,
                lease.ledger.0,
            )
            .execute(&self.pool)
            .await?;
            Ok(written.rows_affected() == 1)
        })
        .await
    }

    /// Writes the `finished` row and ends the lease, both or neither. `false` when the lease is lost;
    /// then nothing was written.
    pub(crate) async fn finish(
        &self,
        name: AttemptName,
        order_digest: Digest,
        lease: LeaseGrant,
        receipt: &[u8],
    ) -> Result<bool, LedgerError> {
        let attempt = attempt_number(name.attempt)?;
        bounded(async {
            let written = sqlx::query!(
                "with ended as (
                     delete from worker_leases
                     where action_id = $1 and owner_id = $2 and fence = $3 and ledger.current_id() = $8
                     returning action_id, fence
                 )
                 insert into ledger.rows (kind, action_id, attempt, order_digest, fence, at, receipt)
                 select 'finished', action_id, $4, $5, fence, $6, $7 from ended",
                lease.action_id.0,
                lease.owner,
                lease.fence,
                attempt,
                order_digest.to_string(),
                clock::now().to_sqlx() as _,
                receipt,
                lease.ledger.0,
            )
            .execute(&self.pool)
            .await?;
            Ok(written.rows_affected() == 1)
        })
        .await
    }
}
