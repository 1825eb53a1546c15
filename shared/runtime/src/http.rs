//! What every HTTP service does with every request: a request id, the trace context, one log line,
//! metrics, and errors as problem bodies (RFC 9457).

mod parting;

use std::any::Any;
use std::net::SocketAddr;
use std::time::Instant;

use aegis_contract::problem::{self, Problem};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use self::parting::Parting;
use crate::clock;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
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

/// Adds to `router` what every service has: `GET /metrics`, request ids, log lines, metrics, and
/// problem bodies for unknown routes, wrong methods and panics.
pub fn with_edge(router: Router, metrics: Metrics) -> Router {
    let metrics_route = metrics.clone();
    router
        .route("/metrics", get(|| async move { metrics_route.render() }))
        .fallback(|| async { ProblemResponse(Problem::new(StatusCode::NOT_FOUND, "not-found")) })
        .method_not_allowed_fallback(|| async {
            ProblemResponse(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"))
        })
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| internal_error(&*panic)))
        .layer(from_fn_with_state(metrics, edge))
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

async fn edge(State(metrics): State<Metrics>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = TraceContext::from_headers(request.headers()).child();
    let context = RequestContext { request_id: clock::new_uuid().to_string(), trace };
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", requestId = context.request_id, traceId = trace.trace_id());
    let request_id = context.request_id.clone();
    request.extensions_mut().insert(context);

    let response = async {
        let response = render(next.run(request).await, &request_id);
        let elapsed = started.elapsed();
        let status = response.status().as_u16();
        let duration_ms = elapsed.as_secs_f64() * 1_000.0;
        metrics.record_request(&method, &route, status, elapsed.as_secs_f64());
        if route == "/metrics" || route.starts_with("/health") {
            tracing::debug!(method, route, status, duration_ms, "request answered");
        } else {
            tracing::info!(method, route, status, duration_ms, "request answered");
        }
        response
    };
    response.instrument(span).await
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
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, text.into())
}

/// Tells callers of a service that is about to end not to use their connections again, so that none
/// is closed under a request that is already on its way.
async fn part(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if shutdown.is_triggered() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Binds `address` and serves `router` until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr, router: Router, shutdown: Shutdown) -> anyhow::Result<()> {
    let router = router.layer(from_fn_with_state(shutdown.clone(), part));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} (LISTEN_ADDRESS): {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let (listener, parted) = Parting::new(listener, shutdown)?;
    // An answer that waits for the caller to acknowledge the last one is a slow answer.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    axum::serve(listener, service).with_graceful_shutdown(async { drop(parted.await) }).await?;
    Ok(())
}
