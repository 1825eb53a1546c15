//! What every HTTP service does with every request: a request id, the trace context, one log line,
//! metrics, errors as problem bodies (RFC 9457), and bounds on what callers get.

pub mod address;
mod body;
mod bounds;
mod connections;
mod guards;
mod impatient;
mod parting;
mod serve;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_contract::problem::{self, Problem};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

pub use self::body::{BodyFault, read_body};
pub use self::bounds::Bounds;
pub use self::serve::{Listen, serve};
use crate::clock;
use crate::metrics::Metrics;
use crate::trace_context::TraceContext;

/// Header that tells the caller the request id.
pub const REQUEST_ID: &str = "x-request-id";

/// What is known of a request besides its content. Handlers take it as an `Extension`.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Names the request in answers, logs and audit entries.
    pub request_id: String,
    /// The hop this request is.
    pub trace: TraceContext,
    /// How long its body may take to arrive.
    pub body_within: Duration,
}

/// An error as an HTTP answer. The body is written at the edge of the service, which adds the
/// request id.
#[derive(Clone, Debug)]
pub struct ProblemResponse(pub Problem);

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// What the edge works with.
#[derive(Clone)]
struct Edge {
    metrics: Metrics,
    bounds: Bounds,
    /// Turns at being worked on.
    turns: Arc<Semaphore>,
}

/// Gives unknown routes and wrong methods problem bodies. Before the layers of the service itself, so that they are
/// around these answers too.
pub fn with_problems(router: Router) -> Router {
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> ProblemResponse {
    ProblemResponse(Problem::new(StatusCode::NOT_FOUND, "not-found"))
}

async fn method_not_allowed() -> ProblemResponse {
    ProblemResponse(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"))
}

/// Adds `GET /metrics` to `router`.
pub fn with_metrics(router: Router, metrics: Metrics) -> Router {
    router.route("/metrics", get(|| async move { metrics.render() }).fallback(method_not_allowed))
}

/// Adds to `router` what every service has: request ids, log lines, metrics, problem bodies for panics, and bounds on how
/// many requests are worked on at once and for how long.
pub fn with_edge(router: Router, metrics: Metrics, bounds: Bounds) -> Router {
    let turns = Arc::new(Semaphore::new(bounds.requests_max));
    router
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| internal_error(&*panic)))
        .layer(from_fn_with_state(Edge { metrics, bounds, turns }, edge))
}

fn internal_error(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a request handler panicked");
    ProblemResponse(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal")).into_response()
}

async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = TraceContext::from_headers(request.headers()).child();
    let request_id = clock::new_uuid().to_string();
    let context = RequestContext { request_id: request_id.clone(), trace, body_within: edge.bounds.slow };
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", requestId = request_id, traceId = trace.trace_id());
    request.extensions_mut().insert(context);

    let response = async {
        let watches = route == "/metrics" || route.starts_with("/health");
        let response = if watches { next.run(request).await } else { edge.answer(request, next).await };
        let response = render(response, &request_id);
        let elapsed = started.elapsed();
        let status = response.status().as_u16();
        let duration_ms = elapsed.as_secs_f64() * 1_000.0;
        edge.metrics.record_request(&method, &route, status, elapsed.as_secs_f64());
        if watches {
            tracing::debug!(method, route, status, duration_ms, "request answered");
        } else {
            tracing::info!(method, route, status, duration_ms, "request answered");
        }
        response
    };
    response.instrument(span).await
}

impl Edge {
    /// Answers a request if it gets a turn, and in time.
    async fn answer(&self, request: Request, next: Next) -> Response {
        let Ok(_turn) = self.turns.try_acquire() else {
            return unavailable("overloaded", "too many requests are being worked on; try again".to_owned());
        };
        let within = self.bounds.request;
        tokio::time::timeout(within, next.run(request)).await.unwrap_or_else(|_| {
            let detail = format!(
                "not answered within {} s; what it changed, if anything, is to be looked at, or learnt with the same \
                 Idempotency-Key",
                within.as_secs()
            );
            unavailable("timed-out", detail)
        })
    }
}

fn unavailable(code: &str, detail: String) -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code).with_detail(detail);
    let mut response = ProblemResponse(problem).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn render(response: Response, request_id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let id = HeaderValue::from_str(request_id).expect("a UUID is a valid header value");
    parts.headers.insert(REQUEST_ID, id);
    let Some(mut problem) = parts.extensions.remove::<Problem>() else {
        return Response::from_parts(parts, body);
    };
    problem.request_id = Some(request_id.to_owned());
    let text = serde_json::to_vec(&problem).expect("a problem is plain JSON");
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    Response::from_parts(parts, text.into())
}
