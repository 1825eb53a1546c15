//! The identity provider that people sign in with: OpenID Connect Core 1.0, authorization code with PKCE (RFC 7636),
//! found by OpenID Connect Discovery 1.0. It is asked only at its own addresses, follows nobody elsewhere, and may
//! neither be slow nor long. What it says counts only as far as its signature does.

mod id_token;
mod settings;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::strict::{self, Limits};
use aegis_runtime::clock;
use aegis_runtime::settings::renewal::InForce;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

pub use self::id_token::Identity;
use self::id_token::{Expected, Head, Key};
use self::settings::is_loopback;
pub use self::settings::{ProviderSettings, read_url};
use super::webhooks::USER_AGENT;
use crate::error::Error;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long all of it may take, waiting for others who ask the same included: somebody looks at a page meanwhile.
const ALTOGETHER_WITHIN: Duration = Duration::from_secs(12);
/// Longest answer; key sets and tokens have a few kilobytes.
const ANSWER: Limits = Limits { bytes_max: 256 * 1024, levels_max: 32 };
/// How long the provider's own description is believed.
const METADATA_KEPT: Duration = Duration::from_secs(60 * 60);
/// How long its keys are believed: one that it takes back is good no longer than that.
const KEYS_KEPT: Duration = Duration::from_secs(5 * 60);
/// Least time between two looks at its keys, whatever keys its tokens name.
const KEYS_PAUSE: Duration = Duration::from_secs(5);

/// Why the provider makes nobody known.
#[derive(Debug)]
pub enum ProviderFault {
    /// It does not answer, or not as the standards have it: why, for the operator.
    Unavailable(String),
    /// What it says proves nobody: the reason, for metrics and the audit log.
    Refused(&'static str),
}

/// What a sign-in is bound to at the provider.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// Comes back with the person (RFC 6749 section 10.12).
    pub state: &'a str,
    /// Comes back in the ID token.
    pub nonce: &'a str,
    /// What the code is worth nothing without (RFC 7636).
    pub verifier: &'a str,
}

/// The provider. Clones share what is known of it.
#[derive(Clone)]
pub struct ProviderClient(Arc<Inner>);

struct Inner {
    settings: ProviderSettings,
    /// What proves to the provider who asks.
    secret: InForce<SecretString>,
    http: reqwest::Client,
    known: Mutex<Known>,
}

/// What the provider said of itself, and when.
#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<Metadata>)>,
    keys: Option<(Instant, Arc<Vec<Key>>)>,
}

/// Where the provider is asked for what.
struct Metadata {
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    /// Whether the secret goes into the body instead of the header.
    posts_secret: bool,
    /// Whether it says who it is when it sends people back (RFC 9207).
    names_itself: bool,
}

/// What the provider says of itself (OpenID Connect Discovery 1.0 section 3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    token_type: String,
    access_token: String,
    id_token: String,
}

