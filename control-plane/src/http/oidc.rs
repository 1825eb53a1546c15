//! `/api/v1/auth/oidc…`: signing in with the identity provider.

use aegis_contract::ids::FlowId;
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::{TokenBody, agent, answer};
use super::call::{context, read_body, read_json};
use super::error::Failure;
use crate::error::Error;
use crate::service::single_sign_on::{self, Begun, Handover, LIFETIME, Redemption, Return};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BeginSingleSignOn)]
pub(super) struct BeginBody {
    /// S256 of a secret of 32 random bytes that only you hold (RFC 7636 section 4.2).
    challenge: String,
    /// Where you listen on 127.0.0.1: the person's browser brings `code` and `flow` there, or `error` and `flow`.
    #[schema(minimum = 1024)]
    port: u16,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SingleSignOn)]
pub(super) struct BegunBody {
    /// What the browser brings as `flow`; pay no heed to any other.
    id: FlowId,
    /// Where the person signs in.
    authorization_url: String,
    expires_in_seconds: i64,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackQuery {
    /// What the sign-in is recognised by.
    state: Option<String>,
    /// What the provider proves the person for.
    code: Option<String>,
    /// Why it does not.
    error: Option<String>,
    /// Whom it is from (RFC 9207).
    iss: Option<String>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndSingleSignOn)]
pub(super) struct RedeemBody {
    /// What the browser brought.
    #[schema(format = Password)]
    code: String,
    /// The secret whose S256 it was begun with.
    #[schema(format = Password)]
    verifier: String,
}

/// Begin to sign in with the identity provider, as a program on the person's machine.
///
/// The person is to open `authorizationUrl`. They come to `/api/v1/auth/oidc/callback`, and from there to the port that
/// you listen on.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc", operation_id = "beginSingleSignOn", tag = "sign-in", security(()),
    request_body = BeginBody,
    responses(
        (status = 200, description = "Where the person goes", body = BegunBody),
        (status = 404, description = "`single-sign-on-absent`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not begun", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn begin(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let BeginBody { challenge, port } = read_json(&read_body(request).await?)?;
    let Begun { id, authorization_url } = single_sign_on::begin(&services, &challenge, port).await?;
    let body = BegunBody { id, authorization_url, expires_in_seconds: LIFETIME.as_secs() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Where the identity provider sends people back to. They are sent on to the program that began it.
#[utoipa::path(
    get, path = "/api/v1/auth/oidc/callback", operation_id = "comeBackFromProvider", tag = "sign-in", security(()),
    params(CallbackQuery),
    responses(
        (status = 303, description = "To the program, on a loopback address"),
        (status = 403, description = "`flow-unknown`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`single-sign-on-absent`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not taken", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn come_back(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let context = context(&request)?;
    // Others than these are to be ignored (RFC 6749 section 4.1.2); why it is refused may repeat what was said.
    let query = Query::<CallbackQuery>::try_from_uri(request.uri());
    let Query(CallbackQuery { state, code, error, iss }) = query.map_err(|_| Error::Parameter {
        name: "query",
        message: "must hold each of state, code, error and iss once at most".to_owned(),
    })?;
    let code = match (&code, &error) {
        (Some(code), None) => Ok(code.as_str()),
        (_, error) => Err(error.as_deref().unwrap_or_default()),
    };
    let came = Return { state: state.as_deref().unwrap_or_default(), code, issuer: iss.as_deref() };
    let Handover { port, flow, outcome } =
        single_sign_on::come_back(&services, came, &context.request_id).await?;
    let (name, value) = match &outcome {
        Ok(code) => ("code", code.as_str()),
        Err(error) => ("error", *error),
    };
    // All of it is made here, of characters that a URL may hold.
    let location = format!("http://127.0.0.1:{port}/?flow={flow}&{name}={value}");
    let headers =
        [(LOCATION, location.as_str()), (CACHE_CONTROL, "no-store"), (REFERRER_POLICY, "no-referrer")];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// End a sign-in with the identity provider: the code is good once, for a minute, and only for who began it.
#[utoipa::path(
    post, path = "/api/v1/auth/oidc/session", operation_id = "endSingleSignOn", tag = "sign-in", security(()),
    request_body = RedeemBody,
    responses(
        (status = 200, description = "An access token, and the one that continues the session", body = TokenBody),
        (status = 403, description = "`flow-unknown`, `no-role`, `email-unverified`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`single-sign-on-absent`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`email-taken`, `user-disabled`, `last-admin`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not signed in", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn redeem(State(services): State<Shared>, request: Request) -> Result<Response, Failure> {
    let context = context(&request)?;
    let agent = agent(request.headers());
    let RedeemBody { code, verifier } = read_json(&read_body(request).await?)?;
    let request_id = &context.request_id;
    let shown = Redemption { code: &code, verifier: &verifier, agent: &agent, request_id };
    Ok(answer(single_sign_on::redeem(&services, shown).await?))
}
