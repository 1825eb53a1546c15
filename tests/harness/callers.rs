//! Who calls the control plane, as values: nobody, a signed-in person, a client that signs its requests.

use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aegis_contract::http_signature::{
    CONTENT_DIGEST, IDEMPOTENCY_KEY, Request, SIGNATURE, SIGNATURE_INPUT, SigningKey, sign,
};
use aegis_contract::key::SharedSecret;
use anyhow::{Context, Result};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::paths::random_name;

/// Longer than any answer may take (`wait` is at most 60 s), so that a hang fails the test with a sentence.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
/// How long a signature made here is valid, unless the test says otherwise.
const SIGNATURE_LIFETIME: SignedDuration = SignedDuration::from_secs(60);

/// Somebody who can send requests to one control plane.
#[derive(Clone, Debug)]
pub struct Caller {
    base_url: String,
    identity: Identity,
    http: reqwest::Client,
}

#[derive(Clone)]
enum Identity {
    Anonymous,
    Person { token: String },
    Client { key_id: String, secret: String },
    Authorized { authorization: String },
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous"),
            Self::Person { .. } => formatter.write_str("person"),
            Self::Authorized { .. } => formatter.write_str("whoever says so in Authorization"),
            Self::Client { key_id, .. } => write!(formatter, "client with key {key_id}"),
        }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body if it is JSON, otherwise null.
    pub body: Value,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The `code` of a problem body; empty if there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The answer if its status is the expected one, else an error that quotes the body.
    pub fn expect(self, status: u16) -> Result<Self> {
        anyhow::ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text);
        Ok(self)
    }
}

impl Caller {
    /// Somebody without any identity.
    pub fn anonymous(base_url: &str) -> Result<Self> {
        Self::new(base_url, Identity::Anonymous)
    }

    /// A person with an access token.
    pub fn person(base_url: &str, token: &str) -> Result<Self> {
        Self::new(base_url, Identity::Person { token: token.to_owned() })
    }

    /// A client that signs with this key; the secret is standard base64, or an Ed25519 key in PEM.
    pub fn client(base_url: &str, key_id: &str, secret: &str) -> Result<Self> {
        Self::new(base_url, Identity::Client { key_id: key_id.to_owned(), secret: secret.to_owned() })
    }

    /// Whoever sends this `Authorization`, such as an alert source.
    pub fn authorized(base_url: &str, authorization: &str) -> Result<Self> {
        Self::new(base_url, Identity::Authorized { authorization: authorization.to_owned() })
    }

    fn new(base_url: &str, identity: Identity) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build()?;
        Ok(Self { base_url: base_url.trim_end_matches('/').to_owned(), identity, http })
    }

    /// The same caller at an address of this machine, such as `127.0.0.2`.
    pub fn from_address(&self, address: IpAddr) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).local_address(address);
        Ok(Self { http: http.build()?, ..self.clone() })
    }

    /// The same caller, talking to another control plane.
    #[must_use]
    pub fn at(&self, base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// Starts a request; `path` may carry a query.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Draft<'_> {
        Draft {
            caller: self,
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            created: None,
            expires: None,
            nonce: None,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path).send().await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::POST, path).json(body).send().await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::PATCH, path).json(body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.request(Method::DELETE, path).send().await
    }

    /// PUT with a JSON body, for something new (`None`) or for the version whose tag is given.
    pub async fn put(&self, path: &str, body: &Value, tag: Option<&str>) -> Result<Answer> {
        let draft = self.request(Method::PUT, path).json(body);
        let draft = match tag {
            Some(tag) => draft.header("if-match", tag),
            None => draft.header("if-none-match", "*"),
        };
        draft.send().await
    }

    /// Asks for an action with an idempotency key of its own; waits up to `wait_seconds` for its outcome.
    pub async fn ask(&self, action: &Value, wait_seconds: u32) -> Result<Answer> {
        self.ask_with_key(&random_name(32), action, wait_seconds).await
    }

    /// Asks for an action under a given idempotency key.
    pub async fn ask_with_key(&self, key: &str, action: &Value, wait_seconds: u32) -> Result<Answer> {
        let path = match wait_seconds {
            0 => "/api/v1/actions".to_owned(),
            seconds => format!("/api/v1/actions?wait={seconds}"),
        };
        self.request(Method::POST, &path).json(action).header("idempotency-key", key).send().await
    }

    /// Stores a policy under its own name and activates it.
    pub async fn activate_policy(&self, policy: &Value) -> Result<()> {
        let name = policy["name"].as_str().context("a policy has a name")?;
        let path = format!("/api/v1/policies/{name}");
        let stored = self.get(&path).await?;
        let tag = stored.headers.get("etag").and_then(|tag| tag.to_str().ok());
        let answer = insisting(|| self.put(&path, policy, tag)).await?;
        anyhow::ensure!((200..300).contains(&answer.status), "{name} was not stored: {}", answer.text);
        let (path, version) = (format!("{path}/activate"), json!({ "version": answer.body["version"] }));
        let activated = insisting(|| self.post(&path, &version)).await?;
        anyhow::ensure!(
            (200..300).contains(&activated.status),
            "{name} was not activated: {}",
            activated.text
        );
        Ok(())
    }
}

