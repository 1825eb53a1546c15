//! Actions as they are asked for and looked at. How they move is in `store::dispatch`.

use aegis_contract::action::{ActionState, ActionType, Change};
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::target::{Kind, Target};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;
use crate::scope::Scope;

/// An action to add.
#[derive(Clone, Debug)]
pub struct NewAction<'a> {
    /// Its id.
    pub id: ActionId,
    /// What it changes.
    pub target: &'a Target,
    /// How.
    pub change: &'a Change,
    /// The text that says why.
    pub reason_id: Option<Uuid>,
    /// What the requester states about the case.
    pub metadata: &'a Value,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// The principal who asks.
    pub requested_by: &'a str,
    /// The roles they hold.
    pub requester_roles: &'a [String],
    /// The first decision.
    pub decision_id: DecisionId,
    /// uid of the object that decision saw.
    pub target_uid: Option<&'a str>,
    /// Span in which it may start.
    pub deadline_seconds: u32,
    /// When it may not start any more.
    pub deadline_at: Timestamp,
    /// `awaiting-approval` or `queued`.
    pub state: ActionState,
    /// When it was let go ahead, if it counts for limits.
    pub reserved_at: Option<Timestamp>,
    /// When it was asked for.
    pub at: Timestamp,
    /// Trace context of the request.
    pub traceparent: &'a str,
}

/// An action as it is shown.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its id.
    pub id: ActionId,
    /// Which kind of change.
    pub action_type: ActionType,
    /// What it changes.
    pub target: Target,
    /// The parameters of the change.
    pub params: Value,
    /// Why, in the requester's words, unless it was erased.
    pub reason: Option<String>,
    /// What the requester states about the case.
    pub metadata: Value,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// The principal who asked.
    pub requested_by: String,
    /// Where it stands.
    pub state: ActionState,
    /// The decision it stands on.
    pub decision_id: DecisionId,
    /// Span in which it may start.
    pub deadline_seconds: u32,
    /// When it may not start any more.
    pub deadline_at: Timestamp,
    /// What it would do, as was planned when it was decided last. Not in lists.
    pub plan: Option<Value>,
    /// What the executor has done so far, as it last said.
    pub progress: Option<Value>,
    /// How it ended.
    pub outcome: Option<Value>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

impl Action {
    /// How many steps the executor has done so far, as it last said.
    pub fn steps_done(&self) -> usize {
        self.progress.as_ref().and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// Which actions to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<ActionState>,
    /// Of this type.
    pub action_type: Option<ActionType>,
    /// In this cluster.
    pub cluster: Option<String>,
    /// In this namespace.
    pub namespace: Option<String>,
    /// On this kind.
    pub kind: Option<Kind>,
    /// On objects of this name.
    pub name: Option<String>,
    /// Asked for by this principal.
    pub requested_by: Option<String>,
    /// Asked for at or after this time.
    pub from: Option<Timestamp>,
    /// Asked for before this time.
    pub to: Option<Timestamp>,
    /// That lie in this scope.
    pub scope: Scope,
}

struct Row {
    id: Uuid,
    r#type: String,
    cluster: String,
    namespace: String,
    kind: String,
    name: String,
    params: Value,
    reason: Option<String>,
    metadata: Value,
    dry_run: bool,
    requested_by: String,
    state: String,
    decision_id: Uuid,
    deadline_seconds: i32,
    deadline_at: Stored,
    plan: Option<Value>,
    progress: Option<Value>,
    outcome: Option<Value>,
    created_at: Stored,
    updated_at: Stored,
}

impl TryFrom<Row> for Action {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let kind = row.kind.parse().map_err(Error::internal)?;
        Ok(Self {
            id: ActionId(row.id),
            action_type: row.r#type.parse().map_err(Error::internal)?,
            target: Target { cluster: row.cluster, namespace: row.namespace, kind, name: row.name },
            params: row.params,
            reason: row.reason,
            metadata: row.metadata,
            dry_run: row.dry_run,
            requested_by: row.requested_by,
            state: row.state.parse().map_err(Error::internal)?,
            decision_id: DecisionId(row.decision_id),
            deadline_seconds: row.deadline_seconds.cast_unsigned(),
            deadline_at: row.deadline_at.to_jiff(),
            plan: row.plan,
            progress: row.progress,
            outcome: row.outcome,
            created_at: row.created_at.to_jiff(),
            updated_at: row.updated_at.to_jiff(),
        })
    }
}

