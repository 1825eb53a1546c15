//! `/api/v1/policies`, `/api/v1/policy/validate` and `/api/v1/policy/schema`

use aegis_contract::digest::Digest;
use aegis_contract::ids::EntryId;
use aegis_contract::problem::Problem;
use aegis_policy::Draft;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::etag::{precondition, tag};
use super::page::{Page, PageQuery, limit, name_cursor, read_name_cursor};
use crate::error::Error;
use crate::service::policies::activation::{self, Activation};
use crate::service::policies::{self, Policy, Version};

/// A policy without its document.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PolicySummary)]
pub(super) struct SummaryBody {
    name: String,
    latest_version: u32,
    /// The version that counts; null when none does.
    active_version: Option<u32>,
    /// The version to go back to: the one that was active before.
    previous_version: Option<u32>,
    /// The sync it belongs to; then it is read-only elsewhere. Null when it belongs to none.
    managed_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A policy with one version of its document.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Policy)]
pub(super) struct PolicyBody {
    #[serde(flatten)]
    policy: SummaryBody,
    /// The version shown here.
    version: u32,
    /// SHA-256 over the document's canonical JSON.
    digest: String,
    /// Who stored this version.
    stored_by: String,
    #[schema(value_type = String, format = DateTime)]
    stored_at: Timestamp,
    /// The document, `aegis.policy/v1`.
    #[schema(value_type = Object)]
    document: Box<RawValue>,
}

/// What a document that is in order says about itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CheckedPolicy)]
pub(super) struct CheckedBody {
    name: String,
    #[schema(value_type = String)]
    digest: Digest,
    rules: Vec<RuleBody>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CheckedRule)]
