//! `/api/v1/users/me/second-factor`, `/api/v1/users/{id}/second-factor` and `/api/v1/auth/step-up`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::users::read_user;
use crate::service::second_factor;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecondFactorEnrolment)]
pub(super) struct BeginBody {
    /// The caller's password once more. Who has none, since they sign in elsewhere, must have done so within 10 minutes.
    #[schema(format = Password)]
    password: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactorSecret)]
pub(super) struct SecretBody {
    /// Base32, for an authenticator app (RFC 6238: SHA-1, six digits, 30 seconds). It is shown only here.
    secret: String,
    /// The same as `otpauth://…`, for a picture that the app can read.
    uri: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Code)]
pub(super) struct CodeBody {
    /// Six digits as the app shows them; to step up, also a recovery code.
    #[schema(format = Password)]
    code: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryCodes)]
pub(super) struct RecoveryBody {
    /// Each is good once, instead of a code of the app. They are shown only here.
    recovery_codes: Vec<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SteppedUp)]
pub(super) struct SteppedUpBody {
    /// Until when this session may do what asks for a second factor.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactor)]
pub(super) struct StateBody {
    /// `pending` while a secret waits for its first code: it counts for nothing.
    state: StateName,
    /// How many recovery codes are left; absent without a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    recovery_codes_left: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SecondFactorState)]
enum StateName {
    None,
    Pending,
    Enrolled,
}

/// How it stands with the caller's second factor.
#[utoipa::path(
    get, path = "/api/v1/users/me/second-factor", operation_id = "getSecondFactor", tag = "sign-in",
    responses(
        (status = 200, description = "How it stands", body = StateBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(State(services): State<Shared>, call: Call) -> Result<Json<StateBody>, Failure> {
    let (state, recovery_codes_left) = match second_factor::state(&services, &call.caller).await? {
        second_factor::State::None => (StateName::None, None),
        second_factor::State::Pending => (StateName::Pending, None),
        second_factor::State::Enrolled { recovery_codes_left } => {
            (StateName::Enrolled, Some(recovery_codes_left))
        }
    };
    Ok(Json(StateBody { state, recovery_codes_left }))
}

/// Get a secret for an authenticator app. It counts for nothing before a first code confirms it.
#[utoipa::path(
    post, path = "/api/v1/users/me/second-factor", operation_id = "beginSecondFactor", tag = "sign-in",
    request_body = BeginBody,
    responses(
        (status = 200, description = "The secret, in place of one that was not confirmed", body = SecretBody),
        (status = 403, description = "`password-wrong`; `sign-in-again`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-exists`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn begin(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let BeginBody { password } = call.json_or_empty()?;
    let begun = second_factor::begin(&services, &call.caller, password).await?;
    let body = SecretBody {
        secret: begun.secret.expose_secret().to_owned(),
        uri: begun.uri.expose_secret().to_owned(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Have the secret count, by a first code of it. The session has then stepped up.
#[utoipa::path(
    post, path = "/api/v1/users/me/second-factor/confirm", operation_id = "confirmSecondFactor", tag = "sign-in",
    request_body = CodeBody,
    responses(
        (status = 200, description = "It counts from now on; the codes for when the app is lost", body = RecoveryBody),
        (status = 403, description = "`code-wrong`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No secret waits", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn confirm(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let CodeBody { code } = call.json()?;
    let codes = second_factor::confirm(&services, &call.caller, &code).await?;
    let recovery_codes = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
    Ok(([(CACHE_CONTROL, "no-store")], Json(RecoveryBody { recovery_codes })).into_response())
}

/// Give up the caller's second factor, with its recovery codes.
#[utoipa::path(
    delete, path = "/api/v1/users/me/second-factor", operation_id = "removeSecondFactor", tag = "sign-in",
    responses(
        (status = 204, description = "There is none any more"),
        (status = 403, description = "`step-up-required`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn remove(State(services): State<Shared>, call: Call) -> Result<StatusCode, Failure> {
    call.no_body()?;
    second_factor::remove(&services, &call.caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the second factor of somebody away who has lost it, which ends their sessions. Nobody does so for themselves.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}/second-factor", operation_id = "resetSecondFactor", tag = "people",
    params(("id" = uuid::Uuid, Path, description = "The person")),
    responses(
        (status = 204, description = "They have none any more, and can enrol another"),
        (status = 403, description = "`step-up-required`; `four-eyes` for oneself", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn reset(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    second_factor::reset(&services, &call.caller, read_user(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the caller's second factor in this session, which then may do for 10 minutes what asks for it.
#[utoipa::path(
    post, path = "/api/v1/auth/step-up", operation_id = "stepUp", tag = "sign-in", request_body = CodeBody,
    responses(
        (status = 200, description = "Shown, and recorded", body = SteppedUpBody),
        (status = 403, description = "`code-wrong`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no second factor", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`guessing-slowed`: `Retry-After` says when", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn step_up(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<SteppedUpBody>, Failure> {
    let CodeBody { code } = call.json()?;
    let until = second_factor::step_up(&services, &call.caller, &code).await?;
    Ok(Json(SteppedUpBody { until }))
}
