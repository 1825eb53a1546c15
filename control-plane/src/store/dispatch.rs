//! Actions as the dispatcher sees them: leases, locks and guarded moves of state.

use aegis_contract::action::{ActionState, Change};
use aegis_contract::ids::ActionId;
use aegis_contract::target::Target;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use super::attempts::Attempt;
use crate::error::Error;

/// Constraint that holds all other actions of a target off while one is at work.
const ONE_PER_TARGET: &str = "actions_one_per_target_key";

/// An action with all that is needed to bring it to its end.
#[derive(Clone, Debug)]
pub struct OpenAction {
    /// Its id.
    pub id: ActionId,
    /// What it changes.
    pub target: Target,
    /// How.
    pub change: Change,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// The principal who asked.
    pub requested_by: String,
    /// The roles they held when they asked.
    pub requester_roles: Vec<String>,
    /// What they said about the occasion.
    pub metadata: Value,
    /// Where it stands.
    pub state: ActionState,
    /// uid of the object the first decision saw.
    pub target_uid: Option<String>,
    /// Span in which it may start, and again be watched.
    pub deadline_seconds: u32,
    /// When it may not start any more.
    pub deadline_at: Timestamp,
    /// When enough people had agreed, while it waits for being decided again.
    pub approved_at: Option<Timestamp>,
    /// When it was let go ahead; never for a dry run.
    pub reserved_at: Option<Timestamp>,
    /// Trace context of the request.
    pub traceparent: String,
}

struct Row {
    id: Uuid,
    r#type: String,
    cluster: String,
    namespace: String,
    kind: String,
    name: String,
    params: Value,
    dry_run: bool,
    requested_by: String,
    requester_roles: Vec<String>,
    metadata: Value,
    state: String,
    target_uid: Option<String>,
    deadline_seconds: i32,
    deadline_at: Stored,
    approved_at: Option<Stored>,
    reserved_at: Option<Stored>,
    traceparent: String,
}

impl TryFrom<Row> for OpenAction {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let kind = row.kind.parse().map_err(Error::internal)?;
        let action_type = row.r#type.parse().map_err(Error::internal)?;
        Ok(Self {
            id: ActionId(row.id),
            target: Target { cluster: row.cluster, namespace: row.namespace, kind, name: row.name },
            change: Change::new(action_type, row.params, kind).map_err(Error::internal)?,
            dry_run: row.dry_run,
            requested_by: row.requested_by,
            requester_roles: row.requester_roles,
            metadata: row.metadata,
            state: row.state.parse().map_err(Error::internal)?,
            target_uid: row.target_uid,
            deadline_seconds: row.deadline_seconds.cast_unsigned(),
            deadline_at: row.deadline_at.to_jiff(),
            approved_at: row.approved_at.map(|at| at.to_jiff()),
            reserved_at: row.reserved_at.map(|at| at.to_jiff()),
            traceparent: row.traceparent,
        })
    }
}

/// Postgres' clock: what every replica agrees on.
pub async fn clock(conn: &mut PgConnection) -> Result<Timestamp, Error> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!: Stored""#).fetch_one(conn).await?;
    Ok(now.to_jiff())
}

/// An action just leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its id.
    pub id: ActionId,
    /// The cluster of its target.
    pub cluster: String,
    /// Whether it has not been ordered yet.
    pub queued: bool,
}

