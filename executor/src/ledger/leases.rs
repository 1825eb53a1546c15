//! Leases: which process carries out an accepted action, by Postgres' clock. Every new holder has a
//! higher fence, and what an earlier holder still tries to write into the ledger is refused.

use aegis_contract::ids::{ActionId, LedgerId};
use uuid::Uuid;

use super::{Ledger, LedgerError, bounded};

/// How long a lease lasts unless renewed: long enough for a slow database, short enough that
/// another replica takes over well within 10 s.
pub(crate) const LEASE_SECONDS: f64 = 5.0;
/// Most actions one look takes over, so that replicas share the work after a crash.
const TAKE_OVER_MAX: i64 = 16;

/// The right to carry out one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseGrant {
    /// The action.
    pub(crate) action_id: ActionId,
    /// The holder.
    pub(crate) owner: Uuid,
    /// Higher than that of every earlier holder.
    pub(crate) fence: i64,
    /// The ledger that granted it; it holds in no other one.
    pub(crate) ledger: LedgerId,
}

impl Ledger {
    /// Takes over actions whose leases have run out.
    pub(crate) async fn take_over(&self, owner: Uuid) -> Result<Vec<LeaseGrant>, LedgerError> {
        bounded(async {
            let rows = sqlx::query!(
                r#"update worker_leases set owner_id = $1, fence = fence + 1, expires_at = now() + make_interval(secs => $2)
                 where action_id in (
                     select action_id from worker_leases where expires_at <= now()
                     order by expires_at limit $3 for update skip locked
                 ) and ledger.current_id() is not null
                 returning action_id, fence, ledger.current_id() as "ledger!""#,
                owner,
                LEASE_SECONDS,
                TAKE_OVER_MAX,
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| LeaseGrant {
                    action_id: ActionId(row.action_id),
                    owner,
                    fence: row.fence,
                    ledger: LedgerId(row.ledger),
                })
                .collect())
        })
        .await
    }

    /// Prolongs a lease. `false` when it has another holder, the action has ended, or the ledger is
    /// another one.
    pub(crate) async fn renew_lease(&self, lease: LeaseGrant) -> Result<bool, LedgerError> {
        bounded(async {
            let renewed = sqlx::query!(
                "update worker_leases set expires_at = now() + make_interval(secs => $4)
                 where action_id = $1 and owner_id = $2 and fence = $3 and ledger.current_id() = $5",
                lease.action_id.0,
                lease.owner,
                lease.fence,
                LEASE_SECONDS,
                lease.ledger.0,
            )
            .execute(&self.pool)
            .await?;
            Ok(renewed.rows_affected() == 1)
        })
        .await
    }

    /// Lets another replica take over at once.
    pub(crate) async fn release_lease(&self, lease: LeaseGrant) -> Result<(), LedgerError> {
        bounded(async {
            sqlx::query!(
                "update worker_leases set expires_at = now() where action_id = $1 and owner_id = $2 and fence = $3",
                lease.action_id.0,
                lease.owner,
                lease.fence,
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }
}
