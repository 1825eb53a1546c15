//! The outbox of webhooks: what is to be sent, what came of it, and each attempt.

use aegis_contract::ids::{ActionId, EntryId};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// Names one delivery: an entry of the log, told to one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryName {
    /// The webhook.
    pub webhook: String,
    /// The entry it tells of.
    pub entry_id: EntryId,
}

/// A delivery as it stands.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The entry it tells of.
    pub entry_id: Uuid,
    /// The entry's kind.
    pub event: String,
    /// The action it is about.
    pub action_id: Option<Uuid>,
    /// `waiting`, `delivered` or `dead`.
    pub state: String,
    /// How often it was begun to be sent.
    pub attempts: i32,
    /// When it is sent next; while it is being sent: when it is taken to be lost.
    pub due_at: Stored,
    /// When it was put into the outbox.
    pub created_at: Stored,
    /// When it was delivered or given up.
    pub ended_at: Option<Stored>,
}

/// One attempt at a delivery.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: i32,
    /// When it began.
    pub at: Stored,
    /// How long it took.
    pub latency_milliseconds: i32,
    /// The HTTP status, if there was an answer.
    pub status: Option<i16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A delivery that this process is to send now.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The entry to tell of.
    pub entry_id: Uuid,
    /// The number of this attempt, from 1.
    pub attempt: i32,
    /// How many attempts there were since it was last asked for, this one included.
    pub tries: i32,
    /// Where to.
    pub url: String,
    /// What to sign with, as sealed.
    pub sealed_secret: Vec<u8>,
    /// What to sign with too, as sealed.
    pub sealed_previous_secret: Option<Vec<u8>>,
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// What the entry's action is about: what of it never changes.
    pub action: Option<Value>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub latency_milliseconds: i32,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// What is to become of the delivery.
    pub next: Next,
}

/// What is to become of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// It has arrived.
    Delivered,
    /// It is sent again after so many seconds.
    Again(f64),
    /// It is given up.
    Dead,
}

