//! `/api/v1/audit/export`

use aegis_contract::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;

use super::Shared;
use super::audit_filter::FilterQuery;
use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::export::{self, Form, Wanted};

/// Says how many entries the log had under the checkpoint of an export, which is how to ask for the rest of it.
const CHECKPOINT_SIZE: &str = "aegis-checkpoint-size";

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterQuery,
    /// `bundle`, with all that proves the entries; `jsonl`, the entries alone; or `csv`. `bundle` if absent.
    #[param(value_type = Option<String>)]
    format: Option<FormName>,
    /// Index of the first entry that is wanted, from 0.
    first: Option<u64>,
    /// Index behind the last entry that is wanted.
    end: Option<u64>,
    /// Entries of the log under the checkpoint to prove everything under; the newest checkpoint if absent.
    checkpoint: Option<u64>,
    /// Entries of the log under a checkpoint that was seen before: the bundle proves that the log has only grown.
    remembered: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormName {
    Bundle,
    Jsonl,
    Csv,
}

impl FormName {
    fn form(self) -> Form {
        match self {
            Self::Bundle => Form::Bundle,
            Self::Jsonl => Form::Jsonl,
            Self::Csv => Form::Csv,
        }
    }
}

impl ExportQuery {
    fn wanted(self) -> Result<Wanted, Error> {
        Ok(Wanted {
            form: self.format.unwrap_or(FormName::Bundle).form(),
            filter: self.filter.read()?,
            first: self.first,
            end: self.end,
            checkpoint: self.checkpoint,
            remembered: self.remembered,
        })
    }
}

/// Take entries away in the order of the log, with what proves them.
///
/// Without a filter it is every entry, or every one from `first` to before `end`. The answer is streamed; where it
/// breaks off, ask for the rest with `first` and the `checkpoint` that `aegis-checkpoint-size` named.
#[utoipa::path(
    get, path = "/api/v1/audit/export", operation_id = "exportAuditLog", tag = "audit",
    params(FilterQuery, ExportQuery),
    responses(
        (status = 200, description = "Lines of an evidence bundle, of entries, or of a table",
         headers(("aegis-checkpoint-size" = u64, description = "Entries of the log under the checkpoint used")),
         content((String = "application/jsonl"), (String = "text/csv"))),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn export(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let query: ExportQuery = call.query()?;
    let wanted = query.wanted()?;
    let (media_type, extension) = match wanted.form {
        Form::Bundle | Form::Jsonl => ("application/jsonl", "jsonl"),
        Form::Csv => ("text/csv; charset=utf-8", "csv"),
    };
    let export = export::begin(&services, &call.caller, wanted).await?;
    let size = export.size();
    let file = format!("attachment; filename=\"aegis-audit-{size}.{extension}\"");
    let pieces = Body::from_stream(export::pieces(services, export));
    let headers = [
        (CONTENT_TYPE.as_str(), media_type.to_owned()),
        (CONTENT_DISPOSITION.as_str(), file),
        (CHECKPOINT_SIZE, size.to_string()),
    ];
    Ok((headers, pieces).into_response())
}
