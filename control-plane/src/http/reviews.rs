//! `/api/v1/reviews`, and what somebody found of one action.

use aegis_contract::action::ActionType;
use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::problem::Problem;
use aegis_contract::target::Target;
use aegis_runtime::clock;
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, limit, name_cursor, read_name_cursor};
use crate::error::Error;
use crate::service::reviews::{self, Reviewed};

/// An action that somebody must look at afterwards, because nothing but a break-glass rule allowed it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Review)]
pub(super) struct ReviewBody {
    action_id: ActionId,
    r#type: ActionType,
    target: Target,
    /// `user:…` or `client:…`.
    requested_by: String,
    /// The role whose people are asked.
    role: String,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// Whether that time is over.
    is_overdue: bool,
}

/// The actions that nobody has looked at yet: all, or, for people who may not see all actions, those that
/// their roles are asked about.
#[utoipa::path(
    get, path = "/api/v1/reviews", operation_id = "listReviews", tag = "reviews", params(PageQuery),
    responses(
        (status = 200, description = "The oldest first", body = Page<ReviewBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<ReviewBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let cursor = read_name_cursor(query.cursor.as_deref())?;
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    let found = reviews::list(&services, &call.caller, after, limit + 1).await?;
    let now = clock::now();
    let items = found.into_iter().map(|review| ReviewBody {
        action_id: review.action_id,
        r#type: review.action_type,
        target: review.target,
        requested_by: review.requested_by,
        role: review.role,
        asked_at: review.asked_at,
        due_at: review.due_at,
        is_overdue: review.due_at <= now,
    });
    let cursor = |review: &ReviewBody| name_cursor(&format!("{} {}", review.action_id, review.role));
    Ok(Json(Page::new(items.collect(), limit, cursor)))
}

fn read_cursor(text: &str) -> Result<(ActionId, &str), Failure> {
    let unusable = || Error::Parameter {
        name: "cursor",
        message: "must be the nextCursor of the page before".to_owned(),
    };
    let (id, role) = text.split_once(' ').ok_or_else(unusable)?;
    Ok((id.parse().map_err(|_| unusable())?, role))
}

/// What somebody found.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DoReview)]
struct DoReviewBody {
    /// What was found, in words. Can be erased later.
    #[schema(max_length = 2000, min_length = 1)]
    comment: String,
}

/// What was reviewed.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reviewed)]
pub(super) struct ReviewedBody {
    /// The roles of the caller for which nobody had looked at it.
    roles: Vec<String>,
    /// The audit entry that says so.
    #[schema(value_type = uuid::Uuid)]
    entry_id: EntryId,
}

/// Say that you looked at an action that nothing but a break-glass rule allowed.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/review", operation_id = "reviewAction", tag = "reviews",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    request_body = DoReviewBody,
    responses(
        (status = 200, description = "It is recorded", body = ReviewedBody),
        (status = 403, description = "`not-a-reviewer`: the caller asked for it, answers for the client that did, or holds none of the roles", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`nothing-to-review`, or not any more", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn review(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<ReviewedBody>, Failure> {
    let DoReviewBody { comment } = call.json()?;
    let id: ActionId = id.parse().map_err(|_| Error::NotFound { what: "action" })?;
    let Reviewed { roles, entry_id } = reviews::review(&services, &call.caller, id, &comment).await?;
    Ok(Json(ReviewedBody { roles, entry_id }))
}
