//! Roles that somebody was asked to be given, and who agreed.

use aegis_contract::ids::{EntryId, GrantId, UserId};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A request as it is stored, with the audit entry that asks.
#[derive(Clone, Debug)]
pub struct RoleGrant {
    /// Its id.
    pub id: GrantId,
    /// The person who is to hold the role.
    pub user: UserId,
    /// The role.
    pub role: String,
    /// The person who asked.
    pub requested_by: UserId,
    /// Who had to agree when it was last decided.
    pub groups: Value,
    /// `waiting`, `granted` or `denied`.
    pub state: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Afterwards nobody can agree any more.
    pub expires_at: Timestamp,
    /// The bytes of the entry; nothing when there is none.
    pub entry: Option<Vec<u8>>,
}

/// One person's word for it, with the audit entry that says so.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Who.
    pub user: UserId,
    /// Names the entry.
    pub entry_id: EntryId,
    /// Its bytes; nothing when there is none.
    pub entry: Option<Vec<u8>>,
}

/// A request to add.
#[derive(Clone, Copy, Debug)]
pub struct NewGrant<'a> {
    /// Its id.
    pub id: GrantId,
    /// The person who is to hold the role.
    pub user: UserId,
    /// The role.
    pub role: &'a str,
    /// The person who asks.
    pub requested_by: UserId,
    /// Who must agree.
    pub groups: &'a Value,
    /// When.
    pub asked_at: Timestamp,
    /// Afterwards nobody can agree any more.
    pub expires_at: Timestamp,
    /// The audit entry that asks.
    pub entry_id: EntryId,
}

struct Row {
    id: Uuid,
    user_id: Uuid,
    role: String,
    requested_by: Uuid,
    groups: Value,
    state: String,
    asked_at: Stored,
    expires_at: Stored,
    entry: Option<Vec<u8>>,
}

impl From<Row> for RoleGrant {
    fn from(row: Row) -> Self {
        Self {
            id: GrantId(row.id),
            user: UserId(row.user_id),
            role: row.role,
            requested_by: UserId(row.requested_by),
            groups: row.groups,
            state: row.state,
            asked_at: row.asked_at.to_jiff(),
            expires_at: row.expires_at.to_jiff(),
            entry: row.entry,
        }
    }
}

/// Adds a request that waits for people.
pub async fn insert(conn: &mut PgConnection, new: NewGrant<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into role_grants (id, user_id, role, requested_by, groups, state, asked_at, expires_at, entry_id) \
         values ($1, $2, $3, $4, $5, 'waiting', $6, $7, $8)",
        new.id.0,
        new.user.0,
        new.role,
        new.requested_by.0,
        new.groups,
        Stored::from(new.asked_at) as _,
        Stored::from(new.expires_at) as _,
        new.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A request.
pub async fn find(conn: &mut PgConnection, id: GrantId) -> Result<Option<RoleGrant>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, user_id, role, requested_by, groups, state, asked_at as "asked_at: Stored",
                  expires_at as "expires_at: Stored",
                  (select body from audit.recorded where id = entry_id limit 1) as entry
           from role_grants where id = $1"#,
        id.0,
    );
    Ok(row.fetch_optional(conn).await?.map(RoleGrant::from))
}

/// A request that nobody else answers before the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: GrantId) -> Result<Option<RoleGrant>, Error> {
    sqlx::query_scalar!("select id from role_grants where id = $1 for update", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    find(conn, id).await
}

/// The request to give a person a role that waits for people and has time left.
pub async fn waiting_for(
    conn: &mut PgConnection,
    user: UserId,
    role: &str,
) -> Result<Option<GrantId>, Error> {
    let id = sqlx::query_scalar!(
        "select id from role_grants where user_id = $1 and role = $2 and state = 'waiting' \
             and expires_at > clock_timestamp() order by id limit 1",
        user.0,
        role,
    );
    Ok(id.fetch_optional(conn).await?.map(GrantId))
}

/// The requests that wait for people and have time left, the oldest first, those after `after` only: those that ask one
/// of these roles, or were made by this person; all where no roles are named.
pub async fn waiting(
    conn: &mut PgConnection,
    roles: Option<&[String]>,
    requested_by: UserId,
    after: Option<GrantId>,
    limit: i64,
) -> Result<Vec<RoleGrant>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, user_id, role, requested_by, groups, state, asked_at as "asked_at: Stored",
                  expires_at as "expires_at: Stored",
                  (select body from audit.recorded where id = entry_id limit 1) as entry
           from role_grants
           where state = 'waiting' and expires_at > clock_timestamp() and ($3::uuid is null or id > $3)
             and ($1::text[] is null or requested_by = $2
                  or exists (select from jsonb_array_elements(groups) asked where asked->>'role' = any($1)))
           order by id limit $4"#,
        roles,
        requested_by.0,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(RoleGrant::from).collect())
}

/// Says who has to agree by now.
pub async fn set_groups(conn: &mut PgConnection, id: GrantId, groups: &Value) -> Result<(), Error> {
    sqlx::query!("update role_grants set groups = $2 where id = $1", id.0, groups).execute(conn).await?;
    Ok(())
}

/// Ends a request that waited; `state` is `granted` or `denied`.
pub async fn end(conn: &mut PgConnection, id: GrantId, state: &'static str) -> Result<bool, Error> {
    let done =
        sqlx::query!("update role_grants set state = $2 where id = $1 and state = 'waiting'", id.0, state,);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Adds a person's word.
pub async fn insert_approval(
    conn: &mut PgConnection,
    id: GrantId,
    user: UserId,
    entry_id: EntryId,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into role_grant_approvals (grant_id, user_id, entry_id) values ($1, $2, $3)",
        id.0,
        user.0,
        entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Who agreed, each with the entry that says so.
pub async fn approvals(conn: &mut PgConnection, id: GrantId) -> Result<Vec<Approval>, Error> {
    let rows = sqlx::query!(
        "select user_id, entry_id, (select body from audit.recorded where id = entry_id limit 1) as entry \
         from role_grant_approvals where grant_id = $1 order by entry_id",
        id.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Approval { user: UserId(row.user_id), entry_id: EntryId(row.entry_id), entry: row.entry })
        .collect())
}
