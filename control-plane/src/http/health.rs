//! `/api/v1/health`, `/health/ping`, `/health/ready`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::error::Failure;
use crate::service::health;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthBody {
    /// `up`; `degraded` when an executor is not ready or the database is nearly full; `down` when the
    /// database does not answer or this machine's clock is wrong.
    status: &'static str,
    postgres: PartBody,
    clock: ClockBody,
    executors: Vec<ExecutorBody>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HealthPart)]
struct PartBody {
    /// `up`; `full` when nothing new is recorded for want of room; `down`.
    status: &'static str,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HealthClock)]
struct ClockBody {
    /// `up`, or `skewed` when it differs from the database's by more than a second.
    status: &'static str,
    /// How far it is ahead of the database's, at the least; negative when behind.
    offset_seconds: f64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HealthExecutor)]
struct ExecutorBody {
    cluster: String,
    /// `up` or `down`.
    status: &'static str,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HealthStatus)]
pub(super) struct StatusBody {
    status: &'static str,
}

fn word(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

/// Say whether everything works that the control plane depends on.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "health", tag = "health", security(()),
    responses(
        (status = 200, description = "It can work, if perhaps not on every cluster", body = HealthBody),
        (status = 503, description = "It cannot work", body = HealthBody),
    ),
)]
pub(super) async fn look(State(services): State<Shared>) -> Response {
    let health = health::look(&services).await;
    let all_ready = health.executors.iter().all(|(_, ready)| *ready);
    let can_work = health.postgres && health.is_clock_true;
    let (code, status) = match (can_work, all_ready && !health.is_database_full) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "down"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::OK, "up"),
    };
    let postgres = match (health.postgres, health.is_database_full) {
        (false, _) => "down",
        (true, true) => "full",
        (true, false) => "up",
    };
    let clock = ClockBody {
        status: if health.is_clock_true { "up" } else { "skewed" },
        offset_seconds: health.clock_offset.as_secs_f64(),
    };
    let executors = health
        .executors
        .into_iter()
        .map(|(cluster, ready)| ExecutorBody { cluster, status: word(ready) })
        .collect();
    let body = HealthBody { status, postgres: PartBody { status: postgres }, clock, executors };
    (code, Json(body)).into_response()
}

/// Say that the process runs.
#[utoipa::path(
    get, path = "/health/ping", operation_id = "ping", tag = "health", security(()),
    responses((status = 200, description = "It runs", body = StatusBody)),
)]
pub(super) async fn ping() -> Json<StatusBody> {
    Json(StatusBody { status: "up" })
}

/// Say whether this process can take requests.
#[utoipa::path(
    get, path = "/health/ready", operation_id = "ready", tag = "health", security(()),
    responses(
        (status = 200, description = "It can", body = StatusBody),
        (status = 503, description = "It cannot: the database does not answer, or this machine's clock is wrong", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn ready(State(services): State<Shared>) -> Result<Json<StatusBody>, Failure> {
    health::ready(&services).await?;
    Ok(Json(StatusBody { status: "ready" }))
}
