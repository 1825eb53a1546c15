//! Turns at disruption budgets: of the actions that share one, one at a time takes pods down. A turn belongs to the
//! action, whichever process is at work on it, and ends with the action: its row goes with that of the lease.

use aegis_contract::ids::ActionId;

use super::leases::LeaseGrant;
use super::{Ledger, LedgerError, bounded};

/// What became of asking for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the action's, at every budget that was named.
    Taken,
    /// Another action has it.
    Behind(ActionId),
    /// The lease is lost; no turn was taken.
    LeaseLost,
}

impl Ledger {
    /// Takes the action's turn at the budgets of these uids: at all of them, or at none.
    pub(crate) async fn take_turn(&self, lease: LeaseGrant, budgets: &[String]) -> Result<Turn, LedgerError> {
        bounded(async {
            loop {
                // `None`: another action's turn ended between two looks.
                if let Some(turn) = self.try_turn(lease, budgets).await? {
                    return Ok(turn);
                }
            }
        })
        .await
    }

    async fn try_turn(&self, lease: LeaseGrant, budgets: &[String]) -> Result<Option<Turn>, LedgerError> {
        let mut transaction = self.pool.begin().await?;
        let held = sqlx::query_scalar!(
            "select action_id from worker_leases
             where action_id = $1 and owner_id = $2 and fence = $3 and ledger.current_id() = $4
             for key share",
            lease.action_id.0,
            lease.owner,
            lease.fence,
            lease.ledger.0,
        );
        if held.fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(Some(Turn::LeaseLost));
        }
        // In one order, so that no two wait for each other: a row that another transaction is about to write is
        // waited for.
        sqlx::query!(
            "insert into budget_turns (budget_uid, action_id)
             select budget_uid, $1 from unnest($2::text[]) as budget_uid order by budget_uid
             on conflict do nothing",
            lease.action_id.0,
            budgets,
        )
        .execute(&mut *transaction)
        .await?;
        let holders = sqlx::query_scalar!(
            "select action_id from budget_turns where budget_uid = any($1) order by budget_uid",
            budgets,
        )
        .fetch_all(&mut *transaction)
        .await?;
        if let Some(other) = holders.iter().find(|holder| **holder != lease.action_id.0) {
            return Ok(Some(Turn::Behind(ActionId(*other))));
        }
        if holders.len() < budgets.len() {
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some(Turn::Taken))
    }

    /// An action that has its turn at one of the budgets of these uids.
    pub(crate) async fn turn_at(&self, budgets: &[String]) -> Result<Option<ActionId>, LedgerError> {
        if budgets.is_empty() {
            return Ok(None);
        }
        bounded(async {
            let holder = sqlx::query_scalar!(
                "select action_id from budget_turns where budget_uid = any($1) order by budget_uid limit 1",
                budgets,
            );
            Ok(holder.fetch_optional(&self.pool).await?.map(ActionId))
        })
        .await
    }
}
