//! A provider that answers whatever a test says, and what is believed of that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_tests::callers::Answer;
use aegis_tests::oidc::Browser;
use aegis_tests::ports;
use aegis_tests::stack::Stack;
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::super::canaries::{disguises, sinks};
use super::super::log::refusals;
use super::scene::{Program, ask_to_begin, caller, configure, handed_over, redirect_uri, roles, stack};

const CLIENT_SECRET: &str = "the secret of the client aegis: + & %";
const ACCESS_TOKEN: &str = "an-access-token-of-the-hostile-provider";

/// What is answered at a path.
#[derive(Clone)]
enum Said {
    Body(u16, String),
    Elsewhere(String),
    Nothing,
}

/// A provider on the loopback address that answers what it was told, and keeps what it was asked.
struct Hostile {
    url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    says: Mutex<HashMap<String, Said>>,
    /// Paths, `Authorization`, and bodies.
    asked: Mutex<Vec<(String, String, String)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hostile {
    async fn start() -> Result<Self> {
        let port = ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { url: format!("http://127.0.0.1:{port}"), shared, accepting })
    }

    fn say(&self, path: &str, said: Said) {
        locked(&self.shared.says).insert(path.to_owned(), said);
    }

    fn say_json(&self, path: &str, body: &Value) {
        self.say(path, Said::Body(200, body.to_string()));
    }

    /// Describes itself as it should, with a change.
    fn describe(&self, name: &str, value: &Value) {
        let mut description = json!({
            "issuer": self.url,
            "authorization_endpoint": format!("{}/auth?prompt=login", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "jwks_uri": format!("{}/keys", self.url),
        });
        description[name] = value.clone();
        self.say_json("/.well-known/openid-configuration", &description);
    }

    fn give(&self, id_token: &str) {
        let tokens = json!({ "access_token": ACCESS_TOKEN, "token_type": "bearer", "id_token": id_token });
        self.say_json("/token", &tokens);
    }

    fn asked(&self, path: &str) -> Vec<(String, String)> {
        let asked = locked(&self.shared.asked);
        let of_path = asked.iter().filter(|(found, ..)| found == path);
        of_path.map(|(_, authorization, body)| (authorization.clone(), body.clone())).collect()
    }

    fn settings(&self) -> Vec<(String, String)> {
        [
            ("OIDC_ISSUER", self.url.as_str()),
            ("OIDC_CLIENT_ID", "aegis"),
            ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, the set ends all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, shared.clone()));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { answer(&shared, request).await }
    });
    // An error is a connection that the control plane has ended.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let authorization = authorization.unwrap_or_default().to_owned();
    let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    locked(&shared.asked).push((path.clone(), authorization, body));
    let said = locked(&shared.says).get(&path).cloned();
    let response = match said {
        Some(Said::Body(status, body)) => Response::builder().status(status).body(Full::from(body))?,
        Some(Said::Elsewhere(location)) => {
            Response::builder().status(307).header("location", location).body(Full::default())?
        }
        Some(Said::Nothing) => std::future::pending().await,
        None => Response::builder().status(404).body(Full::default())?,
    };
    Ok(response)
}

/// A key that the provider signs with.
struct Key {
    algorithm: Algorithm,
    private: EncodingKey,
    /// Its public half, as it stands in the key set.
    public: Vec<u8>,
}

impl Key {
    fn new(kind: &'static SignatureAlgorithm, algorithm: Algorithm) -> Result<Self> {
        let pair = KeyPair::generate_for(kind)?;
        let pkcs8 = pair.serialize_der();
        let private = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&pkcs8),
            _ => EncodingKey::from_ec_der(&pkcs8),
        };
        Ok(Self { algorithm, private, public: pair.public_key_raw().to_vec() })
    }

    fn ed25519() -> Result<Self> {
        Self::new(&PKCS_ED25519, Algorithm::EdDSA)
    }

    fn p256() -> Result<Self> {
        Self::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256)
    }

    /// RFC 7517; RFC 8037 section 2 and RFC 7518 section 6.2.
    fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self.algorithm {
            Algorithm::EdDSA => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": text(&self.public) })
            }
            _ => json!({
                "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
                "x": text(&self.public[1..33]), "y": text(&self.public[33..]),
            }),
        }
    }

    fn sign(&self, id: Option<&str>, claims: &Value) -> Result<String> {
        let header = Header { kid: id.map(str::to_owned), ..Header::new(self.algorithm) };
        Ok(encode(&header, claims, &self.private)?)
    }
}

