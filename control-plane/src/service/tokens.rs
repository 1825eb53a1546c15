//! Access tokens of people: JWT (RFC 7519), HS256, a quarter of an hour, each of one session.

use std::sync::Arc;

use aegis_contract::ids::{SessionId, UserId};
use aegis_runtime::clock;
use aegis_runtime::settings::renewal::InForce;
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

/// How long a token is good.
pub const LIFETIME_SECONDS: u32 = 15 * 60;
const ISSUER: &str = "aegis-control-plane";
const AUDIENCE: &str = "aegis-api";

/// What a token says. Typed, so that a claim of another JSON type is refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    exp: i64,
    iat: i64,
    jti: Uuid,
    sid: SessionId,
    roles: Vec<String>,
}

/// What tokens are signed with.
pub struct TokenSecrets {
    /// Signs them.
    pub current: SecretString,
    /// Is believed too: the one before, or the next one until every replica knows it.
    pub previous: Option<SecretString>,
}

/// Makes and checks tokens. Clones share the secrets.
#[derive(Clone)]
pub struct Tokens {
    keys: Arc<InForce<Keys>>,
    validation: Validation,
}

struct Keys {
    encoding: EncodingKey,
    /// The one that signs comes first.
    decoding: Vec<DecodingKey>,
}

impl Keys {
    fn of(secrets: &TokenSecrets) -> Self {
        let decoding = std::iter::once(&secrets.current).chain(&secrets.previous);
        Self {
            encoding: EncodingKey::from_secret(secrets.current.expose_secret().as_bytes()),
            decoding: decoding
                .map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes()))
                .collect(),
        }
    }
}

impl Tokens {
    /// With the secrets they are signed with.
    pub fn new(secrets: &TokenSecrets) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // One clock makes and checks them.
        validation.leeway = 0;
        Self { keys: Arc::new(InForce::new(Keys::of(secrets))), validation }
    }

    /// Signs with other secrets from now on, and believes no others.
    pub fn renew(&self, secrets: &TokenSecrets) {
        self.keys.put(Keys::of(secrets));
    }

    /// A token for a person in a session.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(
        &self,
        user: UserId,
        session: SessionId,
        roles: &[String],
        now: Timestamp,
    ) -> Result<String, Error> {
        let iat = now.as_second();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            exp: iat + i64::from(LIFETIME_SECONDS),
            iat,
            jti: clock::new_uuid(),
            sid: session,
            roles: roles.to_vec(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.keys.get().encoding).map_err(Error::internal)
    }

    /// Whom a token is for, in which session; or the reason, for metrics and the audit log, why it is for nobody.
    ///
    /// # Errors
    /// The reason.
    pub fn verify(&self, token: &str) -> Result<(UserId, SessionId), &'static str> {
        let mut refused = "token-signature-wrong";
        for key in &self.keys.get().decoding {
            match decode::<Claims>(token, key, &self.validation) {
                Ok(token) => return Ok((token.claims.sub, token.claims.sid)),
                Err(error) => match reason(&error) {
                    "token-signature-wrong" => {}
                    reason => refused = reason,
                },
            }
        }
        Err(refused)
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ExpiredSignature => "token-expired",
        ErrorKind::InvalidSignature => "token-signature-wrong",
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => "token-not-for-us",
        ErrorKind::InvalidAlgorithm => "token-algorithm-wrong",
        _ => "token-malformed",
    }
}

