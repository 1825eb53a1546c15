//! `/api/v1/audit/entries`

use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, id_cursor, limit, read_id_cursor};
use crate::audit::Kind;
use crate::error::Error;
use crate::service::entries::{self, Filter};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Entries of this action.
    #[param(value_type = Option<uuid::Uuid>)]
    action_id: Option<ActionId>,
    /// Entries of this kind, such as `action.ended`.
    kind: Option<String>,
    /// Entries of this principal: `user:…`, `client:…`, `engine:…`, …
    principal: Option<String>,
    /// Entries caused by this request.
    request_id: Option<String>,
    /// Entries at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Entries before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// One entry, byte for byte as it was recorded.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct EntryBody {
    text: Box<RawValue>,
    #[serde(skip)]
    id: EntryId,
}

/// One record of the audit log, as canonical JSON.
#[derive(utoipa::ToSchema)]
#[schema(as = Entry, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the log holds")]
pub(super) struct EntrySchema {
    /// `aegis.entry/v1`.
    schema: String,
    id: EntryId,
    kind: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    principal: String,
    #[schema(nullable = false, required = false)]
    action_id: Option<ActionId>,
    #[schema(nullable = false, required = false)]
    request_id: Option<String>,
    /// What is particular to the kind.
    #[schema(value_type = Object)]
    data: Value,
}

/// Search the audit log, the newest entries first.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit", params(ListQuery),
    responses(
        (status = 200, description = "A page of entries", body = Page<EntrySchema>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<EntryBody>>, Failure> {
    let query: ListQuery = call.query()?;
    let limit = limit(query.limit)?;
    let before = read_id_cursor(query.cursor.as_deref())?.map(EntryId);
    let kind = read_kind(query.kind.as_deref())?;
    let filter = Filter {
        action_id: query.action_id,
        kind,
        principal: query.principal,
        request_id: query.request_id,
        from: query.from,
        to: query.to,
    };
    let found = entries::list(&services, &call.caller, &filter, before, limit + 1).await?;
    let bodies = found
        .into_iter()
        .map(|entry| {
            let text = String::from_utf8(entry.body).map_err(Error::internal)?;
            let text = RawValue::from_string(text).map_err(Error::internal)?;
            Ok(EntryBody { text, id: entry.id })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(Json(Page::new(bodies, limit, |entry: &EntryBody| id_cursor(entry.id.0))))
}

/// Read one entry of the audit log, byte for byte as it was recorded.
#[utoipa::path(
    get, path = "/api/v1/audit/entries/{id}", operation_id = "getAuditEntry", tag = "audit",
    params(("id" = uuid::Uuid, Path, description = "The entry")),
    responses(
        (status = 200, description = "The entry", body = EntrySchema),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let id: EntryId = id.parse().map_err(|_| Error::NotFound { what: "entry" })?;
    let body = entries::find(&services, &call.caller, id).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The kind of that name, which there must be.
pub(super) fn read_kind(name: Option<&str>) -> Result<Option<Kind>, Error> {
    name.map(|name| Kind::parse(name).ok_or_else(|| unknown_kind(name))).transpose()
}

fn unknown_kind(kind: &str) -> Error {
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    Error::Parameter { name: "kind", message: format!("`{kind}` must be one of {}", known.join(", ")) }
}