/// Sends until the answer is not that nothing was recorded, or a minute is over: machines may be slow.
async fn insisting<F: Future<Output = Result<Answer>>>(send: impl Fn() -> F) -> Result<Answer> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = send().await?;
        if answer.code() != "audit-unavailable" || Instant::now() >= until {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A request being put together.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    caller: &'a Caller,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    nonce: Option<String>,
}

impl Draft<'_> {
    /// Sets a header, covered by the signature if the profile covers it.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tests send headers that can be sent");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Sets the body to a JSON document.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    /// Sets the body to exactly these bytes.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Signs with these times rather than from now on.
    #[must_use]
    pub fn times(mut self, created: Timestamp, expires: Timestamp) -> Self {
        (self.created, self.expires) = (Some(created), Some(expires));
        self
    }

    /// Signs with this nonce rather than with a fresh one.
    #[must_use]
    pub fn nonce(mut self, nonce: &str) -> Self {
        self.nonce = Some(nonce.to_owned());
        self
    }

    /// The finished request, signed where the caller signs: to be sent, sent again, or tampered with.
    pub fn finish(self) -> Result<Finished> {
        let url = format!("{}{}", self.caller.base_url, self.path);
        let mut headers = self.headers.clone();
        match &self.caller.identity {
            Identity::Anonymous => {}
            Identity::Person { token } => {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
            }
            Identity::Authorized { authorization } => {
                headers.insert(AUTHORIZATION, HeaderValue::from_bytes(authorization.as_bytes())?);
            }
            Identity::Client { key_id, secret } => self.add_signature(&url, key_id, secret, &mut headers)?,
        }
        if !self.body.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        Ok(Finished { http: self.caller.http.clone(), method: self.method, url, headers, body: self.body })
    }

    fn add_signature(&self, url: &str, key_id: &str, secret: &str, headers: &mut HeaderMap) -> Result<()> {
        let url: http::Uri = url.parse()?;
        let request = Request {
            method: self.method.as_str(),
            authority: url.authority().context("a base URL names a host")?.as_str(),
            path: url.path(),
            query: url.query(),
            headers,
            body: &self.body,
        };
        #[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
        let created = self.created.unwrap_or_else(Timestamp::now);
        let expires = self.expires.unwrap_or(created + SIGNATURE_LIFETIME);
        let nonce = self.nonce.clone().unwrap_or_else(|| random_name(32));
        let key = if secret.starts_with("-----BEGIN") {
            SigningKey::ed25519_pkcs8_pem(key_id, secret)?
        } else {
            SigningKey::hmac_sha256(key_id, SharedSecret::from_base64(secret)?)?
        };
        let signed = sign(&request, &key, created, expires, &nonce)?;
        for (name, value) in [
            (CONTENT_DIGEST, signed.content_digest),
            (SIGNATURE_INPUT, signed.signature_input),
            (SIGNATURE, signed.signature),
        ] {
            headers.insert(name, HeaderValue::from_str(&value)?);
        }
        Ok(())
    }

    /// Finishes and sends.
    pub async fn send(self) -> Result<Answer> {
        self.finish()?.send().await
    }
}

/// A request as it goes over the wire; its parts may be changed after signing.
#[derive(Clone, Debug)]
pub struct Finished {
    http: reqwest::Client,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Finished {
    /// Sends it as it is, and reads the answer to its end.
    pub async fn send(&self) -> Result<Answer> {
        let request = self.http.request(self.method.clone(), &self.url);
        let response = request.headers(self.headers.clone()).body(self.body.clone()).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }

    /// Its idempotency key, if it has one.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers.get(IDEMPOTENCY_KEY)?.to_str().ok()
    }
}