#[expect(clippy::disallowed_methods, reason = "a provider has its own clock")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What a good token says in a sign-in.
fn claims(hostile: &Hostile, program: &Program) -> Result<Value> {
    Ok(json!({
        "iss": hostile.url, "sub": "mallory", "aud": "aegis", "exp": now() + 300, "iat": now(),
        "nonce": program.parameter("nonce")?, "groups": ["sre-leads"],
        "email": "mallory@example.com", "email_verified": true,
    }))
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    changed[name] = value;
    changed
}

/// Comes back from the provider with any code.
async fn come_back(stack: &Stack, program: &Program) -> Result<Result<String, String>> {
    let page = Browser::new(None)?.get(&program.back_with(stack, "code=any-code-of-the-provider")?).await?;
    handed_over(&page, program)
}

async fn begin_with(hostile: &Hostile, key: &Key) -> Result<Stack> {
    let stack = stack(&[("LOG_LEVEL", "debug")]).await?;
    configure(&stack, &hostile.settings(), "sre-leads=sre-lead").await?;
    hostile.describe("token_endpoint_auth_methods_supported", &json!(["client_secret_basic"]));
    hostile.say_json("/keys", &json!({ "keys": [key.jwk("ours")] }));
    Ok(stack)
}

/// Tokens that prove nobody, with the reason that is recorded. The key set has the first key as `ours`, the second one
/// as `others`, and keys that are of no use.
fn bad_tokens(
    good: &Value,
    [ours, others, stranger]: [&Key; 3],
    client_secret: &str,
) -> Result<Vec<(&'static str, String)>> {
    let mac = |secret: &[u8]| {
        let header = Header { kid: Some("ours".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, good, &EncodingKey::from_secret(secret))
    };
    let plain = |head: &str| {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(good.to_string()))
    };
    let signed = ours.sign(Some("ours"), good)?;
    let (head, rest) = signed.split_once('.').context("a token")?;
    let (_, signature) = rest.split_once('.').context("a token")?;
    let other = URL_SAFE_NO_PAD.encode(with(good, "sub", json!("alice")).to_string());
    let mut bad = vec![
        ("oidc-algorithm-wrong", plain(r#"{"alg":"none"}"#)),
        ("oidc-algorithm-wrong", plain(r#"{"alg":"None","kid":"ours"}"#)),
        ("oidc-algorithm-wrong", mac(&ours.public)?),
        ("oidc-algorithm-wrong", mac(URL_SAFE_NO_PAD.encode(&ours.public).as_bytes())?),
        ("oidc-algorithm-wrong", mac(client_secret.as_bytes())?),
        ("oidc-token-malformed", plain(r#"{"alg":"EdDSA","kid":"ours","crit":["b64"],"b64":false}"#)),
        ("oidc-token-malformed", "no token".to_owned()),
        ("oidc-signature-wrong", plain(r#"{"alg":"EdDSA","kid":"ours"}"#)),
        ("oidc-signature-wrong", stranger.sign(Some("ours"), good)?),
        ("oidc-signature-wrong", format!("{head}.{other}.{signature}")),
        ("oidc-key-unknown", stranger.sign(Some("stranger"), good)?),
        // The token brings the key that it is signed with.
        ("oidc-key-unknown", ours.sign(Some("/dev/null"), good)?),
        // A key for something else, and one of another algorithm.
        ("oidc-key-unknown", ours.sign(Some("for-encryption"), good)?),
        ("oidc-key-unknown", others.sign(Some("ours"), good)?),
    ];
    for (reason, name, value) in [
        ("oidc-issuer-wrong", "iss", json!("https://id.example.com")),
        ("oidc-audience-wrong", "aud", json!("another")),
        ("oidc-audience-wrong", "aud", json!(["aegis", "another"])),
        ("oidc-audience-wrong", "azp", json!("another")),
        ("oidc-token-expired", "exp", json!(now() - 120)),
        ("oidc-token-expired", "iat", json!(now() - 3_600)),
        ("oidc-token-from-the-future", "iat", json!(now() + 3_600)),
        ("oidc-nonce-wrong", "nonce", json!("another")),
        ("oidc-nonce-wrong", "nonce", Value::Null),
        ("oidc-access-token-wrong", "at_hash", json!(left_half(&Sha512::digest("another")))),
        ("oidc-token-malformed", "exp", json!("4102444800")),
        ("oidc-token-malformed", "sub", json!("")),
    ] {
        bad.push((reason, ours.sign(Some("ours"), &with(good, name, value))?));
    }
    Ok(bad)
}

fn left_half(hash: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

#[tokio::test]
async fn no_token_proves_anybody_but_one_that_the_provider_signed_for_this_sign_in() -> Result<()> {
    let (ours, others, stranger) = (Key::ed25519()?, Key::p256()?, Key::ed25519()?);
    let hostile = Hostile::start().await?;
    let stack = begin_with(&hostile, &ours).await?;
    let mut for_encryption = ours.jwk("for-encryption");
    for_encryption["use"] = json!("enc");
    let useless =
        json!({ "kty": "oct", "kid": "ours", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(&ours.public) });
    let keys = [ours.jwk("ours"), others.jwk("others"), for_encryption, useless, json!({ "kty": "new" })];
    hostile.say_json("/keys", &json!({ "keys": keys }));

    let count = bad_tokens(&json!({}), [&ours, &others, &stranger], CLIENT_SECRET)?.len();
    for index in 0..count {
        let program = Program::begin(&stack, index % 2).await?;
        let good = claims(&hostile, &program)?;
        let (reason, token) =
            bad_tokens(&good, [&ours, &others, &stranger], CLIENT_SECRET)?.swap_remove(index);
        hostile.give(&token);
        let outcome = come_back(&stack, &program).await?;
        assert_eq!(outcome, Err("identity-refused".to_owned()), "{reason}: {token}");
        assert!(refusals(&stack, reason).await? >= 1, "{reason} is recorded: {token}");
    }
    let known = stack.admin()?.get("/api/v1/users").await?.expect(200)?.body;
    assert_eq!(known["items"].as_array().map(Vec::len), Some(1), "{known}");

    // The provider is asked with our secret, and with what the code is worth nothing without.
    let (authorization, body) = hostile.asked("/token").pop().context("asked for tokens")?;
    let expected = "aegis:the%20secret%20of%20the%20client%20aegis%3A%20%2B%20%26%20%25";
    assert_eq!(authorization, format!("Basic {}", STANDARD.encode(expected)));
    let sent: HashMap<String, String> = reqwest::Url::parse(&format!("http://x/?{body}"))?
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    assert_eq!(sent["redirect_uri"], redirect_uri(&stack));
    assert!(!sent.contains_key("client_secret"));

    // The same, and nothing wrong with it: by either key, and without a name where only one key fits.
    for (key, id) in [(&ours, Some("ours")), (&others, Some("others")), (&others, None)] {
        let program = Program::begin(&stack, 0).await?;
        let hash = match key.algorithm {
            Algorithm::EdDSA => left_half(&Sha512::digest(ACCESS_TOKEN)),
            _ => left_half(&Sha256::digest(ACCESS_TOKEN)),
        };
        hostile.give(&key.sign(id, &with(&claims(&hostile, &program)?, "at_hash", json!(hash)))?);
        let code = come_back(&stack, &program).await?.map_err(anyhow::Error::msg)?;
        let signed_in = program.redeem(&stack, 0, &code).await?.expect(200)?;
        assert_eq!(roles(&caller(&stack, 1, &signed_in)?).await?, json!(["sre-lead"]));
        let (_, body) = hostile.asked("/token").pop().context("asked for tokens")?;
        let verifier = body.split('&').find_map(|pair| pair.strip_prefix("code_verifier="));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.context("a verifier")?));
        assert_eq!(challenge, program.parameter("code_challenge")?);
        assert_eq!(program.parameter("prompt")?, "login", "the provider's own parameters stay");
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_is_asked_where_it_says_itself_in_bounded_time_and_for_bounded_answers() -> Result<()> {
    let key = Key::ed25519()?;
    let hostile = Hostile::start().await?;
    let stack = begin_with(&hostile, &key).await?;
    let begin = async || -> Result<Answer> { ask_to_begin(&stack, 0, "any").await };
    let place = "/.well-known/openid-configuration";
    for (name, value) in [
        ("issuer", json!("https://id.example.com")),
        ("issuer", json!(format!("{}/", hostile.url))),
        ("issuer", Value::Null),
        ("token_endpoint", json!("http://10.0.0.1/token")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("padding", json!("x".repeat(300_000))),
    ] {
        hostile.describe(name, &value);
        assert_eq!(begin().await?.expect(503)?.code(), "provider-unavailable", "{name}");
    }
    hostile.describe("x", &json!(0));
    let description = locked(&hostile.shared.says).get(place).cloned().context("described")?;
    hostile.say("/elsewhere", description);
    let here = format!("{}/elsewhere", hostile.url);
    let wrong = [
        Said::Elsewhere(here.clone()),
        Said::Body(404, String::new()),
        Said::Body(200, "<html>".to_owned()),
        Said::Nothing,
    ];
    for said in wrong {
        hostile.say(place, said);
        assert_eq!(begin().await?.expect(503)?.code(), "provider-unavailable");
    }
    assert!(hostile.asked("/elsewhere").is_empty(), "nobody is followed elsewhere");

    // The same of the two that are asked when a person comes back.
    hostile.describe("x", &json!(0));
    for path in ["/token", "/keys"] {
        for wrong in [
            Said::Elsewhere(here.clone()),
            Said::Body(500, "{}".to_owned()),
            Said::Body(200, "[]".to_owned()),
            Said::Body(200, format!("{{\"keys\": [], \"padding\": \"{}\"}}", "x".repeat(300_000))),
            Said::Nothing,
        ] {
            let program = Program::begin(&stack, 0).await?;
            hostile.give(&key.sign(Some("ours"), &claims(&hostile, &program)?)?);
            hostile.say(path, wrong);
            assert_eq!(come_back(&stack, &program).await?, Err("provider-unavailable".to_owned()), "{path}");
        }
    }
    assert!(hostile.asked("/elsewhere").is_empty(), "nobody is followed elsewhere");

    // And then it is a provider like any other. Of unknown keys it is not asked with every token.
    hostile.say_json("/keys", &json!({ "keys": [key.jwk("ours")] }));
    let program = Program::begin(&stack, 0).await?;
    hostile.give(&key.sign(Some("ours"), &claims(&hostile, &program)?)?);
    come_back(&stack, &program).await?.map_err(anyhow::Error::msg)?;
    let (before, started_at) = (hostile.asked("/keys").len(), std::time::Instant::now());
    for _ in 0..10 {
        let program = Program::begin(&stack, 0).await?;
        hostile.give(&key.sign(Some("another"), &claims(&hostile, &program)?)?);
        assert_eq!(come_back(&stack, &program).await?, Err("identity-refused".to_owned()));
    }
    // One look in five seconds, however long ten sign-ins took.
    let looks = usize::try_from(started_at.elapsed().as_secs() / 5)? + 1;
    assert!(hostile.asked("/keys").len() <= before + looks, "{} looks", hostile.asked("/keys").len());
    Ok(())
}

#[tokio::test]
async fn nothing_secret_of_a_sign_in_is_written_down_or_told_to_others() -> Result<()> {
    let key = Key::ed25519()?;
    let hostile = Hostile::start().await?;
    let stack = begin_with(&hostile, &key).await?;
    let mut secrets =
        vec![CLIENT_SECRET.to_owned(), ACCESS_TOKEN.to_owned(), "any-code-of-the-provider".to_owned()];
    // One that ends with a session, one that was answered and waits, and one that nobody has answered.
    for stage in 0..3 {
        let program = Program::begin(&stack, 0).await?;
        secrets.extend([program.verifier.clone(), program.parameter("state")?]);
        if stage == 2 {
            continue;
        }
        let id_token = key.sign(Some("ours"), &claims(&hostile, &program)?)?;
        hostile.give(&id_token);
        let code = come_back(&stack, &program).await?.map_err(anyhow::Error::msg)?;
        let (_, body) = hostile.asked("/token").pop().context("asked for tokens")?;
        let verifier = body.split('&').find_map(|pair| pair.strip_prefix("code_verifier="));
        secrets.extend([id_token, code.clone(), verifier.context("a verifier")?.to_owned()]);
        if stage == 0 {
            let signed_in = program.redeem(&stack, 0, &code).await?.expect(200)?.body;
            for name in ["accessToken", "refreshToken"] {
                secrets.push(signed_in[name].as_str().context("a token")?.to_owned());
            }
        }
    }
    let sinks = sinks(&stack).await?;
    for secret in &secrets {
        for disguise in disguises(secret) {
            for (name, text) in &sinks {
                assert!(!text.contains(&disguise), "{name} shows a secret: {secret}");
            }
        }
    }
    // Who signed in with it is known by name all the same, and in the log by their id alone.
    assert!(sinks.iter().any(|(name, text)| name.contains("/api/v1/users") && text.contains("mallory@")));
    Ok(())
}
