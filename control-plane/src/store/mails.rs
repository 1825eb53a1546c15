//! The outbox of mails that somebody asked for, and how many each recipient was sent.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A mail that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct NewMail<'a> {
    /// Its id.
    pub id: Uuid,
    /// What it is about: `password-reset` or `sign-up`.
    pub purpose: &'static str,
    /// Whom it is for, as whoever asked has written it.
    pub email: &'a str,
    /// The request that asks.
    pub request_id: &'a str,
    /// After how many seconds it is given up.
    pub lifetime_seconds: f64,
}

/// A mail that this process is to send now.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub purpose: String,
    /// Whom it is for, as whoever asked has written it.
    pub email: String,
    /// The request that asked.
    pub request_id: String,
    /// How many tries there were, this one included.
    pub tries: i32,
    /// When its token is over.
    pub expires_at: Timestamp,
}

/// Puts a mail into the outbox; the same one again while it waits is the same, and writes as much: nobody shall see by
/// the time it takes whether a mail to that address waits. False when `waiting_max` of its purpose wait.
pub async fn put(conn: &mut PgConnection, mail: NewMail<'_>, waiting_max: i64) -> Result<bool, Error> {
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select from mails where purpose = $2 limit $1) as waiting"#,
        waiting_max,
        mail.purpose,
    )
    .fetch_one(&mut *conn)
    .await?;
    if waiting >= waiting_max {
        return Ok(false);
    }
    sqlx::query!(
        "insert into mails (id, purpose, email, request_id, due_at, expires_at) \
         values ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + make_interval(secs => $5)) \
         on conflict (purpose, lower(email)) do update set request_id = excluded.request_id",
        mail.id,
        mail.purpose,
        mail.email,
        mail.request_id,
        mail.lifetime_seconds,
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// Takes up to `limit` mails that are due, those first whose token is over first, for `seconds`: after that another
/// replica takes them, and they are sent again.
pub async fn take(conn: &mut PgConnection, seconds: f64, limit: i64) -> Result<Vec<Taken>, Error> {
    let rows = sqlx::query!(
        r#"update mails set tries = tries + 1, due_at = clock_timestamp() + make_interval(secs => $1)
           where id in (
               select id from mails where due_at <= clock_timestamp() and expires_at > clock_timestamp()
               order by expires_at limit $2 for update skip locked)
           returning id, purpose, email, request_id, tries, expires_at as "expires_at: Stored""#,
        seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let taken = rows.into_iter().map(|row| Taken {
        id: row.id,
        purpose: row.purpose,
        email: row.email,
        request_id: row.request_id,
        tries: row.tries,
        expires_at: row.expires_at.to_jiff(),
    });
    Ok(taken.collect())
}

/// Says that it is known what is sent; false when that was known already.
pub async fn begin(conn: &mut PgConnection, id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query!("update mails set is_prepared = true where id = $1 and not is_prepared", id);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Takes a mail out of the outbox.
pub async fn remove(conn: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    sqlx::query!("delete from mails where id = $1", id).execute(conn).await?;
    Ok(())
}

/// Has a mail sent again after so many seconds, unless another replica has taken it since.
pub async fn postpone(conn: &mut PgConnection, id: Uuid, tries: i32, seconds: f64) -> Result<(), Error> {
    sqlx::query!(
        "update mails set due_at = clock_timestamp() + make_interval(secs => $3) where id = $1 and tries = $2",
        id,
        tries,
        seconds,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out of the outbox what is over; how many that were.
pub async fn give_up(conn: &mut PgConnection) -> Result<u64, Error> {
    let done = sqlx::query!("delete from mails where expires_at <= clock_timestamp()");
    Ok(done.execute(conn).await?.rows_affected())
}

/// How many mails wait.
pub async fn count(conn: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"select count(*) as "count!" from mails"#).fetch_one(conn).await?)
}

/// Counts a mail to a recipient; false, and not counted, when they were sent `hourly_max` within the last hour.
pub async fn allow(conn: &mut PgConnection, recipient: &str, hourly_max: i64) -> Result<bool, Error> {
    let counted = sqlx::query!(
        "insert into mailed_recipients as known (recipient, sent_at) values ($1, array[clock_timestamp()]) \
         on conflict (recipient) do update \
         set sent_at = clock_timestamp() || array( \
             select sent from unnest(known.sent_at) as sent where sent > clock_timestamp() - interval '1 hour') \
         where (select count(*) from unnest(known.sent_at) as sent \
             where sent > clock_timestamp() - interval '1 hour') < $2",
        recipient,
        hourly_max,
    );
    Ok(counted.execute(conn).await?.rows_affected() == 1)
}

/// Forgets recipients who were sent nothing within the last hour.
pub async fn forget_recipients(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!(
        "delete from mailed_recipients \
         where not exists (select from unnest(sent_at) as sent where sent > clock_timestamp() - interval '1 hour')"
    )
    .execute(conn)
    .await?;
    Ok(())
}