impl ProviderClient {
    /// A client of the provider, which is not asked anything yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(mut settings: ProviderSettings, secret: SecretString) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .no_proxy();
        let authorities = std::mem::take(&mut settings.authorities);
        if !authorities.is_empty() {
            builder = builder.tls_certs_only(authorities);
        }
        let http = builder.build().map_err(Error::internal)?;
        let secret = InForce::new(secret);
        Ok(Self(Arc::new(Inner { settings, secret, http, known: Mutex::default() })))
    }

    /// Proves by another secret from now on who asks.
    pub fn renew(&self, secret: SecretString) {
        self.0.secret.put(secret);
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.0.settings.issuer
    }

    /// Where a person goes to sign in.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn authorization_url(&self, binding: Binding<'_>) -> Result<String, ProviderFault> {
        let settings = &self.0.settings;
        let mut url = self.in_time(self.metadata()).await?.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", &settings.redirect_uri)
            .append_pair("scope", &settings.scopes)
            .append_pair("state", binding.state)
            .append_pair("nonce", binding.nonce)
            .append_pair("code_challenge", &challenge(binding.verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Whom a code is about, which somebody came back with. `issuer` is whom they say it is from.
    ///
    /// # Errors
    /// Both.
    pub async fn identify(
        &self,
        code: &str,
        issuer: Option<&str>,
        binding: Binding<'_>,
    ) -> Result<Identity, ProviderFault> {
        self.in_time(self.exchange(code, issuer, binding)).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ProviderFault>>,
    ) -> Result<T, ProviderFault> {
        let seconds = ALTOGETHER_WITHIN.as_secs();
        let late = |_| ProviderFault::Unavailable(format!("no answers within {seconds} s"));
        timeout(ALTOGETHER_WITHIN, work).await.map_err(late)?
    }

    async fn exchange(
        &self,
        code: &str,
        issuer: Option<&str>,
        binding: Binding<'_>,
    ) -> Result<Identity, ProviderFault> {
        let settings = &self.0.settings;
        let metadata = self.metadata().await?;
        // RFC 9207 section 2.4: a code of another provider is not shown to this one.
        if issuer.map_or(metadata.names_itself, |issuer| issuer != settings.issuer) {
            return Err(ProviderFault::Refused("oidc-issuer-mixed-up"));
        }
        let tokens = self.tokens(&metadata, code, binding).await?;
        let id_token = tokens.id_token.as_str();
        let head = Head::read(id_token).map_err(ProviderFault::Refused)?;
        let keys = self.keys(&metadata, &head).await?;
        let expected = Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            nonce: binding.nonce,
            roles_claim: &settings.roles_claim,
            access_token: &tokens.access_token,
            now: clock::now().as_second(),
        };
        id_token::verify(id_token, &head, &keys, expected).map_err(ProviderFault::Refused)
    }

    /// Exchanges a code (RFC 6749 section 4.1.3).
    async fn tokens(
        &self,
        metadata: &Metadata,
        code: &str,
        binding: Binding<'_>,
    ) -> Result<Tokens, ProviderFault> {
        let settings = &self.0.settings;
        let secret = self.0.secret.get();
        let (id, secret) = (&settings.client_id, secret.expose_secret());
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", settings.redirect_uri.as_str()),
            ("code_verifier", binding.verifier),
        ];
        let mut request = self.0.http.post(metadata.token_endpoint.clone());
        if metadata.posts_secret {
            fields.extend([("client_id", id.as_str()), ("client_secret", secret)]);
        } else {
            // RFC 6749 section 2.3.1: both are encoded as in a form first.
            request = request.basic_auth(form_encoded(id), Some(form_encoded(secret)));
        }
        let body: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("{name}={}", form_encoded(value))).collect();
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.join("&"));
        let response = send("token endpoint", request).await?;
        match response.status() {
            StatusCode::BAD_REQUEST => return Err(ProviderFault::Refused("oidc-code-refused")),
            StatusCode::UNAUTHORIZED => {
                let why = "the token endpoint does not accept OIDC_CLIENT_ID with OIDC_CLIENT_SECRET";
                return Err(ProviderFault::Unavailable(why.to_owned()));
            }
            _ => {}
        }
        let tokens: Tokens = read("token endpoint", response).await?;
        if tokens.token_type.eq_ignore_ascii_case("bearer") {
            Ok(tokens)
        } else {
            Err(ProviderFault::Refused("oidc-token-malformed"))
        }
    }

    /// Where the provider is asked for what; from memory, while that is fresh.
    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderFault> {
        let mut known = self.0.known.lock().await;
        if let Some((at, metadata)) = &known.metadata
            && at.elapsed() < METADATA_KEPT
        {
            return Ok(Arc::clone(metadata));
        }
        let issuer = &self.0.settings.issuer;
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document: Document =
            read("description", send("description", self.0.http.get(place)).await?).await?;
        let metadata = Arc::new(Metadata::read(document, issuer).map_err(ProviderFault::Unavailable)?);
        known.metadata = Some((Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// Keys among which is the one that a token names, if the provider has it.
    async fn keys(&self, metadata: &Metadata, head: &Head) -> Result<Arc<Vec<Key>>, ProviderFault> {
        let mut known = self.0.known.lock().await;
        if let Some((at, keys)) = &known.keys {
            let kept_for = if head.is_known_to(keys) { KEYS_KEPT } else { KEYS_PAUSE };
            if at.elapsed() < kept_for {
                return Ok(Arc::clone(keys));
            }
        }
        let request = self.0.http.get(metadata.jwks_uri.clone());
        let set: KeySet = read("keys", send("keys", request).await?).await?;
        let keys = Arc::new(set.keys.iter().filter_map(Key::read).collect::<Vec<_>>());
        known.keys = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

impl Metadata {
    fn read(document: Document, issuer: &str) -> Result<Self, String> {
        // Discovery 1.0 section 4.3: or somebody else could speak for it.
        if document.issuer != issuer {
            return Err(format!("the description at {issuer} is of another issuer"));
        }
        let endpoint = |name: &str, text: &str| {
            let url: Url = text.parse().map_err(|_| format!("its {name} is no URL"))?;
            // Nobody but a provider on this machine may send us to this machine, or anywhere in the clear.
            let is_local = issuer.starts_with("http://");
            let is_allowed = if is_local { is_loopback(&url) } else { url.scheme() == "https" };
            let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
            if is_allowed && is_plain { Ok(url) } else { Err(format!("its {name} may not be asked")) }
        };
        let methods = document.token_endpoint_auth_methods_supported;
        let takes = |method: &str| methods.iter().flatten().any(|known| known == method);
        Ok(Self {
            authorization_endpoint: endpoint("authorization endpoint", &document.authorization_endpoint)?,
            token_endpoint: endpoint("token endpoint", &document.token_endpoint)?,
            jwks_uri: endpoint("key set", &document.jwks_uri)?,
            posts_secret: takes("client_secret_post") && !takes("client_secret_basic"),
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

/// S256 of a verifier (RFC 7636 section 4.2).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

async fn send(what: &str, request: RequestBuilder) -> Result<Response, ProviderFault> {
    let sent = request.header(ACCEPT, "application/json").send().await;
    sent.map_err(|error| no_answer(what, error))
}

/// Reads the document of a good answer, strictly and only so much of it.
async fn read<T: DeserializeOwned>(what: &str, mut response: Response) -> Result<T, ProviderFault> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(ProviderFault::Unavailable(format!("its {what} answered {status}")));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(what, error))? {
        if bytes.len() + chunk.len() > ANSWER.bytes_max {
            return Err(ProviderFault::Unavailable(format!("its {what} answered too much")));
        }
        bytes.extend_from_slice(&chunk);
    }
    // Why may repeat what it said, which may be a token.
    strict::from_slice(&bytes, ANSWER)
        .map_err(|_| ProviderFault::Unavailable(format!("its {what} answered no document of that kind")))
}

fn no_answer(what: &str, error: reqwest::Error) -> ProviderFault {
    let error = error.without_url();
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    ProviderFault::Unavailable(format!("its {what} does not answer: {error}{cause}"))
}

/// A text as it stands in a form (application/x-www-form-urlencoded); a space as `%20` is one, too.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(issuer: &str, token_endpoint: &str, methods: Option<&[&str]>) -> Document {
        Document {
            issuer: issuer.to_owned(),
            authorization_endpoint: format!("{issuer}/auth"),
            token_endpoint: token_endpoint.to_owned(),
            jwks_uri: format!("{issuer}/keys"),
            token_endpoint_auth_methods_supported: methods
                .map(|methods| methods.iter().map(|method| (*method).to_owned()).collect()),
            authorization_response_iss_parameter_supported: true,
        }
    }

    #[test]
    fn a_provider_speaks_for_itself_and_sends_nobody_anywhere_in_the_clear() {
        const ISSUER: &str = "https://id.example.com";
        let read = |token_endpoint: &str, issuer: &str| {
            Metadata::read(document(ISSUER, token_endpoint, None), issuer).is_ok()
        };
        // Large providers have several hosts.
        assert!(read("https://tokens.example.net/x", ISSUER));
        assert!(!read("https://id.example.com/x", "https://id.example.com/"));
        for wrong in [
            "http://id.example.com/x",
            "http://127.0.0.1/x",
            "https://a:b@id.example.com/x",
            "x",
            "file:///x",
        ] {
            assert!(!read(wrong, ISSUER), "{wrong}");
        }
        let local = "http://127.0.0.1:9000";
        assert!(Metadata::read(document(local, "http://127.0.0.1:9000/x", None), local).is_ok());
        assert!(Metadata::read(document(local, "http://10.0.0.1/x", None), local).is_err());
    }

    #[test]
    fn the_secret_stands_in_the_header_unless_the_provider_takes_it_in_the_body_alone() {
        const ISSUER: &str = "https://id.example.com";
        for (methods, posts) in [
            (None, false),
            (Some(&["client_secret_basic", "client_secret_post"][..]), false),
            (Some(&["client_secret_post"][..]), true),
            (Some(&["private_key_jwt"][..]), false),
        ] {
            let metadata =
                Metadata::read(document(ISSUER, "https://id.example.com/t", methods), ISSUER).unwrap();
            assert_eq!(metadata.posts_secret, posts, "{methods:?}");
        }
        assert_eq!(form_encoded("a-b c:d+é%"), "a-b%20c%3Ad%2B%C3%A9%25");
    }

    #[test]
    fn a_challenge_is_that_of_the_standard() {
        // RFC 7636 appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
