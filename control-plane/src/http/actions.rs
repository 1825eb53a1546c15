//! `/api/v1/actions`

use std::time::Duration;

use aegis_contract::action::{ActionState, ActionType};
use aegis_contract::dsse::Envelope;
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::plan::Plan;
use aegis_contract::problem::Problem;
use aegis_contract::receipt::Step;
use aegis_contract::target::{Kind, Target};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shared;
use super::approvals::ApprovalBody;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, id_cursor, limit, read_id_cursor};
use crate::error::Error;
use crate::scope::Scope;
use crate::service::actions::{self, ActionRequest, Filter, Request};
use crate::service::approvals::{self, View};

/// Longest a request may wait for an action to end.
const WAIT_SECONDS_MAX: u64 = 60;

/// An action.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Action)]
pub(super) struct ActionBody {
    pub(super) id: ActionId,
    r#type: ActionType,
    target: Target,
    #[schema(value_type = Object)]
    params: Value,
    /// Why, in the requester's words; absent when none was given or it was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(value_type = Object)]
    metadata: Value,
    dry_run: bool,
    /// `user:…` or `client:…`.
    requested_by: String,
    state: ActionState,
    /// The decision it stands on.
    decision_id: DecisionId,
    deadline_seconds: u32,
    /// When it may not start any more.
    #[schema(value_type = String, format = DateTime)]
    deadline_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What it would do, as was planned when it was decided last; absent where nothing could be planned. Not in lists
    /// of actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Plan)]
    plan: Option<Value>,
    /// How it ended; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = OutcomeBody)]
    outcome: Option<Value>,
    /// What the executor has done so far; absent before it has begun and once the action has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Vec<Step>)]
    progress: Option<Value>,
    /// Who must agree to it and who did, while it waits for that. Not in lists of actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    approval: Option<ApprovalBody>,
}

/// How an action ended.
#[derive(utoipa::ToSchema)]
#[schema(as = Outcome)]
#[expect(dead_code, reason = "describes what the service writes")]
pub(super) struct OutcomeBody {
    /// Stable, kebab-case.
    code: String,
    /// For people.
    message: String,
    /// What the executor did, in order.
    steps: Vec<Step>,
    /// Whether what it was for is better: `true`, `false` or `unknown`.
    #[schema(pattern = "^(true|false|unknown)$")]
    helped: String,
    /// The executor's signed receipt; null when it was never asked.
    receipt: Option<Envelope>,
}

impl From<actions::Action> for ActionBody {
    fn from(action: actions::Action) -> Self {
        Self {
            id: action.id,
            r#type: action.action_type,
            target: action.target,
            params: action.params,
            reason: action.reason,
            metadata: action.metadata,
            dry_run: action.dry_run,
            requested_by: action.requested_by,
            state: action.state,
            decision_id: action.decision_id,
            deadline_seconds: action.deadline_seconds,
            deadline_at: action.deadline_at,
            created_at: action.created_at,
            updated_at: action.updated_at,
            plan: action.plan,
            progress: action.progress.filter(|_| action.outcome.is_none()),
            outcome: action.outcome,
            approval: None,
        }
    }
}

impl ActionBody {
    /// An action with the request for approval it waits on.
    pub(super) fn asking(action: actions::Action, view: Option<View>) -> Self {
        Self { approval: view.map(ApprovalBody::from), ..Self::from(action) }
    }
}

/// The answer with an action, once it has ended or the time is over.
pub(super) async fn answer_waiting(
    services: &Shared,
    call: &Call,
    action: actions::Action,
    time: Duration,
) -> Result<Json<ActionBody>, Failure> {
    let action = actions::wait(services, action, time, None).await;
    let view = approvals::view(services, &call.caller, &action).await?;
    Ok(Json(ActionBody::asking(action, view)))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// Answer when the action has ended, but after this many seconds at the latest.
    #[param(maximum = 60)]
    wait: Option<u64>,
}

impl WaitQuery {
    /// How long to wait.
    pub(super) fn time(&self) -> Result<Duration, Failure> {
        time_of(self.wait)
    }
}

