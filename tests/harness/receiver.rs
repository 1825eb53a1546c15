//! A receiver of notifications that keeps what it is sent, and answers as a test says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// How a receiver answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// With this status and no body.
    Status(StatusCode),
    /// With this status and one header.
    Header(StatusCode, &'static str, String),
    /// Not at all, before the manner changes; then in that manner.
    Silence,
}

/// What came in one request.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Method and path, as in `POST /notifications`.
    pub request: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is not.
    pub body: Value,
}

impl Notification {
    /// A header's text; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What it is known by, however often it comes.
    #[must_use]
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

/// A server on the loopback address.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    received: Mutex<Vec<Notification>>,
    manner: watch::Sender<Manner>,
}

impl Receiver {
    /// Listens, and answers everything with 204.
    pub async fn start() -> Result<Self> {
        let manner = watch::Sender::new(Manner::Status(StatusCode::NO_CONTENT));
        let shared = Arc::new(Shared { received: Mutex::default(), manner });
        let receiver = Self { port: ports::free()?, shared, accepting: Mutex::default() };
        receiver.listen().await?;
        Ok(receiver)
    }

    /// Its address, with a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/notifications", self.port)
    }

    /// Listens again after [`Receiver::stop_listening`].
    pub async fn listen(&self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        *self.accepting() = Some(tokio::spawn(accept(listener, self.shared.clone())));
        Ok(())
    }

    /// Refuses every connection, and ends those there are.
    pub fn stop_listening(&self) {
        if let Some(accepting) = self.accepting().take() {
            accepting.abort();
        }
    }

    /// How it answers from now on.
    pub fn answer(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// Everything that came, in the order it came.
    #[must_use]
    pub fn received(&self) -> Vec<Notification> {
        self.shared.received().clone()
    }

    fn accepting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Vec<Notification>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>> {
        let (head, body) = request.into_parts();
        let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        let request = format!("{} {}", head.method, head.uri);
        self.received().push(Notification { request, headers: head.headers, text, body });
        let mut manner = self.manner.subscribe();
        let manner = manner.wait_for(|manner| !matches!(manner, Manner::Silence)).await?.clone();
        let response = match manner {
            Manner::Status(status) => Response::builder().status(status),
            Manner::Header(status, name, value) => Response::builder().status(status).header(name, value),
            Manner::Silence => anyhow::bail!("waited for another manner"),
        };
        Ok(response.body(Empty::new())?)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, the set ends all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, shared.clone()));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.take(request).await }
    });
    // An error is a connection that the sender, or the test, has ended.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
