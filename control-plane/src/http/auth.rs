//! `/api/v1/auth/…` and `/api/v1/whoami`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::{Call, context, read_body, read_json};
use super::error::Failure;
use super::throttle::Gate;
use crate::permission::permissions_of;
use crate::scope::Scope;
use crate::service::sessions::{self, SignedIn, Which};
use crate::service::sign_in::{Attempt, sign_in};
use crate::service::users;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) struct LoginBody {
    email: String,
    #[schema(format = Password)]
    password: String,
    /// Where the person has a second factor: a code of their app, or a recovery code.
    #[schema(format = Password)]
    code: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignedIn)]
pub(super) struct TokenBody {
    /// Send it as `Authorization: Bearer …`.
    access_token: String,
    expires_in_seconds: u32,
    /// Send it to `/api/v1/auth/refresh` for the next pair; it is good once.
    refresh_token: String,
    refresh_expires_in_seconds: i64,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = Refresh)]
pub(super) struct RefreshBody {
    #[schema(format = Password)]
    refresh_token: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = AcceptInvitation)]
pub(super) struct AcceptBody {
    #[schema(format = Password)]
    invitation_token: String,
    /// At least 12 characters, at most 1,024 bytes.
    #[schema(format = Password)]
    password: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WhoAmI)]
pub(super) struct WhoamiBody {
    /// `user:…`, `client:…` or `alert-source:…`.
    principal: String,
    roles: Vec<String>,
    permissions: Vec<&'static str>,
    /// What a client may ask for at most, whatever policy allows; absent where nothing bounds it.
    #[serde(skip_serializing_if = "Scope::is_everything")]
    #[schema(required = false)]
    scope: Scope,
}

/// Sign in with e-mail address and password, and a code where the person has a second factor.
#[utoipa::path(
    post, path = "/api/v1/auth/login", operation_id = "login", tag = "sign-in", security(()),
    request_body = LoginBody,
    responses(
        (status = 200, description = "An access token, and the one that continues the session", body = TokenBody),
        (status = 401, description = "`sign-in-failed`; `code-required`: the same again with a code", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`guessing-slowed`, `too-many-requests`: `Retry-After` says when", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not signed in", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn login(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let context = context(&request)?;
    let (agent, neighbourhood) = (agent(request.headers()), Gate::of(&request)?.neighbourhood());
    let LoginBody { email, password, code } = read_json(&read_body(request).await?)?;
    let request_id = &context.request_id;
    let code = code.as_deref();
    let attempt = Attempt { email: &email, password, code, agent: &agent, neighbourhood, request_id };
    Ok(answer(sign_in(&services, &attempt).await?))
}

/// Choose the password of a new account, by an invitation or what a sign-up was mailed, which is then used up. Then sign in.
#[utoipa::path(
    post, path = "/api/v1/auth/accept-invitation", operation_id = "acceptInvitation", tag = "sign-in", security(()),
    request_body = AcceptBody,
    responses(
        (status = 204, description = "The password is chosen, and that is recorded"),
        (status = 403, description = "`invitation-invalid`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn accept_invitation(
    State(services): State<Shared>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let context = context(&request)?;
    let AcceptBody { invitation_token, password } = read_json(&read_body(request).await?)?;
    users::accept(&services, &invitation_token, password, &context.request_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Continue a session: the token is answered with new ones and is then used up.
///
/// A token that comes again within 30 seconds gets the same successor; one that comes later is in two hands, and ends
/// the session. A session goes on for 7 days without a refresh, and for 30 in all.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", operation_id = "refreshSession", tag = "sign-in", security(()),
    request_body = RefreshBody,
    responses(
        (status = 200, description = "The next tokens of the session", body = TokenBody),
        (status = 401, description = "`unauthenticated`: sign in", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not continued", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn refresh(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let context = context(&request)?;
    let RefreshBody { refresh_token } = read_json(&read_body(request).await?)?;
    Ok(answer(sessions::refresh(&services, &refresh_token, &context.request_id).await?))
}

/// Sign out: end the session that the request is made in.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", operation_id = "logout", tag = "sign-in",
    responses(
        (status = 204, description = "It is ended, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn logout(State(services): State<Shared>, call: Call) -> Result<StatusCode, Failure> {
    call.no_body()?;
    let (_, session) = call.caller.person()?;
    sessions::end(&services, &call.caller, Which::One(session), "signed-out").await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn answer(signed_in: SignedIn) -> Response {
    let body = TokenBody {
        access_token: signed_in.access_token,
        expires_in_seconds: signed_in.expires_in_seconds,
        refresh_token: signed_in.refresh_token,
        refresh_expires_in_seconds: signed_in.refresh_expires_in_seconds,
    };
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// What the caller uses, in its own words.
pub(super) fn agent(headers: &HeaderMap) -> String {
    headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned()
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
        scope: call.caller.scope,
    })
}
