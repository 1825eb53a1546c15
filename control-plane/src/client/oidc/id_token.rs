//! ID tokens (OpenID Connect Core 1.0 section 3.1.3.7): whom a token is about, if it is the provider's, for us, of
//! this sign-in, and good now. Pure.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Longest token that is looked at; one with hundreds of groups has a tenth of it.
const TOKEN_LENGTH_MAX: usize = 64 * 1024;
/// How far the provider's clock may be from ours, in seconds.
const LEEWAY_SECONDS: i64 = 60;
/// How old a token may be that was just exchanged for a code, in seconds.
const AGE_SECONDS_MAX: i64 = 10 * 60;
/// Longest `sub` (OpenID Connect Core 1.0 section 2).
const SUBJECT_LENGTH_MAX: usize = 255;

/// Algorithms that a provider signs with and we could not have. Never one with a shared secret, never `none`.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Somebody whom the provider knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it calls them, for ever, and nobody else.
    pub subject: String,
    /// Their e-mail address, if it says that it is theirs.
    pub verified_email: Option<String>,
    /// The values of the claim that roles are read from.
    pub groups: Vec<String>,
}

/// What a token must say.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) roles_claim: &'a str,
    /// The access token that came beside it.
    pub(super) access_token: &'a str,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// A key of the provider's (RFC 7517).
pub(super) struct Key {
    id: Option<String>,
    kind: String,
    algorithm: Option<String>,
    decoding: DecodingKey,
}

impl Key {
    /// Reads a key; nothing where it is of no use for signatures, or of a kind that we do not know.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let is_for_signatures = text("use").is_none_or(|purpose| purpose == "sig");
        let kind = text("kty").filter(|kind| is_for_signatures && kind != "oct")?;
        Some(Self {
            id: text("kid"),
            kind,
            algorithm: text("alg"),
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    fn fits(&self, algorithm: Algorithm, name: &str) -> bool {
        self.kind == kind(algorithm) && self.algorithm.as_deref().is_none_or(|own| own == name)
    }
}

/// The head of a token: how it says that it is signed (RFC 7515 section 4.1).
#[derive(Deserialize)]
pub(super) struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Head {
    /// Reads the head of a token.
    ///
    /// # Errors
    /// The reason why the token is for nobody.
    pub(super) fn read(token: &str) -> Result<Self, &'static str> {
        let (head, _) = token.split_once('.').filter(|_| token.len() <= TOKEN_LENGTH_MAX).ok_or(MALFORMED)?;
        let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| MALFORMED)?;
        let head: Self = serde_json::from_slice(&head).map_err(|_| MALFORMED)?;
        head.algorithm()?;
        // What must be understood and is not.
        if head.crit.is_some() { Err(MALFORMED) } else { Ok(head) }
    }

    fn algorithm(&self) -> Result<Algorithm, &'static str> {
        let known = Algorithm::from_str(&self.alg).ok();
        known.filter(|known| ALGORITHMS.contains(known)).ok_or("oidc-algorithm-wrong")
    }

    /// The keys that may have signed it: those that it names. One that names none was signed by the only one there is.
    fn keys<'a>(&self, keys: &'a [Key], algorithm: Algorithm) -> Vec<&'a Key> {
        let fitting = keys.iter().filter(|key| key.fits(algorithm, &self.alg));
        let fitting: Vec<_> = fitting.filter(|key| self.kid.is_none() || key.id == self.kid).collect();
        if self.kid.is_none() && fitting.len() > 1 { Vec::new() } else { fitting }
    }

    /// Whether one of the keys may have signed it.
    pub(super) fn is_known_to(&self, keys: &[Key]) -> bool {
        self.algorithm().is_ok_and(|algorithm| !self.keys(keys, algorithm).is_empty())
    }
}

const MALFORMED: &str = "oidc-token-malformed";

/// What a token says. Typed, so that a claim of another JSON type is refused; a claim that stands twice is, too.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    azp: Option<String>,
    at_hash: Option<String>,
    email: Option<String>,
    email_verified: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Whom a token is about.
///
/// # Errors
/// The reason, for metrics and the audit log, why it is about nobody.
pub(super) fn verify(
    token: &str,
    head: &Head,
    keys: &[Key],
    expected: Expected<'_>,
) -> Result<Identity, &'static str> {
    let algorithm = head.algorithm()?;
    let candidates = head.keys(keys, algorithm);
    if candidates.is_empty() {
        return Err("oidc-key-unknown");
    }
    let mut validation = Validation::new(algorithm);
    // Judged below, all of them, by our clock.
    validation.set_required_spec_claims::<&str>(&[]);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let mut fault = "oidc-signature-wrong";
    for key in candidates {
        match decode::<Claims>(token, &key.decoding, &validation) {
            Ok(decoded) => return judge(decoded.claims, algorithm, expected),
            Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
                fault = MALFORMED;
            }
            Err(_) => {}
        }
    }
    Err(fault)
}

fn judge(claims: Claims, algorithm: Algorithm, expected: Expected<'_>) -> Result<Identity, &'static str> {
    let audience = claims.aud.as_slice();
    let is_ours = |name: &String| name == expected.client_id;
    // Of several audiences one asked for the token, which must be us.
    let is_authorised = match &claims.azp {
        Some(party) => is_ours(party),
        None => audience.len() == 1,
    };
    let refused = [
        (claims.iss != expected.issuer, "oidc-issuer-wrong"),
        (!audience.iter().any(is_ours) || !is_authorised, "oidc-audience-wrong"),
        (claims.exp <= expected.now.saturating_sub(LEEWAY_SECONDS), "oidc-token-expired"),
        (claims.iat > expected.now.saturating_add(LEEWAY_SECONDS), "oidc-token-from-the-future"),
        (claims.iat < expected.now.saturating_sub(AGE_SECONDS_MAX), "oidc-token-expired"),
        (claims.nonce.as_deref() != Some(expected.nonce), "oidc-nonce-wrong"),
        (
            claims.at_hash.is_some_and(|hash| hash != left_half(algorithm, expected.access_token)),
            "oidc-access-token-wrong",
        ),
        (!is_subject(&claims.sub), MALFORMED),
    ];
    if let Some((_, reason)) = refused.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return Err(reason);
    }
    let is_verified = claims.email_verified == Some(Value::Bool(true));
    Ok(Identity {
        subject: claims.sub,
        verified_email: claims.email.filter(|_| is_verified),
        groups: groups(claims.others.get(expected.roles_claim)),
    })
}

fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The texts of a claim that is a list of texts, or one text.
fn groups(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// `at_hash` (OpenID Connect Core 1.0 section 3.1.3.6): the left half of the hash that goes with the algorithm. That of
/// Ed25519 is SHA-512 (RFC 8032 section 5.1).
fn left_half(algorithm: Algorithm, token: &str) -> String {
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => Sha384::digest(token).to_vec(),
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => Sha512::digest(token).to_vec(),
        _ => Sha256::digest(token).to_vec(),
    };
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

/// The kind of key that an algorithm needs (RFC 7518 section 6.1, RFC 8037 section 2).
fn kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => "EC",
        Algorithm::EdDSA => "OKP",
        _ => "RSA",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://id.example.com",
        client_id: "aegis",
        nonce: "n",
        roles_claim: "groups",
        access_token: "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
        now: NOW,
    };

    fn good() -> Value {
        json!({
            "iss": "https://id.example.com", "sub": "alice", "aud": "aegis", "exp": NOW + 300, "iat": NOW, "nonce": "n",
            "email": "alice@example.com", "email_verified": true, "groups": ["sre-leads", 7, "ops"],
            // The example of OpenID Connect Core 1.0, appendix A.3.
            "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
        })
    }

    fn judged(claims: &Value) -> Result<Identity, &'static str> {
        let claims = serde_json::from_value(claims.clone()).map_err(|_| MALFORMED)?;
        judge(claims, Algorithm::RS256, EXPECTED)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_is_about_whom_it_names() {
        let alice = Identity {
            subject: "alice".to_owned(),
            verified_email: Some("alice@example.com".to_owned()),
            groups: vec!["sre-leads".to_owned(), "ops".to_owned()],
        };
        assert_eq!(judged(&good()), Ok(alice.clone()));
        for same in [
            with("aud", json!(["aegis"])),
            with("azp", json!("aegis")),
            with("exp", json!(NOW - 59)),
            with("iat", json!(NOW + 59)),
        ] {
            assert_eq!(judged(&same), Ok(alice.clone()), "{same}");
        }
        let several = json!({ "aud": ["aegis", "x"], "azp": "aegis" });
        let mut claims = good();
        claims.as_object_mut().unwrap().extend(several.as_object().unwrap().clone());
        assert_eq!(judged(&claims), Ok(alice));
        for unproven in [json!(false), json!("true"), json!(1), Value::Null] {
            assert_eq!(judged(&with("email_verified", unproven)).unwrap().verified_email, None);
        }
        assert_eq!(judged(&with("groups", json!("ops"))).unwrap().groups, ["ops"]);
        assert!(judged(&with("groups", json!({ "ops": true }))).unwrap().groups.is_empty());
    }

    #[test]
    fn a_token_that_is_not_of_this_sign_in_is_about_nobody() {
        for (name, value, reason) in [
            ("iss", json!("https://id.example.com/"), "oidc-issuer-wrong"),
            ("iss", json!("https://evil.example.com"), "oidc-issuer-wrong"),
            ("aud", json!("another"), "oidc-audience-wrong"),
            ("aud", json!([]), "oidc-audience-wrong"),
            ("aud", json!(["aegis", "another"]), "oidc-audience-wrong"),
            ("azp", json!("another"), "oidc-audience-wrong"),
            ("exp", json!(NOW - 60), "oidc-token-expired"),
            ("iat", json!(NOW + 61), "oidc-token-from-the-future"),
            ("iat", json!(NOW - 601), "oidc-token-expired"),
            ("nonce", json!("m"), "oidc-nonce-wrong"),
            ("nonce", Value::Null, "oidc-nonce-wrong"),
            ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RR"), "oidc-access-token-wrong"),
            ("sub", json!(""), MALFORMED),
            ("sub", json!("a\u{0}"), MALFORMED),
            ("sub", json!("a".repeat(256)), MALFORMED),
            ("sub", json!(1), MALFORMED),
            ("exp", json!("1800000300"), MALFORMED),
            ("exp", Value::Null, MALFORMED),
        ] {
            assert_eq!(judged(&with(name, value.clone())), Err(reason), "{name} {value}");
        }
    }

    #[test]
    fn nothing_is_signed_with_a_shared_secret_or_with_nothing() {
        let head = |text: &str| Head::read(&format!("{}.e30.", URL_SAFE_NO_PAD.encode(text))).map(|_| ());
        assert_eq!(head(r#"{"alg":"RS256"}"#), Ok(()));
        for alg in ["none", "None", "", "HS256", "HS384", "HS512", "rs256"] {
            assert_eq!(head(&format!(r#"{{"alg":"{alg}"}}"#)), Err("oidc-algorithm-wrong"), "{alg}");
        }
        for text in [
            "{}",
            "[]",
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","crit":["b64"]}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
        ] {
            assert_eq!(head(text), Err(MALFORMED), "{text}");
        }
        assert!(Key::read(&json!({ "kty": "oct", "k": "a2V5" })).is_none());
        assert!(Key::read(&json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc" })).is_none());
    }
}