struct RuleBody {
    id: String,
    /// `ALLOW`, `DENY` or `REQUIRE`.
    effect: &'static str,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Activation)]
pub(super) struct ActivateBody {
    /// The version that shall count; also an earlier one.
    version: u32,
    /// The audit entry of a replay of what will be active.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>, nullable = false)]
    replay: Option<EntryId>,
}

impl From<Policy> for SummaryBody {
    fn from(policy: Policy) -> Self {
        Self {
            name: policy.name,
            latest_version: policy.latest_version,
            active_version: policy.active_version,
            previous_version: policy.previous_version,
            managed_by: policy.managed_by,
            created_at: policy.created_at,
            updated_at: policy.updated_at,
        }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SchemaQuery {
    /// The draft of JSON Schema; 2020-12 when left out, 7 for most editors.
    draft: Option<DraftParam>,
}

#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
enum DraftParam {
    #[serde(rename = "2020-12")]
    Draft202012,
    #[serde(rename = "7")]
    Draft7,
}

/// The answer to everything about one policy: its body under the tag of its newest version.
fn answer(status: StatusCode, (policy, version): (Policy, Version)) -> Result<Response, Failure> {
    let tag = tag(policy.latest_version);
    let body = PolicyBody {
        policy: policy.into(),
        version: version.version,
        digest: version.digest,
        stored_by: version.created_by,
        stored_at: version.created_at,
        document: RawValue::from_string(version.document).map_err(Error::internal)?,
    };
    Ok((status, [(ETAG, tag)], Json(body)).into_response())
}

/// List policies by name.
#[utoipa::path(
    get, path = "/api/v1/policies", operation_id = "listPolicies", tag = "policies", params(PageQuery),
    responses(
        (status = 200, description = "A page of policies", body = Page<SummaryBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<SummaryBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_name_cursor(query.cursor.as_deref())?;
    let found = policies::list(&services, &call.caller, after.as_deref(), limit + 1).await?;
    let bodies = found.into_iter().map(SummaryBody::from).collect();
    Ok(Json(Page::new(bodies, limit, |policy: &SummaryBody| name_cursor(&policy.name))))
}

/// Look at a policy and its newest version.
#[utoipa::path(
    get, path = "/api/v1/policies/{name}", operation_id = "getPolicy", tag = "policies",
    params(("name" = String, Path, description = "The policy")),
    responses(
        (status = 200, description = "The policy", body = PolicyBody, headers(("ETag" = String, description = "Of its newest version"))),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    answer(StatusCode::OK, policies::find(&services, &call.caller, &name, None).await?)
}

/// Look at one version of a policy.
#[utoipa::path(
    get, path = "/api/v1/policies/{name}/versions/{version}", operation_id = "getPolicyVersion", tag = "policies",
    params(("name" = String, Path, description = "The policy"), ("version" = u32, Path, description = "The version, from 1")),
    responses(
        (status = 200, description = "The policy with that version", body = PolicyBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find_version(
    State(services): State<Shared>,
    Path((name, version)): Path<(String, String)>,
    call: Call,
) -> Result<Response, Failure> {
    let version = version.parse().map_err(|_| Error::NotFound { what: "policy version" })?;
    answer(StatusCode::OK, policies::find(&services, &call.caller, &name, Some(version)).await?)
}

/// Store the next version of a policy. It counts only once it is activated.
#[utoipa::path(
    put, path = "/api/v1/policies/{name}", operation_id = "storePolicy", tag = "policies",
    params(
        ("name" = String, Path, description = "The policy, as named in the document"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the newest version you have seen"),
        ("If-None-Match" = Option<String>, Header, description = "`*` for a new policy"),
    ),
    request_body(content = Object, description = "The document, `aegis.policy/v1`", content_type = "application/json"),
    responses(
        (status = 201, description = "A new policy", body = PolicyBody, headers(("ETag" = String), ("Location" = String))),
        (status = 200, description = "The next version", body = PolicyBody, headers(("ETag" = String))),
        (status = 412, description = "`precondition-failed`: there is a newer version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`policy-invalid`, or `unsupported` when that is all that is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`precondition-required`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not stored", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn store(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let precondition = precondition(&call)?.ok_or(Error::PreconditionRequired)?;
    let stored = policies::store_version(&services, &call.caller, &name, call.bytes(), &precondition).await?;
    if stored.1.version > 1 {
        return answer(StatusCode::OK, stored);
    }
    let location = format!("/api/v1/policies/{name}");
    Ok(([(LOCATION, location)], answer(StatusCode::CREATED, stored)?).into_response())
}

/// Make a version of a policy the one that counts.
#[utoipa::path(
    post, path = "/api/v1/policies/{name}/activate", operation_id = "activatePolicy", tag = "policies",
    params(
        ("name" = String, Path, description = "The policy"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the newest version you have seen"),
    ),
    request_body = ActivateBody,
    responses(
        (status = 200, description = "The policy with its active version", body = PolicyBody),
        (status = 403, description = "`four-eyes`: you stored this version yourself; `forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`policy-managed`, `replay-required`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`policy-tests-failed`, with every test that does", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn activate(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let ActivateBody { version, replay } = call.json()?;
    let precondition = precondition(&call)?;
    let wanted = Activation { version, replay };
    let done = activation::activate(&services, &call.caller, &name, wanted, precondition.as_ref()).await?;
    answer(StatusCode::OK, done)
}

/// Make a policy count no more.
#[utoipa::path(
    post, path = "/api/v1/policies/{name}/deactivate", operation_id = "deactivatePolicy", tag = "policies",
    params(
        ("name" = String, Path, description = "The policy"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the newest version you have seen"),
    ),
    responses(
        (status = 200, description = "The policy with its newest version", body = PolicyBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn deactivate(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    let precondition = precondition(&call)?;
    let done = activation::deactivate(&services, &call.caller, &name, precondition.as_ref()).await?;
    answer(StatusCode::OK, done)
}

/// Say whether a document could be stored.
#[utoipa::path(
    post, path = "/api/v1/policy/validate", operation_id = "validatePolicy", tag = "policies",
    request_body(content = Object, description = "The document, `aegis.policy/v1`", content_type = "application/json"),
    responses(
        (status = 200, description = "It is in order", body = CheckedBody),
        (status = 422, description = "`policy-invalid` or `unsupported`, with everything that is wrong", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn validate(call: Call) -> Result<Json<CheckedBody>, Failure> {
    let checked = policies::validate(&call.caller, call.bytes()).await?;
    let rules = checked.rules.into_iter().map(|(id, effect)| RuleBody { id, effect }).collect();
    Ok(Json(CheckedBody { name: checked.name, digest: checked.digest, rules }))
}

/// The JSON Schema of documents. It is a help for editors: the reader of documents looks closer.
#[utoipa::path(
    get, path = "/api/v1/policy/schema", operation_id = "getPolicySchema", tag = "policies", params(SchemaQuery),
    security(()),
    responses(
        (status = 200, description = "The schema", body = Object, content_type = "application/schema+json"),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn schema(uri: Uri) -> Result<Response, Failure> {
    let Query(query) = Query::<SchemaQuery>::try_from_uri(&uri)
        .map_err(|rejection| Error::Parameter { name: "query", message: rejection.body_text() })?;
    let draft = match query.draft {
        None | Some(DraftParam::Draft202012) => Draft::Draft202012,
        Some(DraftParam::Draft7) => Draft::Draft7,
    };
    let schema = Json(aegis_policy::schema(draft));
    Ok(([(CONTENT_TYPE, "application/schema+json")], schema).into_response())
}
