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
}

/// Adds an intent, which supersedes the earlier ones of its action.
pub async fn insert(conn: &mut PgConnection, action_id: ActionId, intent: &Intent) -> Result<(), Error> {
    sqlx::query!(
        "insert into intents (action_id, attempt, entry_id, decision_id, policy_digest, decided_at, preconditions) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        action_id.0,
        intent.attempt.cast_signed(),
        intent.entry_id.0,
        intent.decision_id.0,
        intent.policy_digest,
        Stored::from(intent.decided_at) as _,
        serde_json::to_value(&intent.preconditions).map_err(Error::internal)?,
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
    /// The number of the newest attempt; 0 before the first one.
    pub attempts_before: u32,
}

/// The newest intent of an action.
pub async fn newest(conn: &mut PgConnection, action_id: ActionId) -> Result<Option<Newest>, Error> {
    let row = sqlx::query!(
        r#"select i.attempt, i.entry_id, i.decision_id, i.policy_digest, i.decided_at as "decided_at: Stored",
                  i.preconditions, e.body,
                  coalesce((select max(attempt) from attempts where action_id = $1), 0) as "attempts_before!"
           from intents i join audit.entries e on e.id = i.entry_id
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
        };
        Ok(Newest { intent, entry: row.body, attempts_before: row.attempts_before.cast_unsigned() })
    })
    .transpose()
}
