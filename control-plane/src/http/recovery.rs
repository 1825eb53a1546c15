//! `/api/v1/auth/forgot-password`, `/reset-password` and `/sign-up`: accounts by mail.

use aegis_contract::problem::Problem;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Deserialize;

use super::Shared;
use super::call::{context, read_body, read_json};
use super::error::Failure;
use crate::service::{password_resets, sign_up};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailAddress)]
pub(super) struct AddressBody {
    email: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = ResetPassword)]
pub(super) struct ResetBody {
    /// What was mailed.
    #[schema(format = Password)]
    reset_token: String,
    /// At least 12 characters, at most 1,024 bytes.
    #[schema(format = Password)]
    password: String,
}

/// Have somebody mailed what they can choose another password with, if they have one.
///
/// It is the same for every address. What is mailed is good once and for an hour, and at most three times in an hour.
#[utoipa::path(
    post, path = "/api/v1/auth/forgot-password", operation_id = "forgotPassword", tag = "sign-in", security(()),
    request_body = AddressBody,
    responses(
        (status = 202, description = "It will be mailed, if anybody is to get it"),
        (status = 403, description = "`mail-off`: no mail is sent here", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn forgot_password(
    State(services): State<Shared>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let context = context(&request)?;
    let AddressBody { email } = read_json(&read_body(request).await?)?;
    password_resets::forgot(&services, &email, &context.request_id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Choose another password by what was mailed, which is then used up. It ends all sessions. Then sign in.
#[utoipa::path(
    post, path = "/api/v1/auth/reset-password", operation_id = "resetPassword", tag = "sign-in", security(()),
    request_body = ResetBody,
    responses(
        (status = 204, description = "The password is chosen, all sessions are ended, and that is recorded"),
        (status = 403, description = "`reset-invalid`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn reset_password(
    State(services): State<Shared>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let context = context(&request)?;
    let ResetBody { reset_token, password } = read_json(&read_body(request).await?)?;
    password_resets::reset(&services, &reset_token, password, &context.request_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for an account, where people may make their own.
///
/// It is the same for every address of a domain whose people may. What is mailed is good once and for a day, and sent to
/// `/api/v1/auth/accept-invitation` with a password makes an account with the role `user`.
#[utoipa::path(
    post, path = "/api/v1/auth/sign-up", operation_id = "signUp", tag = "sign-in", security(()),
    request_body = AddressBody,
    responses(
        (status = 202, description = "What to do next will be mailed"),
        (status = 403, description = "`sign-up-off`: nobody may, or nobody with such an address", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn ask_for_account(
    State(services): State<Shared>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let context = context(&request)?;
    let AddressBody { email } = read_json(&read_body(request).await?)?;
    sign_up::sign_up(&services, &email, &context.request_id).await?;
    Ok(StatusCode::ACCEPTED)
}
