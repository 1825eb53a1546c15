//! Decisions as they were taken.

use std::time::Duration;

use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use futures_util::{Stream, TryStreamExt as _};
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
