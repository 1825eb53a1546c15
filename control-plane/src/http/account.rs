//! `/api/v1/users/me`: what people see and change of their own account.

use aegis_contract::ids::UserId;
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use crate::service::account;

/// The caller, as others see them.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Profile)]
pub(super) struct ProfileBody {
    id: UserId,
    email: String,
    /// What they are called; absent where they did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    roles: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<account::Person> for ProfileBody {
    fn from(person: account::Person) -> Self {
        let account::Person { id, email, name, roles, created_at, .. } = person;
        Self { id, email, name, roles, created_at }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileChange)]
pub(super) struct ChangeBody {
    /// What to be called, 1 to 100 characters; null for nothing.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    name: Option<String>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PasswordChange)]
pub(super) struct PasswordBody {
    #[schema(format = Password)]
    current_password: String,
    /// At least 12 characters, at most 1,024 bytes.
    #[schema(format = Password)]
    new_password: String,
}

/// The caller, as others see them.
#[utoipa::path(
    get, path = "/api/v1/users/me", operation_id = "getProfile", tag = "sign-in",
    responses(
        (status = 200, description = "The caller", body = ProfileBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(State(services): State<Shared>, call: Call) -> Result<Json<ProfileBody>, Failure> {
    Ok(Json(account::profile(&services, &call.caller).await?.into()))
}

/// Say what to be called.
#[utoipa::path(
    patch, path = "/api/v1/users/me", operation_id = "changeProfile", tag = "sign-in", request_body = ChangeBody,
    responses(
        (status = 200, description = "The caller", body = ProfileBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn change(State(services): State<Shared>, call: Call) -> Result<Json<ProfileBody>, Failure> {
    let ChangeBody { name } = call.json()?;
    Ok(Json(account::rename(&services, &call.caller, name.as_deref()).await?.into()))
}

/// Change the caller's password, which ends their other sessions.
#[utoipa::path(
    post, path = "/api/v1/users/me/password", operation_id = "changePassword", tag = "sign-in",
    request_body = PasswordBody,
    responses(
        (status = 204, description = "It is changed, and recorded"),
        (status = 403, description = "`password-wrong`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn change_password(
    State(services): State<Shared>,
    call: Call,
) -> Result<StatusCode, Failure> {
    let PasswordBody { current_password, new_password } = call.json()?;
    account::change_password(&services, &call.caller, current_password, new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
