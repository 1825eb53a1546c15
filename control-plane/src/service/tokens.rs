//! Access tokens of people: JWT (RFC 7519), HS256, a quarter of an hour.

use aegis_contract::ids::UserId;
use aegis_runtime::clock;
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
    roles: Vec<String>,
}

/// Makes and checks tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// With the secret they are signed with.
    pub fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // One clock makes and checks them.
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            validation,
        }
    }

    /// A token for a person.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(&self, user: UserId, roles: &[String], now: Timestamp) -> Result<String, Error> {
        let iat = now.as_second();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            exp: iat + i64::from(LIFETIME_SECONDS),
            iat,
            jti: clock::new_uuid(),
            roles: roles.to_vec(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(Error::internal)
    }

    /// Whom a token is for; or the reason, for metrics and the audit log, why it is for nobody.
    ///
    /// # Errors
    /// The reason.
    pub fn verify(&self, token: &str) -> Result<UserId, &'static str> {
        match decode::<Claims>(token, &self.decoding, &self.validation) {
            Ok(token) => Ok(token.claims.sub),
            Err(error) => Err(match error.kind() {
                ErrorKind::ExpiredSignature => "token-expired",
                ErrorKind::InvalidSignature => "token-signature-wrong",
                ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => "token-not-for-us",
                ErrorKind::InvalidAlgorithm => "token-algorithm-wrong",
                _ => "token-malformed",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&SecretString::from(secret))
    }

    fn user() -> UserId {
        UserId(Uuid::from_u128(7))
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    #[test]
    fn a_token_is_for_whom_it_was_made() {
        let token = tokens(SECRET).issue(user(), &["admin".to_owned()], clock::now()).unwrap();
        assert_eq!(tokens(SECRET).verify(&token), Ok(user()));
        assert_eq!(tokens(&SECRET.replace('0', "1")).verify(&token), Err("token-signature-wrong"));
    }

    #[test]
    fn a_token_ends_after_a_quarter_of_an_hour() {
        let issued = clock::now() - SignedDuration::from_secs(i64::from(LIFETIME_SECONDS) + 1);
        let token = tokens(SECRET).issue(user(), &[], issued).unwrap();
        assert_eq!(tokens(SECRET).verify(&token), Err("token-expired"));
    }

    #[test]
    fn a_token_of_another_shape_is_for_nobody() {
        let good = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user(), "exp": 4_102_444_800_i64, "iat": 0,
                           "jti": user(), "roles": [] });
        assert_eq!(tokens(SECRET).verify(&signed(&good)), Ok(user()));
        for (claim, value) in [
            ("exp", json!("4102444800")),
            ("exp", Value::Null),
            ("iss", json!("somebody")),
            ("aud", json!("somewhere")),
            ("sub", json!("admin")),
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

    #[test]
    fn the_token_does_not_choose_its_algorithm() {
        // {"alg":"none","typ":"JWT"}
        let token = tokens(SECRET).issue(user(), &[], clock::now()).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        assert!(tokens(SECRET).verify(&unsigned).is_err());
    }
}
