//! What people are asked to agree to, and what they answered.

use aegis_contract::ids::{ActionId, EntryId};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A request for approval to add.
#[derive(Clone, Copy, Debug)]
pub struct NewRequest<'a> {
    /// The action.
    pub action_id: ActionId,
    /// Its number, from 1.
    pub round: u32,
    /// Canonical JSON of what is to be approved.
    pub body: &'a [u8],
    /// The roles that are asked.
    pub roles: &'a [String],
    /// When.
    pub asked_at: Timestamp,
    /// The audit entry that holds the digest of the body.
    pub entry_id: EntryId,
}

/// A request for approval, with the audit entry that says so.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number, from 1.
    pub round: i32,
    /// Canonical JSON of what is to be approved.
    pub body: Vec<u8>,
    /// When.
    pub asked_at: Stored,
    /// The bytes of the entry.
    pub entry: Vec<u8>,
}

/// An answer to add.
#[derive(Clone, Copy, Debug)]
pub struct NewAnswer<'a> {
    /// The action.
    pub action_id: ActionId,
    /// The request that is answered.
    pub round: u32,
    /// Who answers.
    pub principal: &'a str,
    /// `given`, `withdrawn` or `denied`.
    pub answer: &'static str,
    /// The text that says why.
    pub reason_id: Option<Uuid>,
    /// When.
    pub at: Timestamp,
    /// The audit entry that holds the digest of what was answered.
    pub entry_id: EntryId,
}

/// An answer, with the audit entry that says so.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request that was answered.
    pub round: i32,
    /// Who answered.
    pub principal: String,
    /// `given`, `withdrawn` or `denied`.
    pub answer: String,
    /// When.
    pub at: Stored,
    /// Names the entry.
    pub entry_id: Uuid,
    /// The bytes of the entry.
    pub entry: Vec<u8>,
}

/// Adds a request, which makes earlier ones of its action void.
pub async fn insert_request(conn: &mut PgConnection, new: NewRequest<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into approval_requests (action_id, round, body, roles, asked_at, entry_id) \
         values ($1, $2, $3, $4, $5, $6)",
        new.action_id.0,
        new.round.cast_signed(),
        new.body,
        new.roles,
        Stored::from(new.asked_at) as _,
        new.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The requests of an action, oldest first; the newest is the valid one. Nothing when they and the
/// action's audit entries of that kind do not stand one for one.
pub async fn requests(
    conn: &mut PgConnection,
    action_id: ActionId,
    kind: &str,
) -> Result<Option<Vec<Request>>, Error> {
    let rows = sqlx::query!(
        r#"select r.round as "round?", r.body as "body?", r.asked_at as "asked_at?: Stored", e.body as "entry?"
           from (select * from approval_requests where action_id = $1) r
           full join (select id, body from audit.recorded where action_id = $1 and kind = $2) e on e.id = r.entry_id
           order by r.round"#,
        action_id.0,
        kind,
    )
    .fetch_all(conn)
    .await?;
    let requests = rows.into_iter().map(|row| {
        Some(Request { round: row.round?, body: row.body?, asked_at: row.asked_at?, entry: row.entry? })
    });
    Ok(requests.collect())
}

/// Adds an answer, in place of any earlier one of the same person.
pub async fn insert_answer(conn: &mut PgConnection, new: NewAnswer<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into approvals (action_id, round, principal, answer, reason_id, at, entry_id) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        new.action_id.0,
        new.round.cast_signed(),
        new.principal,
        new.answer,
        new.reason_id,
        Stored::from(new.at) as _,
        new.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every answer to the requests of an action, oldest first. Nothing when they and the action's audit
/// entries of those kinds do not stand one for one.
pub async fn answers(
    conn: &mut PgConnection,
    action_id: ActionId,
    kinds: &[String],
) -> Result<Option<Vec<Answer>>, Error> {
    let rows = sqlx::query!(
        r#"select a.round as "round?", a.principal as "principal?", a.answer as "answer?", a.at as "at?: Stored",
                  e.id as "entry_id?", e.body as "entry?"
           from (select * from approvals where action_id = $1) a
           full join (select id, body from audit.recorded where action_id = $1 and kind = any($2)) e
               on e.id = a.entry_id
           order by a.number"#,
        action_id.0,
        kinds,
    )
    .fetch_all(conn)
    .await?;
    let answers = rows.into_iter().map(|row| {
        Some(Answer {
            round: row.round?,
            principal: row.principal?,
            answer: row.answer?,
            at: row.at?,
            entry_id: row.entry_id?,
            entry: row.entry?,
        })
    });
    Ok(answers.collect())
}

/// The actions that wait for approval, the newest first, those after `before` left out; only those
/// that ask one of these roles, if any are named.
pub async fn awaiting(
    conn: &mut PgConnection,
    roles: Option<&[String]>,
    before: Option<ActionId>,
    limit: i64,
) -> Result<Vec<ActionId>, Error> {
    let ids = sqlx::query_scalar!(
        "select a.id from actions a \
         join lateral (select roles from approval_requests r where r.action_id = a.id \
                       order by r.round desc limit 1) r on true \
         where a.state = 'awaiting-approval' and ($1::text[] is null or r.roles && $1) \
           and ($2::uuid is null or a.id < $2) \
         order by a.id desc limit $3",
        roles,
        before.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(ActionId).collect())
}
