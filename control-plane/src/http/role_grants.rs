//! `/api/v1/role-grants`: roles that people must agree to before somebody is given them.

use aegis_contract::ids::{EntryId, GrantId, UserId};
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Serialize;

use super::Shared;
use super::approvals::GroupBody;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, id_cursor, limit, read_id_cursor};
use crate::error::Error;
use crate::service::role_grants::{self, RoleGrant};

/// A request to give a person a role.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RoleGrant)]
pub(super) struct RoleGrantBody {
    id: GrantId,
    /// The person who is to hold it.
    user_id: UserId,
    role: String,
    /// The person who asked.
    requested_by: UserId,
    /// `waiting`, `granted`, `denied` or `expired`.
    state: &'static str,
    /// All of them must agree; a person stands for one of them only.
    groups: Vec<GroupBody>,
    /// Who agreed.
    given: Vec<WordBody>,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// Until when people may agree.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// One person who agreed.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RoleGrantWord)]
struct WordBody {
    user_id: UserId,
    /// The entry that says so.
    entry_id: EntryId,
    /// Whether it counts now: the person still holds a role that is asked.
    counts: bool,
}

impl From<RoleGrant> for RoleGrantBody {
    fn from(grant: RoleGrant) -> Self {
        let given = grant.approvals.into_iter();
        Self {
            id: grant.id,
            user_id: grant.user,
            role: grant.role,
            requested_by: grant.requested_by,
            state: grant.state.as_str(),
            groups: grant.groups.into_iter().map(GroupBody::from).collect(),
            given: given.map(|(user_id, entry_id, counts)| WordBody { user_id, entry_id, counts }).collect(),
            asked_at: grant.asked_at,
            expires_at: grant.expires_at,
        }
    }
}

/// The requests that wait for people: all for who may see people, else those that ask the caller's roles, or that the
/// caller made.
#[utoipa::path(
    get, path = "/api/v1/role-grants", operation_id = "listRoleGrants", tag = "people", params(PageQuery),
    responses(
        (status = 200, description = "The oldest first", body = Page<RoleGrantBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<RoleGrantBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_id_cursor(query.cursor.as_deref())?.map(GrantId);
    let found = role_grants::list(&services, &call.caller, after, limit + 1).await?;
    let items = found.into_iter().map(RoleGrantBody::from).collect();
    Ok(Json(Page::new(items, limit, |grant: &RoleGrantBody| id_cursor(grant.id.0))))
}

/// One request.
#[utoipa::path(
    get, path = "/api/v1/role-grants/{id}", operation_id = "getRoleGrant", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The request")),
    responses(
        (status = 200, description = "The request", body = RoleGrantBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<RoleGrantBody>, Failure> {
    Ok(Json(role_grants::find(&services, &call.caller, read_id(&id)?).await?.into()))
}

/// Agree. It is decided again, and with nobody missing the person is given the role.
#[utoipa::path(
    post, path = "/api/v1/role-grants/{id}/approve", operation_id = "approveRoleGrant", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The request")),
    responses(
        (status = 200, description = "The request", body = RoleGrantBody),
        (status = 403, description = "`not-an-approver`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`grant-not-waiting`, `user-disabled`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn approve(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<RoleGrantBody>, Failure> {
    call.no_body()?;
    Ok(Json(role_grants::approve(&services, &call.caller, read_id(&id)?).await?.into()))
}

/// Say no, which ends the request; also for who made it.
#[utoipa::path(
    post, path = "/api/v1/role-grants/{id}/deny", operation_id = "denyRoleGrant", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The request")),
    responses(
        (status = 200, description = "The request", body = RoleGrantBody),
        (status = 403, description = "`not-an-approver`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`grant-not-waiting`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn deny(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<RoleGrantBody>, Failure> {
    call.no_body()?;
    Ok(Json(role_grants::deny(&services, &call.caller, read_id(&id)?).await?.into()))
}

fn read_id(id: &str) -> Result<GrantId, Failure> {
    id.parse().map_err(|_| Error::NotFound { what: "role grant" }.into())
}
