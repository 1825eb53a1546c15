//! Intents: what will be ordered, newest last.

use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use aegis_contract::order::Preconditions;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// One intent.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Attempt it was written for.
    pub attempt: u32,
    /// The audit entry whose bytes the order carries.
    pub entry_id: EntryId,
    /// The decision that allowed it.
    pub decision_id: DecisionId,
    /// The policy set of that decision.
    pub policy_digest: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// What the decision saw of the fields to be written.
    pub preconditions: Preconditions,
    /// The leaf of its entry, sealed by whoever wrote it; absent where that was an earlier release.
    pub sealed_leaf: Option<Vec<u8>>,
}

/// Adds an intent, which supersedes the earlier ones of its action.
pub async fn insert(conn: &mut PgConnection, action_id: ActionId, intent: &Intent) -> Result<(), Error> {
    sqlx::query!(
        "insert into intents (action_id, attempt, entry_id, decision_id, policy_digest, decided_at, preconditions, \
             sealed_leaf) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        action_id.0,
        intent.attempt.cast_signed(),
        intent.entry_id.0,
        intent.decision_id.0,
        intent.policy_digest,
        Stored::from(intent.decided_at) as _,
        serde_json::to_value(&intent.preconditions).map_err(Error::internal)?,
        intent.sealed_leaf,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest intent of an action, with what its claim needs.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The intent.
    pub intent: Intent,
    /// The bytes of its audit entry.
    pub entry: Vec<u8>,
    /// When the intent was written, by the database's clock.
    pub written_at: Timestamp,
    /// Its place in the log, once it has one.
    pub index: Option<u64>,
    /// The number of the newest attempt; 0 before the first one.
    pub attempts_before: u32,
}

/// The newest intent of an action.
pub async fn newest(conn: &mut PgConnection, action_id: ActionId) -> Result<Option<Newest>, Error> {
    let row = sqlx::query!(
        r#"select i.attempt, i.entry_id, i.decision_id, i.policy_digest, i.decided_at as "decided_at: Stored",
                  i.preconditions, i.sealed_leaf, i.written_at as "written_at: Stored", e.body as "body!",
                  e.index,
                  coalesce((select max(attempt) from attempts where action_id = $1), 0) as "attempts_before!"
           from intents i join audit.recorded e on e.id = i.entry_id
           where i.action_id = $1 order by i.number desc limit 1"#,
        action_id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let intent = Intent {
            attempt: row.attempt.cast_unsigned(),
            entry_id: EntryId(row.entry_id),
            decision_id: DecisionId(row.decision_id),
            policy_digest: row.policy_digest,
            decided_at: row.decided_at.to_jiff(),
            preconditions: serde_json::from_value(row.preconditions).map_err(Error::internal)?,
            sealed_leaf: row.sealed_leaf,
        };
        let index = row.index.map(i64::cast_unsigned);
        Ok(Newest {
            intent,
            entry: row.body,
            written_at: row.written_at.to_jiff(),
            index,
            attempts_before: row.attempts_before.cast_unsigned(),
        })
    })
    .transpose()
}

/// Whether the newest intent of an action waits for its place in the log.
pub async fn is_newest_pending(conn: &mut PgConnection, action_id: ActionId) -> Result<bool, Error> {
    let pending = sqlx::query_scalar!(
        r#"select e.index is null as "pending!" from intents i join audit.recorded e on e.id = i.entry_id
           where i.action_id = $1 order by i.number desc limit 1"#,
        action_id.0
    );
    Ok(pending.fetch_optional(conn).await?.unwrap_or(false))
}