#[cfg(test)]
mod wycheproof;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};
    use jiff::SignedDuration;
    use serde_json::{Value, json};
    use sha2::Sha256;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&TokenSecrets { current: SecretString::from(secret), previous: None })
    }

    fn user() -> UserId {
        UserId(Uuid::from_u128(7))
    }

    fn session() -> SessionId {
        SessionId(Uuid::from_u128(8))
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    #[test]
    fn a_token_is_for_whom_it_was_made() {
        let token = tokens(SECRET).issue(user(), session(), &["admin".to_owned()], clock::now()).unwrap();
        assert_eq!(tokens(SECRET).verify(&token), Ok((user(), session())));
        assert_eq!(tokens(&SECRET.replace('0', "1")).verify(&token), Err("token-signature-wrong"));
    }

    #[test]
    fn a_secret_is_believed_before_it_signs_and_afterwards_for_as_long_as_it_is_named() {
        let [old, new] = ["0", "1"].map(|digit| SecretString::from(digit.repeat(32)));
        let both = |current: &SecretString, previous: Option<&SecretString>| TokenSecrets {
            current: current.clone(),
            previous: previous.cloned(),
        };
        let issue = |tokens: &Tokens| tokens.issue(user(), session(), &[], clock::now()).unwrap();
        let [here, there] = [(); 2].map(|()| Tokens::new(&both(&old, None)));
        let first = issue(&here);
        for tokens in [&here, &there] {
            tokens.renew(&both(&old, Some(&new)));
        }
        here.renew(&both(&new, Some(&old)));
        let second = issue(&here);
        for tokens in [&here, &there] {
            assert!(tokens.verify(&first).is_ok() && tokens.verify(&second).is_ok());
        }
        here.renew(&both(&new, None));
        assert_eq!(here.verify(&first), Err("token-signature-wrong"));
        assert!(here.verify(&second).is_ok());
    }

    #[test]
    fn a_token_ends_after_a_quarter_of_an_hour() {
        let issued = clock::now() - SignedDuration::from_secs(i64::from(LIFETIME_SECONDS) + 1);
        let token = tokens(SECRET).issue(user(), session(), &[], issued).unwrap();
        assert_eq!(tokens(SECRET).verify(&token), Err("token-expired"));
    }

    #[test]
    fn a_token_of_another_shape_is_for_nobody() {
        let good = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user(), "exp": 4_102_444_800_i64, "iat": 0,
                           "jti": user(), "sid": session(), "roles": [] });
        assert_eq!(tokens(SECRET).verify(&signed(&good)), Ok((user(), session())));
        for (claim, value) in [
            ("exp", json!("4102444800")),
            ("exp", Value::Null),
            ("iss", json!("somebody")),
            ("aud", json!("somewhere")),
            ("sub", json!("admin")),
            ("sid", Value::Null),
            ("roles", json!("admin")),
            ("extra", json!(1)),
        ] {
            let mut changed = good.clone();
            changed[claim] = value;
            assert!(tokens(SECRET).verify(&signed(&changed)).is_err(), "{changed}");
        }
        let mut without = good;
        without.as_object_mut().unwrap().remove("exp");
        assert!(tokens(SECRET).verify(&signed(&without)).is_err());
    }

    /// A token of exactly this header and payload, with an HMAC-SHA256 by this key.
    fn forged(header: &str, payload: &str, key: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// RFC 8725 sections 2 and 3, and what was reported of libraries since.
    #[test]
    fn no_known_attack_on_tokens_makes_one_good() {
        const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
        let tokens = tokens(SECRET);
        let payload = |exp: &str| {
            format!(
                r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"{}","exp":{exp},"iat":0,"jti":"{}","sid":"{}","roles":[]}}"#,
                user(),
                user(),
                session()
            )
        };
        let (good, own) = (payload("4102444800"), SECRET.as_bytes());
        let sound = forged(HEADER, &good, own);
        assert_eq!(tokens.verify(&sound), Ok((user(), session())));
        let (head, signature) = sound.rsplit_once('.').unwrap();
        let (first, rest) = sound.split_once('.').unwrap();

        let headers = [
            // Nothing is signed, in any spelling.
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"typ":"JWT"}"#,
            // Another algorithm than ours, whatever was signed with.
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
        ];
        let by_header = headers.map(|header| forged(header, &good, own));
        // The token names, brings or points to the key that it is signed with.
        let by_key = [
            (r#"{"alg":"HS256","kid":"/dev/null"}"#, &b"\0"[..]),
            (r#"{"alg":"HS256","kid":"x' union select 'key"}"#, b"key"),
            (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"a2V5"}}"#, b"key"),
            (r#"{"alg":"HS256","jku":"https://example.com/keys"}"#, b"key"),
            (HEADER, b""),
            (HEADER, ISSUER.as_bytes()),
        ]
        .map(|(header, key)| forged(header, &good, key));
        let times =
            ["\"4102444800\"", "null", "true", "[4102444800]", "{}", "-1", "0", "1e999", "4102444800.5"];
        let by_time = times.map(|exp| forged(HEADER, &payload(exp), own));
        let doubled = good.replacen("\"sub\"", "\"sub\":\"00000000-0000-0000-0000-000000000001\",\"sub\"", 1);
        let by_shape = [
            forged(HEADER, &doubled, own),
            forged(HEADER, &format!("[{good}]"), own),
            forged(HEADER, &sound, own),
            format!("{head}."),
            head.to_owned(),
            format!("{sound}.{signature}"),
            format!("{sound}="),
            format!("{sound} "),
            format!(" {sound}"),
            format!("{first}=.{rest}"),
            format!("{head}.{}", &signature[..signature.len() - 2]),
            format!("{head}.{}", "A".repeat(signature.len())),
            sound.to_uppercase(),
            "..".to_owned(),
            String::new(),
        ];
        for token in by_header.iter().chain(&by_key).chain(&by_time).chain(&by_shape) {
            assert!(tokens.verify(token).is_err(), "{token}");
        }
    }

    #[test]
    fn a_changed_bit_anywhere_makes_another_token() {
        let tokens = tokens(SECRET);
        let sound = tokens.issue(user(), session(), &[], clock::now()).unwrap();
        for place in 0..sound.len() {
            for bit in 0..7 {
                let mut bytes = sound.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(tokens.verify(&changed).is_err(), "bit {bit} of byte {place}: {changed}");
            }
        }
    }
}
