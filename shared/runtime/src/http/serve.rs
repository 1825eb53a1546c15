//! Listening, and speaking HTTP/1.1 on each connection within the service's bounds.

use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;

use aegis_contract::problem::{self, Problem};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::serve::Listener as _;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::bounds::{Bounds, HEAD_BYTES_MAX, HEADERS_MAX};
use super::connections::Connections;
use super::impatient::Impatient;
use super::parting::Parting;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Tells callers of a service that is about to end not to use their connections again, so that none
/// is closed under a request that is already on its way.
async fn part(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if shutdown.is_triggered() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Binds `address` and serves `router` within `bounds` until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    router: Router,
    metrics: Metrics,
    bounds: Bounds,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let router = router.layer(from_fn_with_state(shutdown.clone(), part));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} (LISTEN_ADDRESS): {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let (mut listener, parted) = Parting::new(listener, shutdown)?;
    let mut parted = pin!(parted);
    let http = protocol(&bounds);
    let slow = bounds.slow;
    let connections = Connections::new(bounds, metrics);
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut parted => break,
        };
        let Some(place) = connections.admit(peer.ip()) else {
            turn_away(stream);
            continue;
        };
        // An answer that waits for the caller to acknowledge the last one is a slow answer.
        drop(stream.set_nodelay(true));
        let service = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            service.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(Impatient::new(stream, slow)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn protocol(bounds: &Bounds) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.idle)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    http
}

/// Says in one piece that there are too many connections. Whether that arrives is not waited for.
fn turn_away(stream: TcpStream) {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections")
        .with_detail("there are too many connections, in all or from this address; close some, or try again");
    let body = serde_json::to_string(&problem).expect("a problem is plain JSON");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        problem::MEDIA_TYPE,
        body.len()
    );
    // It fits into the empty buffer of a new connection.
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(answer.as_bytes()));
}
