//! An authenticator app: computes codes of second factors by itself, as RFC 6238 says and by this machine's clock.

use anyhow::{Context, Result};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;

use crate::callers::Caller;

/// What somebody has on their phone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    secret: Vec<u8>,
}

impl Authenticator {
    /// An app that was given a secret, typed.
    pub fn new(secret: &str) -> Result<Self> {
        Ok(Self { secret: BASE32_NOPAD.decode(secret.as_bytes()).ok().context("a secret is base32")? })
    }

    /// Enrols a second factor for somebody who is signed in; their app, and their recovery codes.
    pub async fn enrol(person: &Caller, password: &str) -> Result<(Self, Vec<String>)> {
        let begun = person.post("/api/v1/users/me/second-factor", &json!({ "password": password })).await?;
        let app = Self::new(begun.expect(200)?.body["secret"].as_str().context("a secret")?)?;
        let code = json!({ "code": app.code(-1) });
        let confirmed = person.post("/api/v1/users/me/second-factor/confirm", &code).await?.expect(200)?;
        let codes = confirmed.body["recoveryCodes"].as_array().context("recovery codes")?;
        let codes = codes.iter().filter_map(|code| code.as_str().map(str::to_owned)).collect();
        Ok((app, codes))
    }

    /// The 30 seconds it is now, counted since 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an app outside the services has its own clock")]
    pub fn step() -> i64 {
        jiff::Timestamp::now().as_second().div_euclid(30)
    }

    /// The code that is shown so many steps from now.
    #[must_use]
    pub fn code(&self, steps_off: i64) -> String {
        let counter = (Self::step() + steps_off).to_be_bytes();
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(&counter);
        let mac = mac.finalize().into_bytes();
        let at = usize::from(mac[19] & 15);
        let number = mac[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}
