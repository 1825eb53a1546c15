//! Decisions as they were taken.

use std::time::Duration;

use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use futures_util::{Stream, TryStreamExt as _};
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

/// Lets the statements of this transaction take longer than others may.
pub async fn take_time(conn: &mut PgConnection, time: Duration) -> Result<(), Error> {
    let milliseconds = time.as_millis().to_string();
    sqlx::query_scalar!("select set_config('statement_timeout', $1, true)", milliseconds)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// The bodies of all decisions taken in a span of time, the first instant in it and the last not, in no
/// order. They are read as they are taken from the stream: a span may hold more than fits in memory.
pub fn bodies(
    conn: &mut PgConnection,
    since: Timestamp,
    until: Timestamp,
) -> impl Stream<Item = Result<Vec<u8>, Error>> + '_ {
    let (since, until) = (Stored::from(since), Stored::from(until));
    sqlx::query_scalar!(
        "select body from decisions where decided_at >= $1 and decided_at < $2",
        since as _,
        until as _,
    )
    .fetch(conn)
    .map_err(Error::from)
}

/// One decision.
pub async fn find(conn: &mut PgConnection, id: DecisionId) -> Result<Option<StoredDecision>, Error> {
    Ok(sqlx::query_as!(StoredDecision, "select principal, body from decisions where id = $1", id.0)
        .fetch_optional(conn)
        .await?)
}
