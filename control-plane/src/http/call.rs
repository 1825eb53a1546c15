//! A proven request: its caller, and its body to be read strictly. Handlers that take a [`Call`]
//! cannot be reached by anybody unknown.

use aegis_contract::digest::Digest;
use aegis_contract::http_signature::{self, IDEMPOTENCY_KEY, SIGNATURE, SIGNATURE_INPUT};
use aegis_contract::problem::FieldError;
use aegis_contract::strict::{self, Limits, StrictError};
use aegis_runtime::http::{BodyFault, RequestContext};
use aegis_runtime::trace_context::TraceContext;
use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;

use super::Shared;
use super::error::Failure;
use super::step_up;
use super::throttle::Gate;
use crate::error::Error;
use crate::principal::Caller;
use crate::service::alert_sources::{CredentialKind, TOKEN_PREFIX};
use crate::service::authenticate::credential::{Presented, by_credential};
use crate::service::{authenticate, second_factor};
use crate::throttle::Rate;

/// Most characters of an `Idempotency-Key`: it is stored for a day.
const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;
/// The query parameter that changes nothing about what is asked.
const WAIT: &str = "wait";

/// A request whose caller is proven.
pub(super) struct Call {
    /// Who is calling.
    pub(super) caller: Caller,
    /// The hop it is.
    pub(super) trace: TraceContext,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What a request proves its caller with.
enum Credentials {
    None,
    Both,
    Signature,
    Token(Option<String>),
    AlertSource(Option<Presented>),
}

impl FromRequest<Shared> for Call {
    type Rejection = Failure;

    async fn from_request(request: Request, services: &Shared) -> Result<Self, Failure> {
        let context = context(&request)?;
        let gate = Gate::of(&request)?;
        let guards = step_up::guards(&request);
        let (method, uri, headers) =
            (request.method().clone(), request.uri().clone(), request.headers().clone());
        let proven = prove(request, services, &context.request_id, (&method, &uri, &headers)).await;
        let (caller, body) = match proven {
            Ok(proven) => proven,
            Err(failure) => return Err(gate.refuse(failure).await),
        };
        gate.admit(&caller.principal, caller.requests_per_minute.and_then(Rate::per_minute)).await?;
        if let Some(guards) = guards {
            second_factor::require(services, &caller, guards)?;
        }
        let body = match body {
            Body::Read(body) => body,
            Body::Open(request) => read_body(*request).await?,
        };
        Ok(Self { caller, trace: context.trace, method, uri, headers, body })
    }
}

/// The body of a proven request.
enum Body {
    /// The proof was of it.
    Read(Bytes),
    /// It still stands in the request.
    Open(Box<Request>),
}

/// Who calls. With a token that is known before the body is read: strangers cannot make us keep 16 MiB.
async fn prove(
    request: Request,
    services: &Shared,
    id: &str,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
) -> Result<(Caller, Body), Failure> {
    match credentials(headers) {
        Credentials::None => Err(Error::Unauthenticated.into()),
        Credentials::Both => Err(authenticate::refuse_both(services, id).await.into()),
        Credentials::Token(token) => {
            let caller = authenticate::by_token(services, &token.unwrap_or_default(), id).await?;
            Ok((caller, Body::Open(Box::new(request))))
        }
        Credentials::AlertSource(presented) => {
            let caller = by_credential(services, presented.as_ref(), id).await?;
            Ok((caller, Body::Open(Box::new(request))))
        }
        Credentials::Signature => {
            let body = read_body(request).await?;
            let signed = http_signature::Request {
                method: method.as_str(),
                authority: authority(uri, headers),
                path: uri.path(),
                query: uri.query(),
                headers,
                body: &body,
            };
            let reads = matches!(*method, Method::GET | Method::HEAD);
            Ok((authenticate::by_signature(services, &signed, id, reads).await?, Body::Read(body)))
        }
    }
}

impl Call {
    /// The body as a document of type `T`.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read_json(&self.body)
    }

    /// The same for bodies that hold whole policies.
    pub(super) fn large_json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read_json_within(&self.body, Limits::POLICY)
    }

    /// Checks that nothing is said where nothing is asked: the body is empty or `{}`.
    pub(super) fn no_body(&self) -> Result<(), Failure> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        if self.body.is_empty() { Ok(()) } else { self.json::<Nothing>().map(drop) }
    }

    /// The body as a document of type `T`; an empty one is `{}`.
    pub(super) fn json_or_empty<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read_json(if self.body.is_empty() { b"{}" } else { &self.body })
    }

    /// The body's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.body.to_vec()
    }

    /// The query parameters.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        match Query::<T>::try_from_uri(&self.uri) {
            Ok(Query(query)) => Ok(query),
            Err(rejection) => Err(Error::Parameter { name: "query", message: rejection.body_text() }.into()),
        }
    }

    /// The one value of a header.
    pub(super) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Failure> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match (value.to_str(), values.next()) {
            (Ok(text), None) => Ok(Some(text)),
            _ => {
                let message = format!("{name} must be sent once, as visible ASCII");
                Err(Error::Parameter { name: "header", message }.into())
            }
        }
    }

    /// The `Idempotency-Key`, which must be there.
    pub(super) fn idempotency_key(&self) -> Result<String, Failure> {
        let key = self.header(&IDEMPOTENCY_KEY)?.ok_or(Error::IdempotencyKeyRequired)?;
        let fits = (1..=IDEMPOTENCY_KEY_LENGTH_MAX).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(key.to_owned()) } else { Err(Error::IdempotencyKeyRequired.into()) }
    }

    /// What makes a request the same request: method, path, query without `wait`, and body.
    pub(super) fn fingerprint(&self) -> Digest {
        fingerprint(self.method.as_str(), self.uri.path(), self.uri.query().unwrap_or_default(), &self.body)
    }
}

