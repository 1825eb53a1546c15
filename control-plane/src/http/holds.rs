//! `/api/v1/holds`, and lifting the hold that one action has caused.

use aegis_contract::ids::ActionId;
use aegis_contract::problem::Problem;
use aegis_contract::target::Target;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::Shared;
use super::actions::read_id;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, id_cursor, limit, read_id_cursor};
use crate::service::holds;

/// A target that automation leaves alone since an action on it was put back.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Hold)]
pub(super) struct HoldBody {
    /// The action that was put back.
    action_id: ActionId,
    target: Target,
    /// Who asked for that action: `user:…` or `client:…`.
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    held_at: Timestamp,
}

/// The targets that automation leaves alone until a person lifts that.
#[utoipa::path(
    get, path = "/api/v1/holds", operation_id = "listHolds", tag = "actions", params(PageQuery),
    responses(
        (status = 200, description = "The oldest first", body = Page<HoldBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<HoldBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_id_cursor(query.cursor.as_deref())?.map(ActionId);
    let found = holds::list(&services, &call.caller, after, limit + 1).await?;
    let items = found.into_iter().map(|hold| HoldBody {
        action_id: hold.action_id,
        target: hold.target,
        requested_by: hold.requested_by,
        held_at: hold.held_at,
    });
    Ok(Json(Page::new(items.collect(), limit, |hold: &HoldBody| id_cursor(hold.action_id.0))))
}

/// Let automation act again on the target of an action that was put back.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/lift-hold", operation_id = "liftHold", tag = "actions",
    params(("id" = uuid::Uuid, Path, description = "The action that was put back")),
    responses(
        (status = 204, description = "It is lifted, and recorded"),
        (status = 409, description = "`not-on-hold`, or not any more", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn lift(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    holds::lift(&services, &call.caller, read_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
