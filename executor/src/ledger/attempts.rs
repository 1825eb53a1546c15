//! Attempts: accepted once, or closed once, never both.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, LedgerId};
use aegis_contract::receipt::{AttemptName, LedgerPosition};
use aegis_runtime::clock;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use super::leases::LEASE_SECONDS;
use super::stories::Story;
use super::{Ledger, LedgerError, attempt_number, bounded, is_duplicate, read_row};

/// What the ledger holds of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum KnownAttempt {
    /// Accepted from the order with this digest.
    Accepted {
        /// Of the order's payload.
        order_digest: Digest,
    },
    /// Refused for good; the receipt is the answer to the order with this digest.
    Refused {
        /// Of the order's payload.
        order_digest: Digest,
        /// The signed receipt.
        receipt: Vec<u8>,
    },
    /// Closed before its order came.
    Closed {
        /// How the ledger stood before.
        before: LedgerPosition,
    },
}

/// What the ledger holds that bears on an order.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The ledger.
    pub(crate) ledger: LedgerId,
    /// What it holds of the order's attempt, if anything.
    pub(crate) attempt: Option<KnownAttempt>,
    /// Whether an acting order used the order's nonce before.
    pub(crate) nonce_used: bool,
}

/// An acting order that passed every check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acceptance<'a> {
    /// The attempt.
    pub(crate) name: AttemptName,
    /// Digest of `order_bytes`.
    pub(crate) order_digest: Digest,
    /// The payload as it was signed.
    pub(crate) order_bytes: &'a [u8],
    /// The order's nonce.
    pub(crate) nonce: &'a str,
    /// The ledger the order names.
    pub(crate) ledger: LedgerId,
}

/// What became of an [`Acceptance`].
#[derive(Clone, Debug)]
pub(crate) enum Accepted {
    /// The row is written, and the lease with this fence is held by the owner that asked.
    Now {
        /// The first fence of the action.
        fence: i64,
        /// What its worker goes on from.
        story: Box<Story>,
    },
    /// The attempt is known meanwhile.
    AttemptKnown,
    /// Another attempt of the action was accepted.
    OtherAttempt,
    /// Another order used the nonce.
    NonceUsed,
    /// This is not the ledger that the order names.
    OtherLedger,
}

/// What a `resolve` finds after it closed all it may close.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    /// The action's accepted attempt is among those named.
    Accepted,
    /// The named attempt was refused with this receipt.
    Refused(Vec<u8>),
    /// The named attempt, and all earlier ones, never began and never will.
    Closed {
        /// How the ledger stood before.
        before: LedgerPosition,
    },
}

impl Ledger {
    /// What is known of an attempt and, if one is given, of the nonce of its order.
    pub(crate) async fn look_up(&self, name: AttemptName, nonce: Option<&str>) -> Result<Known, LedgerError> {
        let attempt = attempt_number(name.attempt)?;
        let found = bounded(async {
            Ok(sqlx::query!(
                r#"select this.id, row_number as "row_number?", kind as "kind?", order_digest, receipt,
                          exists (select from ledger.rows used where used.nonce = $3) as "nonce_used!"
                   from (select ledger.current_id() as id) as this
                   left join ledger.rows
                       on action_id = $1 and attempt = $2 and kind in ('accepted', 'closed')"#,
                name.action_id.0,
                attempt,
                nonce,
            )
            .fetch_one(&self.pool)
            .await?)
        })
        .await?;
        let ledger = LedgerId(found.id.ok_or(LedgerError::Unnamed)?);
        let (Some(row_number), Some(kind)) = (found.row_number, found.kind) else {
            return Ok(Known { ledger, attempt: None, nonce_used: found.nonce_used });
        };
        let order_digest = found.order_digest.as_deref().map(read_digest).transpose()?;
        let attempt = match (kind.as_str(), order_digest, found.receipt) {
            ("accepted", Some(order_digest), _) => KnownAttempt::Accepted { order_digest },
            ("closed", Some(order_digest), Some(receipt)) => KnownAttempt::Refused { order_digest, receipt },
            _ => {
                let before = LedgerPosition { id: ledger, row: read_row(row_number - 1)? };
                KnownAttempt::Closed { before }
            }
        };
        Ok(Known { ledger, attempt: Some(attempt), nonce_used: found.nonce_used })
    }

    /// Writes the `accepted` row and the lease of `owner`, both or neither.
    pub(crate) async fn accept(&self, order: Acceptance<'_>, owner: Uuid) -> Result<Accepted, LedgerError> {
        match bounded(self.insert_accepted(order, owner)).await {
            Err(LedgerError::Database(error)) if is_duplicate(&error, "rows_attempt_key") => {
                Ok(Accepted::AttemptKnown)
            }
            Err(LedgerError::Database(error)) if is_duplicate(&error, "rows_accepted_key") => {
                Ok(Accepted::OtherAttempt)
            }
            Err(LedgerError::Database(error)) if is_duplicate(&error, "rows_nonce_key") => {
                Ok(Accepted::NonceUsed)
            }
            Ok(Some((fence, story))) => Ok(Accepted::Now { fence, story: Box::new(story) }),
            Ok(None) => Ok(Accepted::OtherLedger),
            Err(error) => Err(error),
        }
    }