/// What is known of every request besides its content.
pub(super) fn context(request: &Request) -> Result<RequestContext, Failure> {
    let context = request.extensions().get::<RequestContext>().cloned();
    Ok(context.ok_or_else(|| Error::internal(anyhow::anyhow!("a request came past the edge")))?)
}

/// Reads a body as far as its route allows, and in time.
pub(super) async fn read_body(request: Request) -> Result<Bytes, Failure> {
    aegis_runtime::http::read_body(request).await.map_err(|fault| {
        let error = match fault {
            BodyFault::TooLarge => Error::TooLarge,
            BodyFault::TooSlow => Error::TooSlow,
            BodyFault::Broken => {
                Error::Parameter { name: "body", message: "was not received whole".to_owned() }
            }
        };
        error.into()
    })
}

/// Reads a document strictly.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    read_json_within(body, Limits::WIRE)
}

fn read_json_within<T: DeserializeOwned>(body: &[u8], limits: Limits) -> Result<T, Failure> {
    strict::from_slice(body, limits).map_err(|error| {
        let message = error.to_string();
        let StrictError { fault, pointer, .. } = error;
        Error::Invalid(vec![FieldError { pointer, code: fault.code().to_owned(), message }]).into()
    })
}

fn credentials(headers: &HeaderMap) -> Credentials {
    let signed = headers.contains_key(SIGNATURE) || headers.contains_key(SIGNATURE_INPUT);
    let mut tokens = headers.get_all(AUTHORIZATION).iter();
    match (signed, tokens.next()) {
        (true, Some(_)) => Credentials::Both,
        (true, None) => Credentials::Signature,
        (false, None) => Credentials::None,
        (false, Some(value)) => {
            let text = value.to_str().ok().filter(|_| tokens.next().is_none());
            match text.and_then(|text| text.split_once(' ')) {
                Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
                    Credentials::AlertSource(basic(encoded.trim_matches(' ')))
                }
                _ => token(text.and_then(bearer)),
            }
        }
    }
}

fn token(token: Option<&str>) -> Credentials {
    match token {
        Some(secret) if secret.starts_with(TOKEN_PREFIX) => {
            let secret = secret.to_owned();
            Credentials::AlertSource(Some(Presented { kind: CredentialKind::Bearer, user: None, secret }))
        }
        token => Credentials::Token(token.map(str::to_owned)),
    }
}

/// User name and password (RFC 7617).
fn basic(encoded: &str) -> Option<Presented> {
    let text = String::from_utf8(strict::base64_decode(encoded).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    let (user, secret) = (Some(user.to_owned()), secret.to_owned());
    Some(Presented { kind: CredentialKind::Basic, user, secret })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Host and port as the caller named them.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

fn fingerprint(method: &str, path: &str, query: &str, body: &[u8]) -> Digest {
    let query: Vec<&str> = query
        .split('&')
        .filter(|pair| pair.split_once('=').map_or(*pair, |(name, _)| name) != WAIT)
        .collect();
    // None of the parts can hold a line break, and the last one has a fixed length.
    let text = format!("{method}\n{path}\n{}\n{}", query.join("&"), Digest::of(body));
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_ignores_wait_and_nothing_else() {
        let base = fingerprint("POST", "/a", "x=1", b"{}");
        for query in ["x=1&wait=5", "wait=60&x=1", "wait&x=1"] {
            assert_eq!(fingerprint("POST", "/a", query, b"{}"), base, "{query}");
        }
        for other in [
            fingerprint("PUT", "/a", "x=1", b"{}"),
            fingerprint("POST", "/b", "x=1", b"{}"),
            fingerprint("POST", "/a", "x=2", b"{}"),
            fingerprint("POST", "/a", "x=1&waits=5", b"{}"),
            fingerprint("POST", "/a", "x=1", b"{ }"),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn what_an_alert_source_says_is_told_from_the_token_of_a_person() {
        let presented = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            match credentials(&headers) {
                Credentials::AlertSource(Some(Presented { kind, user, secret })) => {
                    Some((kind, user, secret))
                }
                _ => None,
            }
        };
        let bearer = (CredentialKind::Bearer, None, "aas_x".to_owned());
        assert_eq!(presented("bearer aas_x"), Some(bearer));
        // `a:b:c`: a password may hold colons.
        let basic = (CredentialKind::Basic, Some("a".to_owned()), "b:c".to_owned());
        assert_eq!(presented("BASIC YTpiOmM="), Some(basic));
        for value in
            ["Basic YTpiOmM", "Basic YQ==", "Basic /zr/", "Basic ", "Basic a:b", "Bearer eyJ", "aas_x"]
        {
            assert_eq!(presented(value), None, "{value}");
        }
    }

    #[test]
    fn a_token_comes_alone_and_as_bearer() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        for value in ["Basic abc", "abc", "Bearer", ""] {
            assert_eq!(bearer(value), None, "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(matches!(credentials(&headers), Credentials::Token(None)));
        headers.insert(AUTHORIZATION, "Basic YTpi".parse().unwrap());
        headers.append(AUTHORIZATION, "Basic YTpi".parse().unwrap());
        assert!(matches!(credentials(&headers), Credentials::Token(None)));
        headers.append(SIGNATURE, "aegis=:YQ==:".parse().unwrap());
        assert!(matches!(credentials(&headers), Credentials::Both));
    }
}
