//! A proxy that breaks what passes through it, where and when a test says so.
//!
//! It stands between the executor and the API server, or between the control plane and the executors, speaks plain
//! HTTP to its callers and passes everything on unchanged. A test can hold one request before it is passed on or
//! before its answer is, learn that it is held, and then kill or stop the caller: faults between two steps without
//! any hook in the binaries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// What a test waits for at a hold comes within seconds; a busy machine is given much more before the test fails.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// Which requests a fault applies to: all that fit every given part.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    method: Option<Method>,
    path: Option<String>,
    body: Option<String>,
    agent: Option<String>,
}

impl Matching {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Every request with this text in its path or query.
    #[must_use]
    pub fn path(text: &str) -> Self {
        Self { path: Some(text.to_owned()), ..Self::default() }
    }

    /// Only with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only with this text in the body.
    #[must_use]
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(text.to_owned());
        self
    }

    /// Only with this text in the User-Agent, such as an action's id.
    #[must_use]
    pub fn agent(mut self, text: &str) -> Self {
        self.agent = Some(text.to_owned());
        self
    }

    // A plan tries its write without effect; faults are for the write that counts.
    fn fits(&self, request: &Passing) -> bool {
        let is_rehearsal = request.agent().contains("(observe)") && request.method != Method::GET;
        !is_rehearsal
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|text| request.path_and_query.contains(text))
            && self.agent.as_ref().is_none_or(|text| request.agent().contains(text))
            && self.body.as_ref().is_none_or(|text| String::from_utf8_lossy(&request.body).contains(text))
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the request is passed on: the other side never hears of it unless it is let go.
    BeforePassingOn,
    /// After the other side answered, before the answer is passed back.
    BeforeAnswering,
}

#[derive(Clone, Debug)]
enum Fault {
    Answer(StatusCode, String),
    Cut(Moment),
    Delay(Duration),
}

/// A request on its way through.
#[derive(Clone, Debug)]
struct Passing {
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: hyper::body::Bytes,
}

impl Passing {
    fn agent(&self) -> &str {
        self.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Trap {
    id: u64,
    matching: Matching,
    moment: Moment,
    /// How many more that fit are let through first.
    skip: usize,
    caught: oneshot::Sender<Caught>,
}

/// The held request's side of a hold.
#[derive(Debug)]
struct Caught {
    description: String,
    /// Dropped without a word, it cuts the connection.
    go_on: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Rules {
    next_id: u64,
    faults: Vec<(u64, Matching, Fault)>,
    traps: Vec<Trap>,
    seen: Vec<String>,
}

impl Rules {
    /// The oldest fault in force for a request.
    fn fault(&self, passing: &Passing) -> Option<Fault> {
        self.faults.iter().find(|(_, matching, _)| matching.fits(passing)).map(|(_, _, fault)| fault.clone())
    }
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    upstreams: Vec<String>,
    first_upstream: watch::Sender<usize>,
    http: reqwest::Client,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running proxy. It ends when dropped, with every connection through it.
#[derive(Debug)]
pub struct FaultProxy {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy in front of the given base URLs. Requests go to the first, or, if it cannot be connected to,
    /// to the next: what a Service does in front of replicas. `authority_pem` vouches for HTTPS upstreams.
    pub async fn start(upstreams: Vec<String>, authority_pem: Option<&str>) -> Result<Self> {
        let mut http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = authority_pem {
            http = http.tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes())?]);
        }
        let shared = Arc::new(Shared {
            rules: Mutex::default(),
            upstreams,
            first_upstream: watch::Sender::new(0),
            http: http.build()?,
        });
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], crate::ports::free()?))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { url, shared, server })
    }

    /// Where callers find it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends further requests to the upstream with this index first.
    pub fn prefer(&self, upstream: usize) {
        self.shared.first_upstream.send_replace(upstream);
    }

    /// Method, path and query of every request so far, oldest first.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.shared.rules().seen.clone()
    }

    /// Holds the next request that fits; later ones pass.
    #[must_use]
    pub fn hold(&self, matching: Matching, moment: Moment) -> Hold {
        self.hold_after(0, matching, moment)
    }

    /// Lets so many requests that fit pass, then holds the next one.
    #[must_use]
    pub fn hold_after(&self, skip: usize, matching: Matching, moment: Moment) -> Hold {
        let (caught, awaited) = oneshot::channel();
        let mut rules = self.shared.rules();
        rules.next_id += 1;
        let id = rules.next_id;
        rules.traps.push(Trap { id, matching, moment, skip, caught });
        drop(rules);
        Hold { shared: self.shared.clone(), id, awaited: Some(awaited), held: None }
    }

    /// Answers every request that fits by itself, as long as the guard lives.
    #[must_use]
    pub fn answer(&self, matching: Matching, status: StatusCode, body: &str) -> FaultGuard {
        self.add(matching, Fault::Answer(status, body.to_owned()))
    }

    /// Ends the connection of every request that fits without an answer, as long as the guard lives.
    #[must_use]
    pub fn cut(&self, matching: Matching, moment: Moment) -> FaultGuard {
        self.add(matching, Fault::Cut(moment))
    }

    /// Lets every request that fits wait before it is passed on, as long as the guard lives.
    #[must_use]
    pub fn delay(&self, matching: Matching, by: Duration) -> FaultGuard {
        self.add(matching, Fault::Delay(by))
    }

    /// Lets nothing through, as long as the guard lives.
    #[must_use]
    pub fn cut_off(&self) -> FaultGuard {
        self.cut(Matching::any(), Moment::BeforePassingOn)
    }

    fn add(&self, matching: Matching, fault: Fault) -> FaultGuard {
        let mut rules = self.shared.rules();
        rules.next_id += 1;
        let id = rules.next_id;
        rules.faults.push((id, matching, fault));
        drop(rules);
        FaultGuard { shared: self.shared.clone(), id }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A fault in force; dropping it ends the fault.
#[derive(Debug)]
pub struct FaultGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.shared.rules().faults.retain(|(id, ..)| *id != self.id);
    }
}

