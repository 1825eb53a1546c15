//! Sessions of people, and the refresh tokens that continue them.

use std::collections::HashMap;

use aegis_contract::digest::Digest;
use aegis_contract::ids::{SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A session that is not over.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What the person signed in with, in its own words.
    pub agent: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last continued.
    pub refreshed_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A session to begin.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// What they signed in with, in its own words.
    pub agent: &'a str,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A refresh token that somebody showed, and its session as it stands, locked.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// Since when.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When the token was replaced; absent for the newest one.
    pub used_at: Option<Timestamp>,
    /// Whether the session is not over, and the person may sign in.
    pub is_live: bool,
}

/// Which sessions of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(SessionId),
    /// All.
    All,
}

/// Begins a session.
pub async fn insert(conn: &mut PgConnection, new: NewSession<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into sessions (id, user_id, agent, created_at, refreshed_at, expires_at) \
         values ($1, $2, $3, $4, $4, $5)",
        new.id.0,
        new.user.0,
        new.agent,
        Stored::from(new.at) as _,
        Stored::from(new.expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How somebody stands who calls in a session.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Their present roles, sorted.
    pub roles: Vec<String>,
    /// Whether they have a second factor that counts.
    pub is_enrolled: bool,
    /// Whether they showed it lately in this session.
    pub is_stepped_up: bool,
}

/// How people stand in these sessions of theirs that are not over, as far as they may sign in. Their second factor was
/// shown lately when that was less than `good_for` ago.
pub async fn standings(
    conn: &mut PgConnection,
    wanted: &[(SessionId, UserId)],
    good_for: SignedDuration,
) -> Result<HashMap<(SessionId, UserId), Standing>, Error> {
    let ids: Vec<_> = wanted.iter().map(|(session, _)| session.0).collect();
    let rows = sqlx::query!(
        r#"select sessions.id, sessions.user_id,
                  array(select role from user_roles where user_id = users.id order by role) as "roles!",
                  confirmed_at is not null as "is_enrolled!",
                  coalesce(stepped_up_at > clock_timestamp() - make_interval(secs => $2), false) as "is_stepped_up!"
           from sessions join users on users.id = sessions.user_id
               left join second_factors on second_factors.user_id = users.id
           where sessions.id = any($1) and ended_at is null and expires_at > clock_timestamp()
             and disabled_at is null"#,
        &ids,
        good_for.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    // Under whose session it is: whoever names somebody else's finds nothing.
    let standings = rows.into_iter().map(|row| {
        let standing =
            Standing { roles: row.roles, is_enrolled: row.is_enrolled, is_stepped_up: row.is_stepped_up };
        ((SessionId(row.id), UserId(row.user_id)), standing)
    });
    Ok(standings.collect())
}

/// Notes that the person has shown their second factor in a session of theirs, and when; nothing when it is over.
pub async fn step_up(
    conn: &mut PgConnection,
    id: SessionId,
    user: UserId,
) -> Result<Option<Timestamp>, Error> {
    let at = sqlx::query_scalar!(
        r#"update sessions set stepped_up_at = clock_timestamp()
           where id = $1 and user_id = $2 and ended_at is null and expires_at > clock_timestamp()
           returning stepped_up_at as "at!: Stored""#,
        id.0,
        user.0,
    );
    Ok(at.fetch_optional(conn).await?.map(Stored::to_jiff))
}

/// When a session was begun, and whether its person ever showed a second factor in it; nothing of one that is unknown.
pub async fn beginning(conn: &mut PgConnection, id: SessionId) -> Result<Option<(Timestamp, bool)>, Error> {
    let row = sqlx::query!(
        r#"select created_at as "created_at: Stored", stepped_up_at is not null as "is_proven!"
           from sessions where id = $1"#,
        id.0
    );
    let row = row.fetch_optional(conn).await?;
    Ok(row.map(|row| (row.created_at.to_jiff(), row.is_proven)))
}

/// The sessions of a person that are not over, the oldest first, those after `after` only.
pub async fn live(
    conn: &mut PgConnection,
    user: UserId,
    after: Option<SessionId>,
    limit: i64,
) -> Result<Vec<Session>, Error> {
    let rows = sqlx::query!(
        r#"select id, agent, created_at as "created_at: Stored", refreshed_at as "refreshed_at: Stored",
                  expires_at as "expires_at: Stored"
           from sessions
           where user_id = $1 and ended_at is null and expires_at > clock_timestamp()
             and ($2::uuid is null or id > $2)
           order by id limit $3"#,
        user.0,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Session {
            id: SessionId(row.id),
            agent: row.agent,
            created_at: row.created_at.to_jiff(),
            refreshed_at: row.refreshed_at.to_jiff(),
            expires_at: row.expires_at.to_jiff(),
        })
        .collect())
}

/// Ends sessions of a person; those that were not over.
pub async fn end(conn: &mut PgConnection, user: UserId, which: Which) -> Result<Vec<SessionId>, Error> {
    let (one, not) = match which {
        Which::One(id) => (Some(id.0), None),
        Which::AllBut(id) => (None, Some(id.0)),
        Which::All => (None, None),
    };
    let ended = sqlx::query_scalar!(
        "update sessions set ended_at = clock_timestamp() \
         where user_id = $1 and ended_at is null and expires_at > clock_timestamp() \
           and ($2::uuid is null or id = $2) and ($3::uuid is null or id <> $3) \
         returning id",
        user.0,
        one,
        not,
    )
    .fetch_all(conn)
    .await?;
    Ok(ended.into_iter().map(SessionId).collect())
}

/// Continues a session until `expires_at`.
pub async fn extend(
    conn: &mut PgConnection,
    id: SessionId,
    at: Timestamp,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update sessions set refreshed_at = $2, expires_at = $3 where id = $1",
        id.0,
        Stored::from(at) as _,
        Stored::from(expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds the newest refresh token of a session.
pub async fn insert_token(conn: &mut PgConnection, hash: Digest, session: SessionId) -> Result<(), Error> {
    sqlx::query!(
        "insert into refresh_tokens (hash, session_id) values ($1, $2)",
        hash.as_bytes().as_slice(),
        session.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a refresh token was replaced.
pub async fn use_token(conn: &mut PgConnection, hash: Digest, at: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update refresh_tokens set used_at = $2 where hash = $1",
        hash.as_bytes().as_slice(),
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A refresh token that is known, with its session locked: whoever shows it at the same time waits.
pub async fn present(conn: &mut PgConnection, hash: Digest) -> Result<Option<Presented>, Error> {
    let session = sqlx::query!(
        r#"select sessions.id, user_id, sessions.created_at as "created_at: Stored",
                  expires_at as "expires_at: Stored",
                  ended_at is null and expires_at > clock_timestamp() and disabled_at is null as "is_live!"
           from sessions join users on users.id = user_id
           where sessions.id = (select session_id from refresh_tokens where hash = $1)
           for update of sessions"#,
        hash.as_bytes().as_slice(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(session) = session else { return Ok(None) };
    // Read after the lock: a statement that waited for it still sees what was there before.
    let used_at = used_at(conn, hash).await?;
    Ok(Some(Presented {
        session: SessionId(session.id),
        user: UserId(session.user_id),
        created_at: session.created_at.to_jiff(),
        expires_at: session.expires_at.to_jiff(),
        used_at,
        is_live: session.is_live,
    }))
}

/// When a refresh token was replaced.
pub async fn used_at(conn: &mut PgConnection, hash: Digest) -> Result<Option<Timestamp>, Error> {
    let used_at = sqlx::query_scalar!(
        r#"select used_at as "used_at: Stored" from refresh_tokens where hash = $1"#,
        hash.as_bytes().as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(used_at.flatten().map(Stored::to_jiff))
}

/// Forgets sessions that ended by themselves before `before`, with their tokens.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from sessions where expires_at < $1", Stored::from(before) as _)
        .execute(conn)
        .await?;
    Ok(())
}
