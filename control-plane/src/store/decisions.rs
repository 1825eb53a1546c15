//! Decisions as they were taken.

use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A decision to store.
#[derive(Clone, Copy, Debug)]
pub struct NewDecision<'a> {
    /// Its id.
    pub id: DecisionId,
    /// The action it is about.
    pub action_id: Option<ActionId>,
    /// Whom it is about.
    pub principal: &'a str,
    /// `ALLOW` or `DENY`.
    pub effect: &'a str,
    /// The policy set it was taken from.
    pub policy_digest: &'a str,
    /// When.
    pub decided_at: Timestamp,
    /// Canonical JSON of everything it was given and all it answered.
    pub body: &'a [u8],
    /// The audit entry that holds the digest of the body.
    pub entry_id: EntryId,
}

/// A decision as stored.
#[derive(Clone, Debug)]
pub struct StoredDecision {
    /// Whom it is about.
    pub principal: String,
    /// Canonical JSON of everything it was given and all it answered.
    pub body: Vec<u8>,
}

/// Stores a decision.
pub async fn insert(conn: &mut PgConnection, new: NewDecision<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into decisions (id, action_id, principal, effect, policy_digest, decided_at, body, entry_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        new.id.0,
        new.action_id.map(|id| id.0),
        new.principal,
        new.effect,
        new.policy_digest,
        Stored::from(new.decided_at) as _,
        new.body,
        new.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One decision.
pub async fn find(conn: &mut PgConnection, id: DecisionId) -> Result<Option<StoredDecision>, Error> {
    Ok(sqlx::query_as!(StoredDecision, "select principal, body from decisions where id = $1", id.0)
        .fetch_optional(conn)
        .await?)
}
