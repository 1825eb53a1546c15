//! `/api/v1/sessions`: the caller's own.

use aegis_contract::ids::SessionId;
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, id_cursor, limit, read_id_cursor};
use crate::error::Error;
use crate::service::sessions::{self, Which};

/// One place where the caller is signed in.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(super) struct SessionBody {
    id: SessionId,
    /// Whether it is the one this request is made in.
    is_current: bool,
    /// What the person signed in with, in its own words (`User-Agent`).
    agent: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    refreshed_at: Timestamp,
    /// When it ends unless it is continued.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The caller's sessions that are not over.
#[utoipa::path(
    get, path = "/api/v1/sessions", operation_id = "listSessions", tag = "sign-in", params(PageQuery),
    responses(
        (status = 200, description = "The oldest first", body = Page<SessionBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<SessionBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_id_cursor(query.cursor.as_deref())?.map(SessionId);
    let found = sessions::list(&services, &call.caller, after, limit + 1).await?;
    let items = found.into_iter().map(|session| SessionBody {
        id: session.id,
        is_current: call.caller.session == Some(session.id),
        agent: session.agent,
        created_at: session.created_at,
        refreshed_at: session.refreshed_at,
        expires_at: session.expires_at,
    });
    Ok(Json(Page::new(items.collect(), limit, |session: &SessionBody| id_cursor(session.id.0))))
}

/// End one session of the caller: its tokens are good no more.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", operation_id = "endSession", tag = "sign-in",
    params(("id" = uuid::Uuid, Path, description = "The session")),
    responses(
        (status = 204, description = "It is ended, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn end(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    let id: SessionId = id.parse().map_err(|_| Error::NotFound { what: "session" })?;
    sessions::end(&services, &call.caller, Which::One(id), "ended").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all sessions of the caller, the one this request is made in too.
#[utoipa::path(
    delete, path = "/api/v1/sessions", operation_id = "endSessions", tag = "sign-in",
    responses(
        (status = 204, description = "They are ended, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn end_all(State(services): State<Shared>, call: Call) -> Result<StatusCode, Failure> {
    call.no_body()?;
    sessions::end(&services, &call.caller, Which::All, "ended").await?;
    Ok(StatusCode::NO_CONTENT)
}
