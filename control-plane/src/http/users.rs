//! `/api/v1/users`: people, as admins manage them.

use aegis_contract::ids::UserId;
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, id_cursor, limit, read_id_cursor};
use super::role_grants::RoleGrantBody;
use crate::error::Error;
use crate::service::role_grants::{self, Granted};
use crate::service::users::{self, Invitation, Person};

/// Somebody who may sign in, or might once.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(super) struct UserBody {
    id: UserId,
    email: String,
    /// What they are called; absent where they did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    roles: Vec<String>,
    /// `invited` before they chose a password, unless they sign in with the identity provider.
    state: UserState,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum UserState {
    Active,
    Invited,
    Disabled,
}

impl From<Person> for UserBody {
    fn from(person: Person) -> Self {
        let Person { id, email, name, roles, created_at, disabled_at, has_password, is_federated } = person;
        let state = match (disabled_at, has_password || is_federated) {
            (Some(_), _) => UserState::Disabled,
            (None, false) => UserState::Invited,
            (None, true) => UserState::Active,
        };
        Self { id, email, name, roles, state, created_at }
    }
}

/// Somebody, and what they choose their first password with.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InvitedUser)]
pub(super) struct InvitedBody {
    user: UserBody,
    /// Give it to them and to nobody else; it is shown only here. They send it to `/api/v1/auth/accept-invitation`.
    invitation_token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl InvitedBody {
    fn new(user: Person, invitation: &Invitation) -> Self {
        Self {
            user: user.into(),
            invitation_token: invitation.token.expose_secret().to_owned(),
            expires_at: invitation.expires_at,
        }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only the person of this e-mail address.
    email: Option<String>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(super) struct NewUserBody {
    /// What they will sign in with.
    email: String,
}

/// People, the disabled ones too.
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "listUsers", tag = "people", params(ListQuery),
    responses(
        (status = 200, description = "In the order in which they were added", body = Page<UserBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<UserBody>>, Failure> {
    let query: ListQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_id_cursor(query.cursor.as_deref())?.map(UserId);
    if query.email.as_ref().is_some_and(|email| email.contains('\0')) {
        return Err(Error::Parameter { name: "email", message: "must not hold U+0000".to_owned() }.into());
    }
    let found = users::list(&services, &call.caller, query.email.as_deref(), after, limit + 1).await?;
    let items = found.into_iter().map(UserBody::from).collect();
    Ok(Json(Page::new(items, limit, |user: &UserBody| id_cursor(user.id.0))))
}

/// One person: anybody for who may see people, else the caller.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", operation_id = "getUser", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The person")),
    responses(
        (status = 200, description = "The person", body = UserBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<UserBody>, Failure> {
    Ok(Json(users::find(&services, &call.caller, read_user(&id)?).await?.into()))
}

/// Add a person without password and without role, and invite them to choose a password.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "addUser", tag = "people", request_body = NewUserBody,
    responses(
        (status = 201, description = "The person, and their invitation, good for three days", body = InvitedBody),
        (status = 409, description = "`already-exists`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn add(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let NewUserBody { email } = call.json()?;
    let (person, invitation) = users::add(&services, &call.caller, &email).await?;
    let headers =
        [(LOCATION, format!("/api/v1/users/{}", person.id)), (CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(InvitedBody::new(person, &invitation))).into_response())
}

/// Invite somebody again who has no password yet: the invitation before is good no more.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/invite", operation_id = "inviteUser", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The person")),
    responses(
        (status = 200, description = "The person, and their invitation, good for three days", body = InvitedBody),
        (status = 409, description = "`not-invitable`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn invite(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    let (person, invitation) = users::invite(&services, &call.caller, read_user(&id)?).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(InvitedBody::new(person, &invitation))).into_response())
}

/// Let a person sign in no more: their sessions end at once, and what they agreed to counts no more.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/disable", operation_id = "disableUser", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The person")),
    responses(
        (status = 200, description = "The person", body = UserBody),
        (status = 409, description = "`last-admin`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn disable(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<UserBody>, Failure> {
    call.no_body()?;
    Ok(Json(users::disable(&services, &call.caller, read_user(&id)?).await?.into()))
}

/// Let a disabled person sign in again, with the password and the roles they had.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/enable", operation_id = "enableUser", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The person")),
    responses(
        (status = 200, description = "The person", body = UserBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enable(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<UserBody>, Failure> {
    call.no_body()?;
    Ok(Json(users::enable(&services, &call.caller, read_user(&id)?).await?.into()))
}

/// Give a person a role, as far as policy allows `grant` on `aegis/role/NAME`.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/roles/{name}", operation_id = "grantRole", tag = "people",
    params(
        ("id" = uuid::Uuid, Path, description = "The person"),
        ("name" = String, Path, description = "The role"),
    ),
    responses(
        (status = 200, description = "The person, who holds it", body = UserBody),
        (status = 202, description = "People have to agree first", body = RoleGrantBody),
        (status = 403, description = "`policy-denied`; `four-eyes` for oneself", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn grant_role(
    State(services): State<Shared>,
    Path((id, name)): Path<(String, String)>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    Ok(match role_grants::grant(&services, &call.caller, read_user(&id)?, &name).await? {
        Granted::Held(person) => Json(UserBody::from(person)).into_response(),
        Granted::Waiting(grant) => {
            let location = format!("/api/v1/role-grants/{}", grant.id);
            let body = Json(RoleGrantBody::from(grant));
            (StatusCode::ACCEPTED, [(LOCATION, location)], body).into_response()
        }
    })
}

/// Take a role from a person. Policy is not asked: it bounds what people may do, not what they may not.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}/roles/{name}", operation_id = "withdrawRole", tag = "people",
    params(
        ("id" = uuid::Uuid, Path, description = "The person"),
        ("name" = String, Path, description = "The role"),
    ),
    responses(
        (status = 200, description = "The person, who does not hold it", body = UserBody),
        (status = 409, description = "`last-admin`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn withdraw_role(
    State(services): State<Shared>,
    Path((id, name)): Path<(String, String)>,
    call: Call,
) -> Result<Json<UserBody>, Failure> {
    call.no_body()?;
    Ok(Json(users::withdraw_role(&services, &call.caller, read_user(&id)?, &name).await?.into()))
}

pub(super) fn read_user(id: &str) -> Result<UserId, Failure> {
    id.parse().map_err(|_| Error::NotFound { what: "user" }.into())
}
