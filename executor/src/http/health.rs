//! Whether the process runs, and whether it can take orders.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::orders::problem_of;
use crate::execute::{AnswerError, Executor};

/// Answers as long as the process runs.
pub(super) async fn ping() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Answers 200 when the ledger can be used. The cluster may be away: orders are still answered.
pub(super) async fn ready(
    State(executor): State<Arc<Executor>>,
) -> Result<Json<Value>, aegis_runtime::http::ProblemResponse> {
    let position =
        executor.ledger.position().await.map_err(|error| problem_of(&AnswerError::Ledger(error)))?;
    Ok(Json(json!({ "status": "ready", "ledger": position })))
}