    async fn insert_accepted(
        &self,
        order: Acceptance<'_>,
        owner: Uuid,
    ) -> Result<Option<(i64, Story)>, LedgerError> {
        let Acceptance { name, order_digest, order_bytes, nonce, ledger } = order;
        let accepted_at = clock::now();
        let row = sqlx::query!(
            "with lease as (
                 insert into worker_leases as held (action_id, owner_id, fence, expires_at)
                 select $1, $2, 1, now() + make_interval(secs => $3) where ledger.current_id() = $4
                 on conflict (action_id) do update
                     set owner_id = excluded.owner_id, fence = held.fence + 1, expires_at = excluded.expires_at
                 returning fence
             )
             insert into ledger.rows (kind, action_id, attempt, order_digest, nonce, fence, at, order_bytes)
             select 'accepted', $1, $5, $6, $7, fence, $8, $9 from lease
             returning fence, row_number",
            name.action_id.0,
            owner,
            LEASE_SECONDS,
            ledger.0,
            attempt_number(name.attempt)?,
            order_digest.to_string(),
            nonce,
            accepted_at.to_sqlx() as _,
            order_bytes,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let story = Story {
            name,
            order_digest,
            order_bytes: order_bytes.to_vec(),
            accepted_at,
            writes: Vec::new(),
            receipt: None,
            ledger: LedgerPosition { id: ledger, row: read_row(row.row_number)? },
        };
        Ok(Some((row.fence, story)))
    }

    /// Closes an attempt with the signed refusal of its order. `false` when the attempt is known
    /// meanwhile, or this is not `ledger` any more, and nothing was written.
    pub(crate) async fn close_refused(
        &self,
        name: AttemptName,
        order_digest: Digest,
        ledger: LedgerId,
        receipt: &[u8],
    ) -> Result<bool, LedgerError> {
        let attempt = attempt_number(name.attempt)?;
        let written = bounded(async {
            Ok(sqlx::query!(
                "insert into ledger.rows (kind, action_id, attempt, order_digest, fence, at, receipt)
                 select 'closed', $1, $2, $3, 0, $4, $5 where ledger.current_id() = $6 on conflict do nothing",
                name.action_id.0,
                attempt,
                order_digest.to_string(),
                clock::now().to_sqlx() as _,
                receipt,
                ledger.0,
            )
            .execute(&self.pool)
            .await?)
        })
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Closes the named attempt and all earlier ones that are not known, and says how the named one
    /// stands.
    pub(crate) async fn resolve(&self, name: AttemptName) -> Result<Resolved, LedgerError> {
        let attempt = attempt_number(name.attempt)?;
        let accepted = bounded(async {
            let mut transaction = self.pool.begin().await?;
            // Waits for an acceptance that is being committed; then that attempt is known. The named attempt
            // comes first: the rows of the others must not count as there before it.
            sqlx::query!(
                "insert into ledger.rows (kind, action_id, attempt, fence, at)
                 select 'closed', $1, number, 0, $3 from generate_series(1, $2::integer) as number
                 where ledger.current_id() is not null and not exists (
                     select from ledger.rows known
                     where known.action_id = $1 and known.attempt = number and known.kind in ('accepted', 'closed')
                 )
                 order by number desc
                 on conflict do nothing",
                name.action_id.0,
                attempt,
                clock::now().to_sqlx() as _,
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            self.accepted_attempt(name.action_id).await
        })
        .await?;
        if accepted.is_some_and(|accepted| accepted <= attempt) {
            return Ok(Resolved::Accepted);
        }
        Ok(match self.look_up(name, None).await?.attempt {
            Some(KnownAttempt::Refused { receipt, .. }) => Resolved::Refused(receipt),
            Some(KnownAttempt::Closed { before }) => Resolved::Closed { before },
            Some(KnownAttempt::Accepted { .. }) | None => {
                return Err(LedgerError::Unreadable(format!("attempt {attempt} was not closed")));
            }
        })
    }

    async fn accepted_attempt(&self, action_id: ActionId) -> Result<Option<i32>, LedgerError> {
        Ok(sqlx::query_scalar!(
            "select attempt from ledger.rows where action_id = $1 and kind = 'accepted'",
            action_id.0,
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}

pub(super) fn read_digest(text: &str) -> Result<Digest, LedgerError> {
    text.parse().map_err(|_| LedgerError::Unreadable(format!("digest {text}")))
}
