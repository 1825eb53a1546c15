//! `/api/v1/auth/login` and `/api/v1/whoami`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::{Call, context, read_body, read_json};
use super::error::Failure;
use crate::permission::permissions_of;
use crate::service::sign_in::sign_in;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) struct LoginBody {
    email: String,
    #[schema(format = Password)]
    password: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignedIn)]
pub(super) struct TokenBody {
    /// Send it as `Authorization: Bearer …`.
    access_token: String,
    expires_in_seconds: u32,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WhoAmI)]
pub(super) struct WhoamiBody {
    /// `user:…` or `client:…`.
    principal: String,
    roles: Vec<String>,
    permissions: Vec<&'static str>,
}

/// Sign in with e-mail address and password.
#[utoipa::path(
    post, path = "/api/v1/auth/login", operation_id = "login", tag = "sign-in", security(()),
    request_body = LoginBody,
    responses(
        (status = 200, description = "An access token", body = TokenBody),
        (status = 401, description = "`sign-in-failed`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not signed in", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn login(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let context = context(&request)?;
    let LoginBody { email, password } = read_json(&read_body(request).await?)?;
    let signed_in = sign_in(&services, &email, password, &context.request_id).await?;
    let body =
        TokenBody { access_token: signed_in.access_token, expires_in_seconds: signed_in.expires_in_seconds };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Say who is calling.
#[utoipa::path(
    get, path = "/api/v1/whoami", operation_id = "whoami", tag = "sign-in",
    responses(
        (status = 200, description = "The caller and what they may do", body = WhoamiBody),
        (status = "4XX", description = "Nobody known", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn whoami(call: Call) -> Json<WhoamiBody> {
    let permissions = permissions_of(&call.caller.principal, &call.caller.roles);
    Json(WhoamiBody {
        principal: call.caller.name,
        roles: call.caller.roles,
        permissions: permissions.into_iter().map(crate::permission::Permission::as_str).collect(),
    })
}
