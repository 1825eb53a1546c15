//! The control plane over HTTP: one request at a time, signed or with a token, answers as JSON.

use std::io::{IsTerminal as _, stderr, stdin};
use std::time::Duration;

use aegis_contract::http_signature::{
    self, CONTENT_DIGEST, IDEMPOTENCY_KEY, SIGNATURE, SIGNATURE_INPUT, SigningKey,
};
use aegis_contract::problem::{self, Problem};
use aegis_contract::strict::base64_encode;
use aegis_runtime::clock;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::SignedDuration;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::credentials::Credentials;
use crate::failure::{Cause, Failure};
use crate::progress::Progress;
use crate::session::Session;

/// Longest time to make a connection; a healthy network needs a tenth of it.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for an answer, besides what the request itself asks to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long our signatures are good: covers the transport and the wait in a queue, little more.
pub(crate) const SIGNATURE_LIFETIME: SignedDuration = SignedDuration::from_secs(60);
/// Longest time between two pieces of an answer that comes piece by piece: the server may have to look through
/// millions of entries for the next one that is wanted.
const PIECE_WITHIN: Duration = Duration::from_secs(120);
/// Pauses before the repetitions of a request that may be repeated; then it is given up.
const RETRY_PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Longest pause that is made because the server asks for it; a longer one is for the caller to decide.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Most characters shown of an answer that is not from Aegis.
const FOREIGN_TEXT_MAX: usize = 200;

/// A connection to one control plane as one principal.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    /// The code of a second factor that was given beforehand.
    code: Option<SecretString>,
}

/// One request.
pub(crate) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    /// How long the server was asked to wait before it answers.
    wait: Duration,
}

/// A good answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    /// The document; null when the answer has no body.
    pub(crate) body: Value,
}

/// A good answer that is read piece by piece.
pub(crate) struct Pieces<'c> {
    client: &'c Client,
    response: reqwest::Response,
}

impl Client {
    /// A client of the control plane at `base`, which has no path of its own.
    pub(crate) fn new(base: &str, credentials: Credentials) -> Result<Self, Failure> {
        let base = parse_base(base)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .user_agent(concat!("aegisctl/", env!("CARGO_PKG_VERSION")))
            // A signature is for one address; following elsewhere would only show it to others.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Failure::usage(format!("no HTTP client: {error}")))?;
        Ok(Self { http, base, credentials, code: None })
    }

    /// The same, with a code for when one is asked for.
    pub(crate) fn with_code(self, code: Option<SecretString>) -> Self {
        Self { code, ..self }
    }

    /// A code of the person's second factor: the given one, or what they type. None where nobody can be asked.
    pub(crate) fn code(&self) -> Result<Option<SecretString>, Failure> {
        if self.code.is_some() {
            return Ok(self.code.clone());
        }
        if !(stdin().is_terminal() && stderr().is_terminal()) {
            return Ok(None);
        }
        eprint!("code of your authenticator app, or a recovery code: ");
        let mut line = String::new();
        stdin().read_line(&mut line).map_err(Failure::usage)?;
        Ok(Some(line.trim().to_owned().into()))
    }

    /// Shows the person's second factor in their session; until when that says enough.
    pub(crate) async fn step_up(&self, code: &SecretString) -> Result<Value, Failure> {
        let call = self.api(Method::POST, &["auth", "step-up"]);
        let call = call.json(&json!({ "code": code.expose_secret() }));
        Ok(self.send_once(&call).await?.body)
    }

    /// The address of the control plane.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Whether requests carry something that proves who is asking.
    pub(crate) fn has_credentials(&self) -> bool {
        !matches!(self.credentials, Credentials::None)
    }

