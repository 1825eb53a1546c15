//! The receivers of notifications: signs as Standard Webhooks 1.0 has it, sends once, and says what
//! came of it. Nothing of an answer but its status and `Retry-After` is read.

mod address;

use std::error::Error as _;
use std::time::Duration;

use aegis_contract::key::hmac_sha256;
use aegis_contract::strict::base64_encode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use secrecy::zeroize::Zeroizing;

use self::address::Resolver;
pub use self::address::{AddressRefused, AddressRules};
use crate::error::Error;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt may take altogether: the least that Standard Webhooks recommends.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Most characters kept of a reason.
const REASON_LENGTH_MAX: usize = 300;
pub(super) const USER_AGENT: &str = concat!("aegis-control-plane/", env!("CARGO_PKG_VERSION"));

/// Sends notifications.
#[derive(Clone)]
pub struct WebhookClient {
    http: reqwest::Client,
    rules: AddressRules,
}

/// One notification.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// What receivers know it by, however often it comes. Holds no full stop.
    pub id: &'a str,
    /// When it is sent.
    pub at: Timestamp,
    /// JSON.
    pub body: &'a str,
    /// Signs with each of them.
    pub secrets: &'a [Zeroizing<Vec<u8>>],
}

/// A receiver's answer, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl WebhookClient {
    /// A client that keeps to the rules.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(rules: AddressRules) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ATTEMPT_TIMEOUT)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .no_proxy()
            // The address is judged at every connection.
            .pool_max_idle_per_host(0)
            .dns_resolver(Resolver(rules))
            .build()
            .map_err(Error::internal)?;
        Ok(Self { http, rules })
    }

    /// What receivers' addresses are held to.
    pub fn rules(&self) -> AddressRules {
        self.rules
    }

    /// Sends once.
    ///
    /// # Errors
    /// Why there was no answer, for people; it does not name the URL, which may hold a secret.
    pub async fn send(&self, url: &str, message: Message<'_>) -> Result<Answer, String> {
        // Addresses do not pass the resolver, and the rules may have changed since it was stored.
        let url = self.rules.check(url).map_err(|problem| format!("not sent: the URL {problem}"))?;
        let sent = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.at.as_second())
            .header("webhook-signature", signatures(message))
            .body(message.body.to_owned())
            .send()
            .await;
        let answer = sent.map_err(|error| reason(&error.without_url()))?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Ok(Answer { status: answer.status().as_u16(), retry_after })
    }
}

/// One signature for each secret.
fn signatures(message: Message<'_>) -> String {
    let Message { id, at, body, secrets } = message;
    let signed = format!("{id}.{}.{body}", at.as_second());
    let sign = |secret: &Zeroizing<Vec<u8>>| base64_encode(&hmac_sha256(secret, signed.as_bytes()));
    secrets.iter().map(|secret| format!("v1,{}", sign(secret))).collect::<Vec<_>>().join(" ")
}

/// Why there was no answer, for people: also what caused it. The error must not name its URL.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs());
    }
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = error.source();
    }
    reason.chars().take(REASON_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use aegis_contract::strict::base64_decode;

    use super::*;

    #[test]
    fn a_message_is_signed_as_the_published_example_is() {
        // The vector that the reference libraries of Standard Webhooks share.
        let secret = Zeroizing::new(base64_decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let secrets = [secret.clone(), secret];
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at: Timestamp::from_second(1_614_265_330).unwrap(),
            body: r#"{"test": 2432232314}"#,
            secrets: &secrets,
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(message), format!("{expected} {expected}"));
    }
}