/// Takes up to `limit` open actions that nobody drives, oldest first, for `seconds`. A queued action
/// is taken only when it is the first in line of its target.
pub async fn lease(
    conn: &mut PgConnection,
    driver: Uuid,
    seconds: f64,
    limit: i64,
) -> Result<Vec<Leased>, Error> {
    // The commit does not wait for the disk: a lease that is lost with the database merely lets another
    // replica go on from what the action's own transactions say.
    let rows = sqlx::query!(
        "with without_flush as (select set_config('synchronous_commit', 'off', true)) \
         update actions set driver = $1, driver_until = clock_timestamp() + make_interval(secs => $2) \
         from without_flush where id in ( \
             select a.id from actions a \
             where a.state in ('awaiting-approval', 'queued', 'running', 'unknown') \
               and (a.state <> 'awaiting-approval' or a.approved_at is not null or a.deadline_at < clock_timestamp()) \
               and (a.driver_until is null or a.driver_until < clock_timestamp()) \
               and (a.state <> 'queued' or a.deadline_at < clock_timestamp() or not exists ( \
                   select 1 from actions b \
                   where (b.cluster, b.namespace, b.kind, b.name) = (a.cluster, a.namespace, a.kind, a.name) \
                     and (b.state in ('running', 'unknown') or (b.state = 'queued' and b.id < a.id)))) \
             order by a.id limit $3 for update skip locked) \
         returning id, cluster, state = 'queued' as \"queued!\"",
        driver,
        seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let leased = |id, cluster, queued| Leased { id: ActionId(id), cluster, queued };
    Ok(rows.into_iter().map(|row| leased(row.id, row.cluster, row.queued)).collect())
}

/// Keeps a lease for another `seconds`; false when another replica has taken over.
pub async fn renew_lease(
    conn: &mut PgConnection,
    id: ActionId,
    driver: Uuid,
    seconds: f64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update actions set driver_until = clock_timestamp() + make_interval(secs => $3) \
         where id = $1 and driver = $2",
        id.0,
        driver,
        seconds,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives up every lease of a replica that ends.
pub async fn release_leases(conn: &mut PgConnection, driver: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "update actions set driver = null, driver_until = null \
         where driver = $1 and state in ('awaiting-approval', 'queued', 'running', 'unknown')",
        driver
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An action as it is, or none of that id.
pub async fn find(conn: &mut PgConnection, id: ActionId) -> Result<Option<OpenAction>, Error> {
    sqlx::query_as!(
        Row,
        r#"select id, type, cluster, namespace, kind, name, params, dry_run, requested_by, requester_roles,
                  metadata, state, target_uid, deadline_seconds, deadline_at as "deadline_at: Stored",
                  approved_at as "approved_at: Stored", reserved_at as "reserved_at: Stored",
                  traceparent
           from actions where id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .map(OpenAction::try_from)
    .transpose()
}

/// The same, locked until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, id: ActionId) -> Result<Option<OpenAction>, Error> {
    sqlx::query_as!(
        Row,
        r#"select id, type, cluster, namespace, kind, name, params, dry_run, requested_by, requester_roles,
                  metadata, state, target_uid, deadline_seconds, deadline_at as "deadline_at: Stored",
                  approved_at as "approved_at: Stored", reserved_at as "reserved_at: Stored",
                  traceparent
           from actions where id = $1 for update"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .map(OpenAction::try_from)
    .transpose()
}

/// Moves an action between two states that are not final; false when it stood in another one.
pub async fn move_state(
    conn: &mut PgConnection,
    id: ActionId,
    from: ActionState,
    to: ActionState,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update actions set state = $3, updated_at = clock_timestamp() where id = $1 and state = $2",
        id.0,
        from.as_str(),
        to.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes what the executor says it has done so far.
pub async fn set_progress(conn: &mut PgConnection, id: ActionId, steps: &Value) -> Result<(), Error> {
    sqlx::query!("update actions set progress = $2 where id = $1", id.0, steps).execute(conn).await?;
    Ok(())
}

/// Lets a locked action wait for people until `deadline_at`; it does not count for limits any more.
pub async fn await_approval(
    conn: &mut PgConnection,
    id: ActionId,
    deadline_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update actions set state = 'awaiting-approval', approved_at = null, reserved_at = null, \
             deadline_at = $2, updated_at = clock_timestamp() \
         where id = $1 and state in ('awaiting-approval', 'queued')",
        id.0,
        Stored::from(deadline_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether enough people have agreed to a locked action, and how long it may wait from now on.
pub async fn set_approved(
    conn: &mut PgConnection,
    id: ActionId,
    approved_at: Option<Timestamp>,
    deadline_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update actions set approved_at = $2, deadline_at = $3, updated_at = clock_timestamp() \
         where id = $1 and state = 'awaiting-approval'",
        id.0,
        approved_at.map(Stored::from) as _,
        Stored::from(deadline_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Queues a locked action that waited for people, or was queued already. It counts for limits from
/// `reserved_at` on, unless it did before.
pub async fn let_ahead(
    conn: &mut PgConnection,
    id: ActionId,
    reserved_at: Option<Timestamp>,
    deadline_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update actions set state = 'queued', approved_at = null, reserved_at = coalesce(reserved_at, $2), \
             deadline_at = $3, updated_at = clock_timestamp() \
         where id = $1 and state in ('awaiting-approval', 'queued')",
        id.0,
        reserved_at.map(Stored::from) as _,
        Stored::from(deadline_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves a locked action from `queued` to `running`, with the attempt that is ordered; false, and the
/// transaction is lost, when another action is at work on its target.
pub async fn start(conn: &mut PgConnection, id: ActionId, attempt: &Attempt) -> Result<bool, Error> {
    let done = sqlx::query!(
        "with started as ( \
             update actions set state = 'running', updated_at = clock_timestamp() \
             where id = $1 and state = 'queued' returning id) \
         insert into attempts (action_id, attempt, intent_entry_id, order_digest, envelope, issued_at, not_after, \
             ledger_id, ledger_row) \
         select id, $2, $3, $4, $5, $6, $7, $8, $9 from started",
        id.0,
        attempt.number.cast_signed(),
        attempt.intent_entry_id.0,
        attempt.order_digest.to_string(),
        attempt.envelope,
        Stored::from(attempt.issued_at) as _,
        Stored::from(attempt.not_after) as _,
        attempt.ledger_id.map(|id| id.0),
        attempt.ledger_row.cast_signed(),
    )
    .execute(conn)
    .await;
    match done {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some(ONE_PER_TARGET) => Ok(false),
        done => Ok(done?.rows_affected() == 1),
    }
}

/// Whether an order of another action was carried out on the target of `action`, or may have been,
/// and ended after `since`.
pub async fn was_acted_on_since(
    conn: &mut PgConnection,
    action: &OpenAction,
    since: Timestamp,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (
               select 1 from actions b
               where (b.cluster, b.namespace, b.kind, b.name) = ($1, $2, $3, $4) and b.updated_at > $5
                 and b.id <> $6 and not b.dry_run and b.state not in ('awaiting-approval', 'queued', 'running', 'unknown')
                 and exists (select 1 from attempts where action_id = b.id)) as "was!""#,
        action.target.cluster,
        action.target.namespace,
        action.target.kind.as_str(),
        action.target.name,
        Stored::from(since) as _,
        action.id.0,
    )
    .fetch_one(conn)
    .await?)
}

/// Moves an action to a final state with its outcome; false when it stood in none of `from`.
pub async fn end(
    conn: &mut PgConnection,
    id: ActionId,
    from: &[ActionState],
    to: ActionState,
    outcome: &Value,
) -> Result<bool, Error> {
    let from: Vec<String> = from.iter().map(|state| state.as_str().to_owned()).collect();
    let done = sqlx::query!(
        "update actions set state = $3, outcome = $4, updated_at = clock_timestamp(), \
             driver = null, driver_until = null \
         where id = $1 and state = any($2)",
        id.0,
        &from,
        to.as_str(),
        outcome,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Names the decision an action stands on now.
pub async fn set_decision(
    conn: &mut PgConnection,
    id: ActionId,
    decision_id: aegis_contract::ids::DecisionId,
) -> Result<(), Error> {
    sqlx::query!(
        "update actions set decision_id = $2, updated_at = clock_timestamp() where id = $1",
        id.0,
        decision_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
