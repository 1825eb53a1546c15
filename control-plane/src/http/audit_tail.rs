//! `/api/v1/audit/tail`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Shared;
use super::audit_entries::EntrySchema;
use super::audit_filter::FilterQuery;
use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::tail::{self, Filed};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TailQuery {
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterQuery,
    /// The place to go on from: `next` of the answer before; only what comes from now on if absent.
    first: Option<u64>,
}

/// A part of the log, in its order.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LogPart)]
pub(super) struct PartBody {
    entries: Vec<PlacedBody>,
    /// Where to go on.
    next: u64,
    /// Entries of the log under its newest checkpoint; once `next` is that, ask again in a second.
    size: u64,
}

/// An entry in its place.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PlacedEntry)]
pub(super) struct PlacedBody {
    index: u64,
    /// Byte for byte as it was recorded.
    #[schema(value_type = EntrySchema)]
    entry: Box<RawValue>,
}

/// Follow the audit log: entries in its order, without those that tell of reading.
///
/// That somebody follows is an entry: one for each reader, filter and minute.
#[utoipa::path(
    get, path = "/api/v1/audit/tail", operation_id = "followAuditLog", tag = "audit", params(FilterQuery, TailQuery),
    responses(
        (status = 200, description = "The next part of the log; empty where nothing is new", body = PartBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn follow(State(services): State<Shared>, call: Call) -> Result<Json<PartBody>, Failure> {
    let query: TailQuery = call.query()?;
    let filter = query.filter.read()?;
    let part = tail::follow(&services, &call.caller, &filter, query.first).await?;
    let placed = |filed: Filed| {
        let text = String::from_utf8(filed.body).map_err(Error::internal)?;
        Ok(PlacedBody { index: filed.index, entry: RawValue::from_string(text).map_err(Error::internal)? })
    };
    let entries = part.entries.into_iter().map(placed).collect::<Result<Vec<_>, Error>>()?;
    Ok(Json(PartBody { entries, next: part.next, size: part.size }))
}
