//! Decisions as they were taken.

use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

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

/// Stores decisions by one statement, however many they are.
pub async fn insert_all(conn: &mut PgConnection, new: &[NewDecision<'_>]) -> Result<(), Error> {
    let ids: Vec<Uuid> = new.iter().map(|new| new.id.0).collect();
    let action_ids: Vec<Option<Uuid>> = new.iter().map(|new| new.action_id.map(|id| id.0)).collect();
    let principals: Vec<&str> = new.iter().map(|new| new.principal).collect();
    let effects: Vec<&str> = new.iter().map(|new| new.effect).collect();
    let policy_digests: Vec<&str> = new.iter().map(|new| new.policy_digest).collect();
    let times: Vec<Stored> = new.iter().map(|new| new.decided_at.into()).collect();
    let bodies: Vec<&[u8]> = new.iter().map(|new| new.body).collect();
    let entry_ids: Vec<Uuid> = new.iter().map(|new| new.entry_id.0).collect();
    sqlx::query!(
        "insert into decisions (id, action_id, principal, effect, policy_digest, decided_at, body, entry_id) \
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], \
             $7::bytea[], $8::uuid[])",
        &ids,
        &action_ids as _,
        &principals as _,
        &effects as _,
        &policy_digests as _,
        &times as _,
        &bodies as _,
        &entry_ids,
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