fn time_of(wait: Option<u64>) -> Result<Duration, Failure> {
    let seconds = wait.unwrap_or(0);
    if seconds <= WAIT_SECONDS_MAX {
        return Ok(Duration::from_secs(seconds));
    }
    let message = format!("must be 0 to {WAIT_SECONDS_MAX}, not {seconds}");
    Err(Error::Parameter { name: "wait", message }.into())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LookQuery {
    /// Answer when the action has ended, but after this many seconds at the latest.
    #[param(maximum = 60)]
    wait: Option<u64>,
    /// Answer earlier, once its state has changed or the executor has done more than so many steps.
    #[param(maximum = 1000)]
    steps: Option<usize>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    state: Option<ActionState>,
    r#type: Option<ActionType>,
    cluster: Option<String>,
    namespace: Option<String>,
    kind: Option<Kind>,
    /// Name of the target.
    name: Option<String>,
    /// `user:…` or `client:…`.
    requested_by: Option<String>,
    /// Asked for at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Asked for before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Ask for an action.
#[utoipa::path(
    post, path = "/api/v1/actions", operation_id = "requestAction", tag = "actions",
    params(WaitQuery, ("Idempotency-Key" = String, Header, description = "Makes a retry the same request, for 24 hours")),
    request_body = ActionRequest,
    responses(
        (status = 202, description = "Accepted; the action as it is now", body = ActionBody,
         headers(("Location" = String, description = "The action"))),
        (status = 403, description = "`policy-denied` with actionId, decisionId and reason, and as far as it is known what would help: retryAfterSeconds, limits without room, approvals that would be asked for (as in an action), nearestMiss; `target-on-hold` with actionId and decisionId; or `forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`nonce-replayed`, `idempotency-key-reused` or `in-progress`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`target-kind` or `unknown-cluster`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`executor-unavailable` or `audit-unavailable`: nothing was recorded; `outcome-unknown` with actionId: repeat it with the same key", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not accepted", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn request(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let time = call.query::<WaitQuery>()?.time()?;
    let request = Request {
        key: call.idempotency_key()?,
        body: call.json()?,
        fingerprint: call.fingerprint(),
        trace: call.trace,
    };
    let action = actions::request_action(&services, &call.caller, request).await?;
    let action = actions::wait(&services, action, time, None).await;
    let location = format!("/api/v1/actions/{}", action.id);
    let view = approvals::view(&services, &call.caller, &action).await?;
    let body = ActionBody::asking(action, view);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(body)).into_response())
}

/// List actions, the newest first.
#[utoipa::path(
    get, path = "/api/v1/actions", operation_id = "listActions", tag = "actions", params(ListQuery),
    responses(
        (status = 200, description = "A page of actions", body = Page<ActionBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<ActionBody>>, Failure> {
    let query: ListQuery = call.query()?;
    let limit = limit(query.limit)?;
    let before = read_id_cursor(query.cursor.as_deref())?.map(ActionId);
    let filter = Filter {
        state: query.state,
        action_type: query.r#type,
        cluster: query.cluster,
        namespace: query.namespace,
        kind: query.kind,
        name: query.name,
        requested_by: query.requested_by,
        from: query.from,
        to: query.to,
        scope: Scope::default(),
    };
    let found = actions::list(&services, &call.caller, filter, before, limit + 1).await?;
    let bodies = found.into_iter().map(ActionBody::from).collect();
    Ok(Json(Page::new(bodies, limit, |action: &ActionBody| id_cursor(action.id.0))))
}

/// Look at one action.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}", operation_id = "getAction", tag = "actions",
    params(("id" = uuid::Uuid, Path, description = "The action"), LookQuery),
    responses(
        (status = 200, description = "The action as it is", body = ActionBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    let query = call.query::<LookQuery>()?;
    let time = time_of(query.wait)?;
    let action = actions::find(&services, &call.caller, read_id(&id)?).await?;
    let action = actions::wait(&services, action, time, query.steps).await;
    let view = approvals::view(&services, &call.caller, &action).await?;
    Ok(Json(ActionBody::asking(action, view)))
}

/// Withdraw an action that is not yet ordered. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/cancel", operation_id = "cancelAction", tag = "actions",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    responses(
        (status = 200, description = "Cancelled", body = ActionBody),
        (status = 409, description = "`not-cancellable`, with its state", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    call.no_body()?;
    Ok(Json(actions::cancel(&services, &call.caller, read_id(&id)?).await?.into()))
}

/// Declare that nobody will ever know what became of an action in state `unknown`. The second person
/// to do so ends it as `failed`.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/close", operation_id = "closeAction", tag = "actions",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    responses(
        (status = 200, description = "The action: `unknown` after the first person, `failed` after the second", body = ActionBody),
        (status = 409, description = "`not-closable`, with its state", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn close(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    call.no_body()?;
    Ok(Json(actions::close(&services, &call.caller, read_id(&id)?).await?.into()))
}

/// What is no id names no action.
pub(super) fn read_id(text: &str) -> Result<ActionId, Failure> {
    text.parse().map_err(|_| Error::NotFound { what: "action" }.into())
}
