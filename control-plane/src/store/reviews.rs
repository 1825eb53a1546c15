//! Actions that somebody must look at afterwards.

use aegis_contract::action::ActionType;
use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::target::Target;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// One review that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct NewReview<'a> {
    /// The action.
    pub action_id: ActionId,
    /// The role whose people are asked.
    pub role: &'a str,
    /// Since when.
    pub asked_at: Timestamp,
    /// Until when.
    pub due_at: Timestamp,
    /// The entry that asks.
    pub entry_id: EntryId,
}

/// A review that nobody has done, with what it is about.
#[derive(Clone, Debug)]
pub struct OpenReview {
    /// The action.
    pub action_id: ActionId,
    /// Its type.
    pub action_type: ActionType,
    /// Its target.
    pub target: Target,
    /// Who asked for it.
    pub requested_by: String,
    /// The role whose people are asked.
    pub role: String,
    /// Since when.
    pub asked_at: Timestamp,
    /// Until when.
    pub due_at: Timestamp,
}

/// Asks for a review.
pub async fn insert(conn: &mut PgConnection, new: NewReview<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into reviews (action_id, role, asked_at, due_at, entry_id) values ($1, $2, $3, $4, $5)",
        new.action_id.0,
        new.role,
        Stored::from(new.asked_at) as _,
        Stored::from(new.due_at) as _,
        new.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The roles whose people were asked to look at an action, each with whether somebody still has to.
pub async fn of_action(conn: &mut PgConnection, action_id: ActionId) -> Result<Vec<(String, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select role, closed_at is null as "is_open!" from reviews where action_id = $1 order by role"#,
        action_id.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.role, row.is_open)).collect())
}

/// Reviews that nobody has done, the oldest first, those after `after` only; of these roles, or of all.
pub async fn open(
    conn: &mut PgConnection,
    roles: Option<&[String]>,
    after: Option<(ActionId, &str)>,
    limit: i64,
) -> Result<Vec<OpenReview>, Error> {
    let rows = sqlx::query!(
        r#"select r.action_id, r.role, r.asked_at as "asked_at: Stored", r.due_at as "due_at: Stored",
                  a.type as action_type, a.cluster, a.namespace, a.kind, a.name, a.requested_by
           from reviews r join actions a on a.id = r.action_id
           where r.closed_at is null and ($1::text[] is null or r.role = any($1))
             and ($2::uuid is null or (r.action_id, r.role) > ($2, $3::text))
           order by r.action_id, r.role limit $4"#,
        roles,
        after.map(|(id, _)| id.0),
        after.map(|(_, role)| role),
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = row.kind.parse().map_err(Error::internal)?;
            Ok(OpenReview {
                action_id: ActionId(row.action_id),
                action_type: row.action_type.parse().map_err(Error::internal)?,
                target: Target { cluster: row.cluster, namespace: row.namespace, kind, name: row.name },
                requested_by: row.requested_by,
                role: row.role,
                asked_at: row.asked_at.to_jiff(),
                due_at: row.due_at.to_jiff(),
            })
        })
        .collect()
}

/// Notes who looked at an action for these roles, where nobody had.
pub async fn close(
    conn: &mut PgConnection,
    action_id: ActionId,
    roles: &[String],
    principal: &str,
    at: Timestamp,
    entry_id: EntryId,
) -> Result<(), Error> {
    sqlx::query!(
        "update reviews set closed_by = $3, closed_at = $4, closing_entry_id = $5 \
         where action_id = $1 and role = any($2) and closed_at is null",
        action_id.0,
        roles,
        principal,
        Stored::from(at) as _,
        entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many reviews nobody has done: those whose time is not over, and those whose time is.
pub async fn count_open(conn: &mut PgConnection) -> Result<(i64, i64), Error> {
    let counts = sqlx::query!(
        r#"select count(*) filter (where due_at > clock_timestamp()) as "waiting!",
                  count(*) filter (where due_at <= clock_timestamp()) as "overdue!"
           from reviews where closed_at is null"#
    )
    .fetch_one(conn)
    .await?;
    Ok((counts.waiting, counts.overdue))
}