/// A trap for one request. Dropping it disarms it, and cuts the request it holds.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    id: u64,
    awaited: Option<oneshot::Receiver<Caught>>,
    held: Option<Caught>,
}

impl Hold {
    /// Waits until a request is held; returns its method, path and query.
    pub async fn reached(&mut self) -> Result<String> {
        if let Some(awaited) = self.awaited.take() {
            let caught = tokio::time::timeout(REACHED_WITHIN, awaited).await;
            self.held = Some(caught.context("no request came to be held")?.context("the proxy has ended")?);
        }
        let held = self.held.as_ref().context("the hold was let go already")?;
        Ok(held.description.clone())
    }

    /// Lets the held request go on, even if its caller is gone by now: a request in flight is not called back.
    pub fn release(mut self) -> Result<()> {
        let caught = self.held.take().or_else(|| self.awaited.take()?.try_recv().ok());
        let Some(caught) = caught else { bail!("nothing is held") };
        caught.go_on.send(()).ok().context("the proxy has ended")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.rules().traps.retain(|trap| trap.id != self.id);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, the set ends all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_connection(stream, shared.clone()));
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let (head, body) = request.into_parts();
            let passing = Passing {
                method: head.method,
                path_and_query: head.uri.path_and_query().map_or("/", |text| text.as_str()).to_owned(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            };
            // A task of its own: a request that was let go reaches the other side even if its caller is gone.
            tokio::spawn(pass(shared, passing)).await?
        }
    });
    // An error is a connection that was cut, by a fault or by the caller: both are what the proxy is for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper end the connection without an answer.
async fn pass(shared: Arc<Shared>, passing: Passing) -> Result<Response<reqwest::Body>> {
    let fault = {
        let mut rules = shared.rules();
        rules.seen.push(format!("{} {}", passing.method, passing.path_and_query));
        rules.fault(&passing)
    };
    match &fault {
        Some(Fault::Answer(status, body)) => {
            let answer = Response::builder().status(status).header("content-type", "application/json");
            return Ok(answer.body(reqwest::Body::from(body.clone()))?);
        }
        Some(Fault::Cut(Moment::BeforePassingOn)) => bail!("cut by the test"),
        Some(Fault::Delay(by)) => tokio::time::sleep(*by).await,
        Some(Fault::Cut(Moment::BeforeAnswering)) | None => {}
    }
    held(&shared, &passing, Moment::BeforePassingOn).await?;
    let answer = pass_on(&shared, &passing).await?;
    held(&shared, &passing, Moment::BeforeAnswering).await?;
    // The line may also have been cut while the answer was awaited.
    if [fault, shared.rules().fault(&passing)].iter().flatten().any(|fault| matches!(fault, Fault::Cut(_))) {
        bail!("cut by the test");
    }
    Ok(answer)
}

/// Waits if a trap of this moment fits; an error if the trap was dropped rather than released.
async fn held(shared: &Shared, passing: &Passing, moment: Moment) -> Result<()> {
    let trap = {
        let mut rules = shared.rules();
        let fits = |trap: &mut Trap| {
            let fits = trap.moment == moment && trap.matching.fits(passing);
            let skips = fits && trap.skip > 0;
            trap.skip -= usize::from(skips);
            fits && !skips
        };
        rules.traps.iter_mut().position(fits).map(|index| rules.traps.remove(index))
    };
    let Some(trap) = trap else { return Ok(()) };
    let (go_on, released) = oneshot::channel();
    let description = format!("{} {}", passing.method, passing.path_and_query);
    trap.caught.send(Caught { description, go_on }).ok().context("the hold is gone")?;
    released.await.context("the hold was dropped")
}

async fn pass_on(shared: &Shared, passing: &Passing) -> Result<Response<reqwest::Body>> {
    let first = *shared.first_upstream.borrow();
    let count = shared.upstreams.len();
    let mut last_error = anyhow::anyhow!("the proxy has no upstream");
    for offset in 0..count {
        let upstream = &shared.upstreams[(first + offset) % count];
        let mut headers = passing.headers.clone();
        // These belong to one connection; reqwest writes its own.
        for name in ["host", "connection", "content-length", "transfer-encoding"] {
            headers.remove(name);
        }
        let request = shared
            .http
            .request(passing.method.clone(), format!("{upstream}{}", passing.path_and_query))
            .headers(headers)
            .body(passing.body.clone());
        match request.send().await {
            Ok(answer) => return Ok(answer.into()),
            Err(error) if error.is_connect() => last_error = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last_error)
}