    /// A request to a path of the server. Segments are escaped as needed.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Call {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("checked to be http or https").clear().extend(segments);
        Call { method, url, headers: HeaderMap::new(), body: Vec::new(), wait: Duration::ZERO }
    }

    /// A request to a path below `/api/v1`.
    pub(crate) fn api(&self, method: Method, segments: &[&str]) -> Call {
        self.call(method, &[&["api", "v1"], segments].concat())
    }

    /// Reads a document below `/api/v1`.
    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Value, Failure> {
        Ok(self.send(&self.api(Method::GET, segments)).await?.body)
    }

    /// Sends a request once; where it is answered that a second factor is to be shown first, does that and sends it once
    /// more.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Failure> {
        match self.send_once(call).await {
            Err(failure) if failure.is("step-up-required") => {
                let Some(code) = self.code()? else { return Err(failure) };
                self.step_up(&code).await?;
                self.send_once(call).await
            }
            result => result,
        }
    }

    async fn send_once(&self, call: &Call) -> Result<Answer, Failure> {
        let request = self.prepare(call).await?.timeout(ANSWER_WITHIN + call.wait);
        self.exchange(request).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(|error| self.no_answer(&error))?;
        self.read(status, headers, &body)
    }

    /// Sends a request once, for an answer of any length and kind.
    pub(crate) async fn open(&self, call: &Call) -> Result<Pieces<'_>, Failure> {
        let response = self.in_time(ANSWER_WITHIN, self.prepare(call).await?.send()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Pieces { client: self, response });
        }
        let headers = response.headers().clone();
        let body = self.in_time(ANSWER_WITHIN, response.bytes()).await?;
        match self.read(status, headers, &body) {
            Err(failure) => Err(failure),
            Ok(_) => Err(self.not_understood(status, &body)),
        }
    }

    /// Sends a request once, for an answer that is a text.
    pub(crate) async fn text(&self, call: &Call) -> Result<String, Failure> {
        let mut pieces = self.open(call).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await? {
            bytes.extend(piece);
        }
        String::from_utf8(bytes).map_err(|error| self.not_understood(StatusCode::OK, error.as_bytes()))
    }

    async fn in_time<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(time, work).await {
            Ok(result) => result.map_err(|error| self.no_answer(&error)),
            Err(_) => {
                let reason = format!("nothing came for {} s", time.as_secs());
                Err(Cause::Unanswered { url: self.base.to_string(), reason }.into())
            }
        }
    }

    /// The access token of a kept session; a new one where it is over.
    async fn continued(&self, session: &mut Session) -> Result<SecretString, Failure> {
        if session.access_token().is_none() {
            let body = json!({ "refreshToken": session.refresh_token() });
            let call = self.api(Method::POST, &["auth", "refresh"]);
            let request = self.http.post(call.url).timeout(ANSWER_WITHIN);
            let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
            session.go_on(&self.base, &self.exchange(request).await?.body)?;
        }
        session.access_token().ok_or_else(|| Failure::usage("the server's access tokens end at once"))
    }

    /// Whether requests are made in a session that is kept.
    pub(crate) fn keeps_session(&self) -> bool {
        matches!(self.credentials, Credentials::Kept(_))
    }

    /// Keeps the session no more.
    pub(crate) async fn forget_session(&self) -> Result<(), Failure> {
        match &self.credentials {
            Credentials::Kept(session) => session.lock().await.forget(),
            Credentials::None | Credentials::Token(_) | Credentials::Key(_) => Ok(()),
        }
    }

    /// A request with everything that it carries.
    async fn prepare(&self, call: &Call) -> Result<reqwest::RequestBuilder, Failure> {
        let mut headers = call.headers.clone();
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        match &self.credentials {
            Credentials::None => {}
            Credentials::Token(token) => {
                headers.insert(AUTHORIZATION, bearer(token)?);
            }
            Credentials::Kept(session) => {
                let token = self.continued(&mut *session.lock().await).await?;
                headers.insert(AUTHORIZATION, bearer(&token)?);
            }
            Credentials::Key(key) => {
                let signed =
                    sign(&call.method, &call.url, &call.headers, &call.body, key, SIGNATURE_LIFETIME)?;
                headers.extend(signed.headers);
            }
        }
        let request = self.http.request(call.method.clone(), call.url.clone());
        Ok(request.headers(headers).body(call.body.clone()))
    }

    /// Sends a request that may be repeated, a few times if need be, each time signed afresh, and not before the server
    /// wants it.
    pub(crate) async fn send_persistently(
        &self,
        call: &Call,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        for pause in RETRY_PAUSES {
            match self.send(call).await {
                Err(failure)
                    if failure.is_passing()
                        && failure.retry_after.is_none_or(|asked| asked <= RETRY_AFTER_MAX) =>
                {
                    let pause = failure.retry_after.map_or(pause, |asked| asked.max(pause));
                    progress.note(&format!("{}; trying again in {} ms", failure.cause, pause.as_millis()));
                    tokio::time::sleep(pause).await;
                }
                result => return result,
            }
        }
        self.send(call).await
    }

    fn read(&self, status: StatusCode, headers: HeaderMap, body: &[u8]) -> Result<Answer, Failure> {
        let document = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(body) };
        if status.is_success()
            && let Ok(body) = document
        {
            return Ok(Answer { headers, body });
        }
        let mut failure = self.failure(status, &headers, body);
        failure.retry_after = retry_after(&headers);
        Err(failure)
    }

    fn failure(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let is_problem = headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        if is_problem && let Ok(problem) = serde_json::from_slice::<Problem>(body) {
            return Cause::Problem(Box::new(problem)).into();
        }
        self.not_understood(status, body)
    }

    fn not_understood(&self, status: StatusCode, body: &[u8]) -> Failure {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(FOREIGN_TEXT_MAX).collect();
        Cause::NotUnderstood { url: self.base.to_string(), status: status.as_u16(), text }.into()
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let (url, reason) = (self.base.to_string(), innermost.to_string());
        if error.is_connect() {
            Cause::Unreachable { url, reason }.into()
        } else {
            Cause::Unanswered { url, reason }.into()
        }
    }
}

