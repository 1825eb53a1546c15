//! The executor's HTTP surface: one route that takes orders, and health.

mod health;
mod orders;

use std::sync::Arc;

use aegis_contract::strict::Limits;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::execute::Executor;

/// All routes; `/metrics` and the handling of errors come with the edge.
pub(crate) fn routes(executor: Arc<Executor>) -> Router {
    Router::new()
        .route("/v1/orders", post(orders::answer_order))
        .layer(DefaultBodyLimit::max(Limits::WIRE.bytes_max))
        .with_state(Arc::clone(&executor))
        .merge(health_routes(executor))
}

/// The routes about health alone.
pub(crate) fn health_routes(executor: Arc<Executor>) -> Router {
    Router::new()
        .route("/health/ping", get(health::ping))
        .route("/health/ready", get(health::ready))
        .with_state(executor)
}