/// Adds an action.
pub async fn insert(conn: &mut PgConnection, new: NewAction<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into actions (id, type, cluster, namespace, kind, name, params, reason_id, metadata, dry_run, \
             requested_by, requester_roles, state, decision_id, target_uid, deadline_seconds, deadline_at, \
             created_at, updated_at, traceparent, reserved_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $20, $13, $14, $15, $16, $17, $17, $18, $19)",
        new.id.0,
        new.change.action_type().as_str(),
        new.target.cluster,
        new.target.namespace,
        new.target.kind.as_str(),
        new.target.name,
        new.change.params(),
        new.reason_id,
        new.metadata,
        new.dry_run,
        new.requested_by,
        new.requester_roles,
        new.decision_id.0,
        new.target_uid,
        new.deadline_seconds.cast_signed(),
        Stored::from(new.deadline_at) as _,
        Stored::from(new.at) as _,
        new.traceparent,
        new.reserved_at.map(Stored::from) as _,
        new.state.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One action.
pub async fn find(conn: &mut PgConnection, id: ActionId) -> Result<Option<Action>, Error> {
    sqlx::query_as!(
        Row,
        r#"select a.id, type, cluster, namespace, kind, name, params, t.body as "reason?", metadata, dry_run,
                  requested_by, state, decision_id, deadline_seconds, deadline_at, progress, outcome, created_at,
                  updated_at,
                  (select (convert_from(d.body, 'UTF8')::json #> '{facts,plan}')::jsonb from decisions d
                   where d.id = a.decision_id) as plan
           from actions a left join audit.texts t on t.id = a.reason_id where a.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .map(Action::try_from)
    .transpose()
}

/// The newest actions first, those after `before` left out.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<ActionId>,
    limit: i64,
) -> Result<Vec<Action>, Error> {
    sqlx::query_as!(
        Row,
        r#"select a.id, type, cluster, namespace, kind, name, params, t.body as "reason?", metadata, dry_run,
                  requested_by, state, decision_id, deadline_seconds, deadline_at, progress, outcome, created_at,
                  updated_at,
                  null::jsonb as plan
           from actions a left join audit.texts t on t.id = a.reason_id
           where ($1::text is null or state = $1)
             and ($2::text is null or type = $2)
             and ($3::text is null or cluster = $3)
             and ($4::text is null or namespace = $4)
             and ($5::text is null or kind = $5)
             and ($6::text is null or name = $6)
             and ($7::text is null or requested_by = $7)
             and ($8::timestamptz is null or created_at >= $8)
             and ($9::timestamptz is null or created_at < $9)
             and ($10::uuid is null or a.id < $10)
             and ($12::text[] is null or type = any($12))
             and ($13::text[] is null
                  or exists (select 1 from unnest($13) place
                             where cluster || '/' || namespace like replace(place, '*', '%')))
           order by a.id desc limit $11"#,
        filter.state.map(ActionState::as_str),
        filter.action_type.map(ActionType::as_str),
        filter.cluster.as_deref(),
        filter.namespace.as_deref(),
        filter.kind.map(Kind::as_str),
        filter.name.as_deref(),
        filter.requested_by.as_deref(),
        filter.from.map(Stored::from) as _,
        filter.to.map(Stored::from) as _,
        before.map(|id| id.0),
        limit,
        filter.scope.actions.as_deref(),
        // Their characters are those of names and `*`, and no name has a `/`.
        filter.scope.namespaces.as_deref(),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Action::try_from)
    .collect()
}

/// Notes that a person declares an action to be unresolvable; false when they did so before.
pub async fn insert_closure(
    conn: &mut PgConnection,
    id: ActionId,
    principal: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into closures (action_id, principal, requested_at) values ($1, $2, $3) on conflict do nothing",
        id.0,
        principal,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many people have declared an action to be unresolvable.
pub async fn count_closures(conn: &mut PgConnection, id: ActionId) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!("select count(*) as \"count!\" from closures where action_id = $1", id.0)
        .fetch_one(conn)
        .await?)
}

/// How many actions are in each state that is not final.
pub async fn count_open(conn: &mut PgConnection) -> Result<Vec<(ActionState, i64)>, Error> {
    let rows = sqlx::query!(
        "select state, count(*) as \"count!\" from actions where state in ('awaiting-approval', 'queued', 'running', 'unknown') \
         group by state"
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok((row.state.parse().map_err(Error::internal)?, row.count))).collect()
}
