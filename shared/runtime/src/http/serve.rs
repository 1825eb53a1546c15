//! Listening, and speaking HTTP/1.1 on each connection within the service's bounds, over TLS where there is a
//! certificate.

use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

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
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::bounds::{Bounds, HEAD_BYTES_MAX, HEADERS_MAX};
use super::connections::Connections;
use super::guards;
use super::impatient::Impatient;
use super::parting::Parting;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::tls::{ServerTls, Vouched};

/// Longest a handshake may take; less where a head may not take so long either.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Where a service listens.
pub struct Listen {
    /// The setting that says so.
    pub setting: &'static str,
    /// The address and port.
    pub address: SocketAddr,
    /// With what it speaks TLS; nobody is spoken to without, then.
    pub tls: Option<ServerTls>,
}

/// Marks every answer for browsers. Tells callers of a service that is about to end, or to go on with other
/// certificates, not to use their connections again, so that none is closed under a request that is already on its way.
async fn frame(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let vouched = request.extensions().get::<Vouched>().cloned();
    let mut response = next.run(request).await;
    guards::add(response.headers_mut(), vouched.is_some());
    if shutdown.is_triggered() || vouched.is_some_and(|vouched| vouched.is_outdated()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Binds an address and serves `router` within `bounds` until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: Listen,
    router: Router,
    metrics: Metrics,
    bounds: Bounds,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Listen { setting, address, tls } = listen;
    let router = router.layer(from_fn_with_state(shutdown.clone(), frame));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} ({setting}): {error}"))?;
    tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "listening");
    let (mut listener, parted) = Parting::new(listener, shutdown)?;
    let mut parted = pin!(parted);
    let (http, slow, handshake) = (protocol(&bounds), bounds.slow, bounds.idle.min(HANDSHAKE_MAX));
    let connections = Connections::new(bounds, metrics.clone());
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut parted => break,
        };
        let Some(place) = connections.admit(peer.ip()) else {
            // Over TLS it would cost a handshake to say so.
            if tls.is_none() {
                turn_away(stream);
            }
            continue;
        };
        // An answer that waits for the caller to acknowledge the last one is a slow answer.
        drop(stream.set_nodelay(true));
        let stream = Impatient::new(stream, slow);
        let speaker =
            Speaker { http: http.clone(), router: router.clone(), peer, watcher: graceful.watcher() };
        let (tls, metrics) = (tls.clone(), metrics.clone());
        tokio::spawn(async move {
            let _place = place;
            let Some(tls) = tls else { return speaker.speak(stream, None).await };
            match timeout(handshake, tls.accept(stream)).await {
                Ok(Ok((stream, vouched))) => speaker.speak(stream, Some(vouched)).await,
                Ok(Err(error)) => {
                    metrics.count_refused_connection("handshake-failed");
                    tracing::info!(error = &error as &dyn std::error::Error, peer = %peer.ip(), "no TLS");
                }
                Err(_) => metrics.count_refused_connection("handshake-slow"),
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// What a new connection is spoken to with.
struct Speaker {
    http: http1::Builder,
    router: Router,
    peer: SocketAddr,
    watcher: Watcher,
}

impl Speaker {
    async fn speak<S>(self, stream: S, vouched: Option<Vouched>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { http, router, peer, watcher } = self;
        let service = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(vouched) = vouched.clone() {
                request.extensions_mut().insert(vouched);
            }
            service.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
        }
    }
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
    let guards: String = guards::FIELDS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\nretry-after: 1\r\nconnection: close\r\n{guards}\
         content-length: {}\r\n\r\n{body}",
        problem::MEDIA_TYPE,
        body.len()
    );
    // It fits into the empty buffer of a new connection.
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(answer.as_bytes()));
}
