//! `/api/v1/audit/entries`

use std::collections::BTreeMap;

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
use super::audit_filter::FilterQuery;
use super::call::Call;
use super::error::Failure;
use super::page::{id_cursor, limit, place_cursor, read_id_cursor, read_place_cursor};
use crate::error::Error;
use crate::service::entries::{self, Counts, Order, Start, Wanted};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterQuery,
    /// `newest` first, or `oldest` first; `newest` if absent.
    #[param(value_type = Option<String>)]
    order: Option<OrderName>,
    /// Whether to count how often values occur, among the first 2,000 entries from this page on.
    facets: Option<bool>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OrderName {
    Newest,
    Oldest,
}

/// A page of entries.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryPage {
    /// The entries. Fewer than were asked for, or none, do not mean that there are no more: only the absence of
    /// `nextCursor` does.
    #[schema(value_type = Vec<EntrySchema>)]
    items: Vec<EntryBody>,
    /// Send it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
    /// How often values occur, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    facets: Option<FacetCounts>,
}

/// How often values occur among the entries from a page on.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct FacetCounts {
    /// Entries that were counted.
    entries: u64,
    /// Whether they are all that fit.
    complete: bool,
    /// The most frequent values of each field, named as the parameters are.
    fields: BTreeMap<&'static str, Vec<ValueCount>>,
}

/// How often a value occurs.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ValueCount {
    value: String,
    count: u64,
}

impl From<Counts> for FacetCounts {
    fn from(counts: Counts) -> Self {
        let counted = |(value, count)| ValueCount { value, count };
        let fields = counts.fields.into_iter();
        let fields =
            fields.map(|(field, values)| (field.as_str(), values.into_iter().map(counted).collect()));
        Self { entries: counts.entries, complete: counts.is_complete, fields: fields.collect() }
    }
}

/// One entry, byte for byte as it was recorded.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct EntryBody {
    text: Box<RawValue>,
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

/// Search the audit log.
#[utoipa::path(
    get, path = "/api/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit",
    params(FilterQuery, ListQuery),
    responses(
        (status = 200, description = "A page of entries", body = EntryPage),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(State(services): State<Shared>, call: Call) -> Result<Json<EntryPage>, Failure> {
    let query: ListQuery = call.query()?;
    let wanted = Wanted {
        order: match query.order {
            Some(OrderName::Oldest) => Order::Oldest,
            Some(OrderName::Newest) | None => Order::Newest,
        },
        start: read_cursor(query.cursor.as_deref())?,
        limit: limit(query.limit)? as usize,
        is_counted: query.facets.unwrap_or_default(),
    };
    let filter = query.filter.read()?;
    let page = entries::list(&services, &call.caller, &filter, wanted).await?;
    let items = page.entries.into_iter().map(|entry| {
        let text = String::from_utf8(entry.body).map_err(Error::internal)?;
        Ok(EntryBody { text: RawValue::from_string(text).map_err(Error::internal)? })
    });
    Ok(Json(EntryPage {
        items: items.collect::<Result<_, Error>>()?,
        next_cursor: page.next.map(cursor),
        facets: page.counts.map(FacetCounts::from),
    }))
}

fn cursor(start: Start) -> String {
    match start {
        Start::Behind(id) => id_cursor(id.0),
        Start::At(place) => place_cursor(place),
    }
}

fn read_cursor(cursor: Option<&str>) -> Result<Option<Start>, Failure> {
    if let Some(place) = cursor.and_then(read_place_cursor) {
        return Ok(Some(Start::At(place)));
    }
    Ok(read_id_cursor(cursor)?.map(|id| Start::Behind(EntryId(id))))
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
