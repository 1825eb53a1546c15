//! `/api/v1/approvals`, and what people answer to one action.

use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use aegis_contract::problem::Problem;
use aegis_policy::{Limit, RuleName};
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::actions::{ActionBody, WaitQuery, answer_waiting, read_id};
use super::call::Call;
use super::error::Failure;
use super::page::{Page, id_cursor, limit, read_id_cursor};
use crate::service::approvals::{self, Given, Group, View};

/// What people are asked to agree to, and who did.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApprovalRequest)]
pub(super) struct ApprovalBody {
    /// Names exactly what is asked: action, object as it was seen, deciding rules, limits and groups.
    digest: Digest,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// Until when people may answer.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// All of them must agree; a person stands for one of them only.
    groups: Vec<GroupBody>,
    /// Who agreed.
    given: Vec<GivenBody>,
    /// The rules that decided.
    rules: Vec<RuleName>,
    /// The limits that the action will be held to.
    limits: Vec<Limit>,
    /// Whether the caller is asked.
    is_asked: bool,
}

/// One group of people.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApprovalGroup)]
pub(super) struct GroupBody {
    /// The role they hold.
    role: String,
    /// How many of them must agree.
    min: u32,
    /// How many are missing.
    missing: u32,
    /// Who may agree, by e-mail address; only for people who may see all actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    people: Option<Vec<String>>,
}

/// One person who agreed.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApprovalGiven)]
struct GivenBody {
    /// `user:…`
    principal: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether it counts now: the person still holds a role that is asked.
    counts: bool,
}

impl From<Group> for GroupBody {
    fn from(Group { role, min, missing, people }: Group) -> Self {
        Self { role, min, missing, people }
    }
}

impl From<View> for ApprovalBody {
    fn from(view: View) -> Self {
        let given =
            |given: Given| GivenBody { principal: given.principal, at: given.at, counts: given.counts };
        Self {
            digest: view.digest,
            asked_at: view.asked_at,
            expires_at: view.expires_at,
            groups: view.groups.into_iter().map(GroupBody::from).collect(),
            given: view.given.into_iter().map(given).collect(),
            rules: view.rules,
            limits: view.limits,
            is_asked: view.is_asked,
        }
    }
}

/// What somebody agrees to.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Approve)]
struct ApproveBody {
    /// The digest of what was looked at: the answer is 409 when something else is asked by now.
    #[schema(nullable = false)]
    digest: Option<Digest>,
}

/// What somebody does not agree to, and why.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Deny)]
struct DenyBody {
    /// Why, in words. Can be erased later.
    #[schema(max_length = 2000, min_length = 1)]
    reason: String,
    /// The digest of what was looked at: the answer is 409 when something else is asked by now.
    #[schema(nullable = false)]
    digest: Option<Digest>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Not only what the caller is asked about.
    all: Option<bool>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The actions that wait for the caller's approval, or for anybody's.
#[utoipa::path(
    get, path = "/api/v1/approvals", operation_id = "listApprovals", tag = "approvals",
    params(ListQuery),
    responses(
        (status = 200, description = "The newest first", body = Page<ActionBody>),
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
    let all = query.all.unwrap_or(false);
    let found = approvals::list(&services, &call.caller, all, before, limit + 1).await?;
    let items = found.into_iter().map(|(action, view)| ActionBody::asking(action, Some(view))).collect();
    Ok(Json(Page::new(items, limit, |action: &ActionBody| id_cursor(action.id.0))))
}

/// Agree to an action. Again is the same. When nobody is missing any more it is decided again.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/approve", operation_id = "approveAction", tag = "approvals",
    params(("id" = uuid::Uuid, Path, description = "The action"), WaitQuery),
    request_body = ApproveBody,
    responses(
        (status = 200, description = "The action", body = ActionBody),
        (status = 403, description = "`not-an-approver`: the caller asked for it, answers for the client that did, or holds none of the roles", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not-awaiting-approval`, with its state; `approval-changed`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn approve(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    let time = call.query::<WaitQuery>()?.time()?;
    let body: ApproveBody = call.json_or_empty()?;
    let action = approvals::approve(&services, &call.caller, read_id(&id)?, body.digest).await?;
    answer_waiting(&services, &call, action, time).await
}

/// Say no to an action, which ends it as `denied`.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/deny", operation_id = "denyAction", tag = "approvals",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    request_body = DenyBody,
    responses(
        (status = 200, description = "The action, `denied`", body = ActionBody),
        (status = 403, description = "`not-an-approver`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not-awaiting-approval`, with its state; `approval-changed`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn deny(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    let DenyBody { reason, digest } = call.json()?;
    let action = approvals::deny(&services, &call.caller, read_id(&id)?, digest, &reason).await?;
    Ok(Json(ActionBody::asking(action, None)))
}

/// Take back what the caller agreed to, while somebody is still missing. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/withdraw-approval", operation_id = "withdrawApproval", tag = "approvals",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    responses(
        (status = 200, description = "The action", body = ActionBody),
        (status = 403, description = "`not-an-approver`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not-awaiting-approval`, with its state", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn withdraw(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ActionBody>, Failure> {
    call.no_body()?;
    let action = approvals::withdraw(&services, &call.caller, read_id(&id)?).await?;
    let view = approvals::view(&services, &call.caller, &action).await?;
    Ok(Json(ActionBody::asking(action, view)))
}