/// Puts an entry into the outbox of every webhook that wants to be told of it.
pub async fn enqueue(
    conn: &mut PgConnection,
    entry_id: EntryId,
    event: &str,
    action_id: Option<ActionId>,
) -> Result<(), Error> {
    // The lock makes this wait for a webhook that is being deleted, and then leave it out.
    sqlx::query!(
        "insert into webhook_deliveries (webhook, entry_id) \
         select w.name, $1 from webhooks w \
         where (cardinality(w.events) = 0 or $2 = any(w.events)) \
           and (cardinality(w.requested_by) = 0 or exists ( \
               select from actions a where a.id = $3 and a.requested_by = any(w.requested_by))) \
         for key share of w",
        entry_id.0,
        event,
        action_id.map(|id| id.0),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts an entry into the outbox of one webhook, whatever it wants to be told.
pub async fn enqueue_for(conn: &mut PgConnection, name: &DeliveryName) -> Result<(), Error> {
    sqlx::query!(
        "insert into webhook_deliveries (webhook, entry_id) values ($1, $2)",
        name.webhook,
        name.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The webhooks that have something to be sent now.
pub async fn due(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select name from webhooks w where exists ( \
             select from webhook_deliveries d \
             where d.webhook = w.name and d.state = 'waiting' and d.due_at <= clock_timestamp())"
    )
    .fetch_all(conn)
    .await?)
}

/// Takes up to `limit` deliveries of one webhook that are due, for `seconds`: after that another
/// replica takes them, and they are sent again.
pub async fn take(
    conn: &mut PgConnection,
    webhook: &str,
    seconds: f64,
    limit: i64,
) -> Result<Vec<Taken>, Error> {
    let rows = sqlx::query!(
        r#"with taken as (
               update webhook_deliveries set attempts = attempts + 1, tries = tries + 1,
                   due_at = clock_timestamp() + make_interval(secs => $2)
               where webhook = $1 and entry_id in (
                   select entry_id from webhook_deliveries
                   where webhook = $1 and state = 'waiting' and due_at <= clock_timestamp()
                   order by due_at limit $3 for update skip locked)
               returning webhook, entry_id, attempts, tries)
           select taken.entry_id as "entry_id!", taken.attempts as "attempt!", taken.tries as "tries!",
                  w.url, w.sealed_secret,
                  case when w.previous_secret_until > clock_timestamp() then w.sealed_previous_secret end
                      as sealed_previous_secret,
                  e.body as "entry!", a.id as "action_id?", a.type as "action_type?", a.cluster as "cluster?",
                  a.namespace as "namespace?", a.kind as "kind?", a.name as "name?", a.params as "params?",
                  a.dry_run as "dry_run?", a.requested_by as "requested_by?"
           from taken join webhooks w on w.name = taken.webhook join audit.recorded e on e.id = taken.entry_id
               left join actions a on a.id = e.action_id
           order by taken.entry_id"#,
        webhook,
        seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let taken = rows.into_iter().map(|row| Taken {
        entry_id: row.entry_id,
        attempt: row.attempt,
        tries: row.tries,
        url: row.url,
        sealed_secret: row.sealed_secret,
        sealed_previous_secret: row.sealed_previous_secret,
        entry: row.entry,
        action: row.action_id.map(|id| {
            json!({
                "id": id,
                "type": row.action_type,
                "target": {
                    "cluster": row.cluster, "namespace": row.namespace, "kind": row.kind, "name": row.name,
                },
                "params": row.params,
                "dryRun": row.dry_run,
                "requestedBy": row.requested_by,
            })
        }),
    });
    Ok(taken.collect())
}

/// Records what came of an attempt. It says nothing more about a delivery that another replica has
/// taken since, or that is gone; only what has arrived has arrived.
pub async fn record(
    conn: &mut PgConnection,
    name: &DeliveryName,
    attempt: i32,
    outcome: &Outcome,
) -> Result<(), Error> {
    let (state, pause_seconds) = match outcome.next {
        Next::Delivered => ("delivered", None),
        Next::Again(seconds) => ("waiting", Some(seconds)),
        Next::Dead => ("dead", None),
    };
    sqlx::query!(
        "update webhook_deliveries set state = $4, \
             due_at = clock_timestamp() + make_interval(secs => coalesce($5::float8, 0)), \
             ended_at = case when $4 = 'waiting' then null else clock_timestamp() end \
         where webhook = $1 and entry_id = $2 and state = 'waiting' and (attempts = $3 or $4 = 'delivered')",
        name.webhook,
        name.entry_id.0,
        attempt,
        state,
        pause_seconds,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into webhook_attempts (webhook, entry_id, number, at, latency_milliseconds, status, error) \
         select webhook, entry_id, $3, $4, $5, $6, $7 from webhook_deliveries \
         where webhook = $1 and entry_id = $2 for key share",
        name.webhook,
        name.entry_id.0,
        attempt,
        Stored::from(outcome.at) as _,
        outcome.latency_milliseconds,
        outcome.status.map(u16::cast_signed),
        outcome.error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deliveries of a webhook, the newest first, those after `before` left out; only those in `state`,
/// if it is given.
pub async fn list(
    conn: &mut PgConnection,
    webhook: &str,
    state: Option<&str>,
    before: Option<EntryId>,
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    Ok(sqlx::query_as!(
        Delivery,
        "select d.entry_id, e.kind as \"event!\", e.action_id, d.state, d.attempts, d.due_at, d.created_at, d.ended_at \
         from webhook_deliveries d join audit.recorded e on e.id = d.entry_id \
         where d.webhook = $1 and ($2::text is null or d.state = $2) and ($3::uuid is null or d.entry_id < $3) \
         order by d.entry_id desc limit $4",
        webhook,
        state,
        before.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// One delivery.
pub async fn find(conn: &mut PgConnection, name: &DeliveryName) -> Result<Option<Delivery>, Error> {
    Ok(sqlx::query_as!(
        Delivery,
        "select d.entry_id, e.kind as \"event!\", e.action_id, d.state, d.attempts, d.due_at, d.created_at, d.ended_at \
         from webhook_deliveries d join audit.recorded e on e.id = d.entry_id \
         where d.webhook = $1 and d.entry_id = $2",
        name.webhook,
        name.entry_id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// What came of each attempt at a delivery, the newest first, at most `limit`.
pub async fn attempts(
    conn: &mut PgConnection,
    name: &DeliveryName,
    limit: i64,
) -> Result<Vec<Attempt>, Error> {
    Ok(sqlx::query_as!(
        Attempt,
        "select number, at, latency_milliseconds, status, error from webhook_attempts \
         where webhook = $1 and entry_id = $2 order by number desc limit $3",
        name.webhook,
        name.entry_id.0,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// Begins a delivery anew, whatever came of it; false when there is none of that name.
pub async fn begin_anew(conn: &mut PgConnection, name: &DeliveryName) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update webhook_deliveries set state = 'waiting', tries = 0, due_at = clock_timestamp(), ended_at = null \
         where webhook = $1 and entry_id = $2",
        name.webhook,
        name.entry_id.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What has not arrived.
#[derive(Clone, Copy, Debug)]
pub struct Undelivered {
    /// To be sent.
    pub waiting: i64,
    /// Given up.
    pub dead: i64,
}

/// How much has not arrived.
pub async fn count_undelivered(conn: &mut PgConnection) -> Result<Undelivered, Error> {
    Ok(sqlx::query_as!(
        Undelivered,
        r#"select count(*) filter (where state = 'waiting') as "waiting!",
                  count(*) filter (where state = 'dead') as "dead!"
           from webhook_deliveries where state <> 'delivered'"#
    )
    .fetch_one(conn)
    .await?)
}

/// Forgets deliveries that ended before `before`, with their attempts.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from webhook_deliveries where ended_at < $1", Stored::from(before) as _)
        .execute(conn)
        .await?;
    Ok(())
}