impl Pieces<'_> {
    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let piece = self.client.in_time(PIECE_WITHIN, self.response.chunk()).await?;
        Ok(piece.map(|piece| piece.to_vec()))
    }
}

impl Call {
    /// The same with one more query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// The same with one more query parameter, if there is a value for it.
    pub(crate) fn query_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, &value.to_string()),
            None => self,
        }
    }

    /// The same, asking the server to answer only when the action is over, at most after `wait`.
    pub(crate) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self.query("wait", &wait.as_secs().to_string())
    }

    /// The same for something that takes the server longer than an answer usually does.
    pub(crate) fn taking(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// The same with a header.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::try_from(value)
            .map_err(|_| Failure::usage(format!("`{value}` cannot stand in the header {name}")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// The same with a body.
    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The same with a JSON body.
    pub(crate) fn json(self, document: &Value) -> Self {
        self.body(document.to_string().into_bytes())
    }
}

/// How long a server wants to be left alone: `Retry-After` in seconds (RFC 9110 section 10.2.3). Aegis sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| Failure::usage("the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A signature as headers to send, and the text it is of.
pub(crate) struct Signed {
    pub(crate) headers: HeaderMap,
    pub(crate) base: String,
}

/// Host and port of a URL, as a request names them.
pub(crate) fn authority(url: &Url) -> Result<String, Failure> {
    let host = url.host_str().ok_or_else(|| Failure::usage(format!("{url} names no host")))?;
    Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Signs a request as the control plane wants it, with a fresh nonce.
pub(crate) fn sign(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: &[u8],
    key: &SigningKey,
    lifetime: SignedDuration,
) -> Result<Signed, Failure> {
    let authority = authority(url)?;
    let request = http_signature::Request {
        method: method.as_str(),
        authority: &authority,
        path: url.path(),
        query: url.query(),
        headers,
        body,
    };
    let created = clock::now();
    let nonce = base64_encode(&clock::random_bytes::<24>());
    let signed =
        http_signature::sign(&request, key, created, created + lifetime, &nonce).map_err(Failure::usage)?;
    let value = |text: &str| HeaderValue::try_from(text).expect("structured fields are visible ASCII");
    let mut headers = HeaderMap::from_iter([
        (CONTENT_DIGEST, value(&signed.content_digest)),
        (SIGNATURE_INPUT, value(&signed.signature_input)),
        (SIGNATURE, value(&signed.signature)),
    ]);
    if let Some(idempotency_key) = request.headers.get(IDEMPOTENCY_KEY) {
        headers.insert(IDEMPOTENCY_KEY, idempotency_key.clone());
    }
    Ok(Signed { headers, base: signed.signature_base })
}

/// The address of a control plane, if it can be one.
pub(crate) fn parse_base(text: &str) -> Result<Url, Failure> {
    let refuse = |reason: &str| Failure::usage(format!("--url (AEGIS_URL) `{text}` {reason}"));
    let url: Url = text.parse().map_err(|error| refuse(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("must start with http:// or https://"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must end after host and port: signatures are of the path that the server sees"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("must not hold a name or password"));
    }
    Ok(url)
}

/// A proxy cannot reach this machine's own services.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
