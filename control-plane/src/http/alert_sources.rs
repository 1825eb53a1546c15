//! `/api/v1/alert-sources`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, limit, name_cursor, read_name_cursor};
use crate::service::alert_sources::{self, AlertSource, CreatedCredential, Credential, CredentialKind};

/// Whatever sends alerts.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertSource)]
pub(super) struct SourceBody {
    /// Also the user name of its passwords.
    name: String,
    /// How entries name it.
    principal: String,
    /// Since when its requests are refused; absent while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    disabled_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The newest first; revoked ones too.
    credentials: Vec<CredentialBody>,
}

/// What an alert source proves itself with.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertSourceCredential)]
struct CredentialBody {
    id: Uuid,
    /// `bearer` or `basic`.
    kind: String,
    /// The token, or the password. Shown only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    revoked_at: Option<Timestamp>,
}

/// How a secret is sent.
#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlertSourceCredentialKind)]
enum KindBody {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// `Authorization: Basic`, with the source's name and a password.
    Basic,
}

impl From<KindBody> for CredentialKind {
    fn from(kind: KindBody) -> Self {
        match kind {
            KindBody::Bearer => Self::Bearer,
            KindBody::Basic => Self::Basic,
        }
    }
}

/// An alert source to add, with its first credential.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAlertSource)]
pub(super) struct NewSourceBody {
    /// a-z, 0-9 and '-'.
    name: String,
    kind: KindBody,
}

/// A credential to add.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAlertSourceCredential)]
pub(super) struct NewCredentialBody {
    kind: KindBody,
}

impl From<AlertSource> for SourceBody {
    fn from(source: AlertSource) -> Self {
        let AlertSource { name, created_at, disabled_at, credentials } = source;
        Self {
            principal: format!("alert-source:{name}"),
            name,
            disabled_at,
            created_at,
            credentials: credentials.into_iter().map(CredentialBody::from).collect(),
        }
    }
}

impl From<Credential> for CredentialBody {
    fn from(credential: Credential) -> Self {
        let Credential { id, kind, created_at, last_used_at, revoked_at } = credential;
        Self { id, kind, secret: None, created_at, last_used_at, revoked_at }
    }
}

/// List alert sources by name.
#[utoipa::path(
    get, path = "/api/v1/alert-sources", operation_id = "listAlertSources", tag = "alert-sources", params(PageQuery),
    responses(
        (status = 200, description = "A page of alert sources", body = Page<SourceBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<SourceBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_name_cursor(query.cursor.as_deref())?;
    let found = alert_sources::list(&services, &call.caller, after.as_deref(), limit + 1).await?;
    let bodies = found.into_iter().map(SourceBody::from).collect();
    Ok(Json(Page::new(bodies, limit, |source: &SourceBody| name_cursor(&source.name))))
}

/// Add an alert source with its first credential.
#[utoipa::path(
    post, path = "/api/v1/alert-sources", operation_id = "createAlertSource", tag = "alert-sources",
    request_body = NewSourceBody,
    responses(
        (status = 201, description = "The source, with the secret of its credential", body = SourceBody, headers(("Location" = String))),
        (status = 409, description = "`already-exists`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not added", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let NewSourceBody { name, kind } = call.json()?;
    let made = alert_sources::create(&services, &call.caller, &name, kind.into()).await?;
    let location = (LOCATION, format!("/api/v1/alert-sources/{name}"));
    Ok((StatusCode::CREATED, [location], shown_once(made)).into_response())
}

/// Look at an alert source.
#[utoipa::path(
    get, path = "/api/v1/alert-sources/{name}", operation_id = "getAlertSource", tag = "alert-sources",
    params(("name" = String, Path, description = "The alert source")),
    responses(
        (status = 200, description = "The alert source", body = SourceBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<SourceBody>, Failure> {
    Ok(Json(alert_sources::find(&services, &call.caller, &name).await?.into()))
}

/// Remove an alert source with its credentials, from its next request on.
#[utoipa::path(
    delete, path = "/api/v1/alert-sources/{name}", operation_id = "deleteAlertSource", tag = "alert-sources",
    params(("name" = String, Path, description = "The alert source")),
    responses(
        (status = 204, description = "It is removed, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    alert_sources::delete(&services, &call.caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuse all requests of an alert source, from its next one on. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/alert-sources/{name}/disable", operation_id = "disableAlertSource", tag = "alert-sources",
    params(("name" = String, Path, description = "The alert source")),
    responses(
        (status = 200, description = "The alert source", body = SourceBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn disable(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<SourceBody>, Failure> {
    call.no_body()?;
    Ok(Json(alert_sources::set_disabled(&services, &call.caller, &name, true).await?.into()))
}

/// Take requests of a disabled alert source again. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/alert-sources/{name}/enable", operation_id = "enableAlertSource", tag = "alert-sources",
    params(("name" = String, Path, description = "The alert source")),
    responses(
        (status = 200, description = "The alert source", body = SourceBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enable(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<SourceBody>, Failure> {
    call.no_body()?;
    Ok(Json(alert_sources::set_disabled(&services, &call.caller, &name, false).await?.into()))
}

/// Give an alert source a second credential, to change over to; the first one is good until it is revoked.
#[utoipa::path(
    post, path = "/api/v1/alert-sources/{name}/credentials", operation_id = "addAlertSourceCredential",
    tag = "alert-sources", params(("name" = String, Path, description = "The alert source")),
    request_body = NewCredentialBody,
    responses(
        (status = 201, description = "The source, with the secret of its new credential", body = SourceBody),
        (status = 409, description = "`already-exists`: it has two live ones", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not added", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn add_credential(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let NewCredentialBody { kind } = call.json()?;
    let made = alert_sources::add_credential(&services, &call.caller, &name, kind.into()).await?;
    Ok((StatusCode::CREATED, shown_once(made)).into_response())
}

/// Revoke a credential of an alert source, from the next request on.
#[utoipa::path(
    delete, path = "/api/v1/alert-sources/{name}/credentials/{id}", operation_id = "revokeAlertSourceCredential",
    tag = "alert-sources",
    params(
        ("name" = String, Path, description = "The alert source"),
        ("id" = Uuid, Path, description = "The credential"),
    ),
    responses(
        (status = 204, description = "It is revoked, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn revoke_credential(
    State(services): State<Shared>,
    Path((name, id)): Path<(String, String)>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    // What is no id is that of none.
    let id = id.parse().unwrap_or_default();
    alert_sources::revoke_credential(&services, &call.caller, &name, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An answer that nothing on its way may keep.
fn shown_once((source, made): (AlertSource, CreatedCredential)) -> impl IntoResponse {
    let mut body = SourceBody::from(source);
    if let Some(credential) = body.credentials.iter_mut().find(|credential| credential.id == made.id) {
        credential.secret = Some(made.secret.expose_secret().to_owned());
    }
    ([(CACHE_CONTROL, "no-store")], Json(body))
}
