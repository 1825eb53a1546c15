//! Keys, and a request that is signed by hand so that any part of it can be wrong. The tests of the whole stack send
//! such requests too (`tests/it/control_plane/signatures.rs`).

use aegis_contract::dsse::ReceiptKey;
use aegis_contract::http_signature::{
    Refusal, Request, SigningKey, Verified, VerifyingKey, content_digest, normalise_authority, parse,
    signature_base,
};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict::base64_encode;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

pub(super) const NOW: i64 = 1_795_176_000;
pub(super) const NONCE: &str = "0123456789abcdef";

pub(super) fn secret() -> SharedSecret {
    SharedSecret::from_bytes(&[7; 32]).expect("long enough")
}

pub(super) fn hmac_keys() -> (SigningKey, VerifyingKey) {
    let signing = SigningKey::hmac_sha256("k1", secret()).expect("a key id");
    (signing, VerifyingKey::hmac_sha256(secret()))
}

pub(super) fn ed25519_keys() -> (SigningKey, VerifyingKey) {
    let key = ReceiptKey::from_seed(&[7; 32]);
    let signing = SigningKey::ed25519_pkcs8_pem("k1", &key.to_pkcs8_pem()).expect("a private key");
    (signing, VerifyingKey::ed25519_public_pem(&key.public_pem()).expect("a public key"))
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time of this era")
}

/// A request to be signed by hand, every part of which a case may change.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) body: Vec<u8>,
    /// Other headers than those of the signature, in the order in which they are sent.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Covered components as they stand in the inner list.
    pub(super) components: Vec<String>,
    /// Parameters as they stand behind it.
    pub(super) params: Vec<String>,
    /// Last changes to the two signature headers, after signing.
    pub(super) input_edit: fn(String) -> String,
    pub(super) signature_edit: fn(String) -> String,
    /// Headers added after signing.
    pub(super) late_headers: Vec<(&'static str, String)>,
    pub(super) now: Timestamp,
    pub(super) authorities: Vec<String>,
}

impl Draft {
    pub(super) fn new() -> Self {
        let body = br#"{"type":"restart"}"#.to_vec();
        let components = ["@method", "@authority", "@path", "@query", "content-digest", "idempotency-key"];
        Self {
            method: "POST".to_owned(),
            authority: "aegis.example:8443".to_owned(),
            path: "/api/v1/actions".to_owned(),
            query: Some("wait=5".to_owned()),
            headers: vec![
                ("content-digest", content_digest(&body)),
                ("idempotency-key", "heal-1".to_owned()),
                ("content-type", "application/json".to_owned()),
            ],
            body,
            components: components.map(|name| format!("\"{name}\"")).to_vec(),
            params: vec![
                format!("created={NOW}"),
                format!("expires={}", NOW + 60),
                format!("nonce=\"{NONCE}\""),
                "keyid=\"k1\"".to_owned(),
                "tag=\"aegis\"".to_owned(),
            ],
            input_edit: |input| input,
            signature_edit: |signature| signature,
            late_headers: Vec::new(),
            now: at(NOW),
            authorities: vec!["other.example".to_owned(), "aegis.example:8443".to_owned()],
        }
    }

    pub(super) fn set_header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
    }

    pub(super) fn drop_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| *other != name);
    }

    pub(super) fn drop_component(&mut self, name: &str) {
        self.components.retain(|item| *item != format!("\"{name}\""));
    }

    pub(super) fn cover(&mut self, item: &str) {
        self.components.push(item.to_owned());
    }

    /// Replaces a parameter, given as `name=value`; drops it when there is no value.
    pub(super) fn set_param(&mut self, param: &str) {
        let (name, value) = param.split_once('=').unwrap_or((param, ""));
        let place = self.params.iter().position(|old| old.split('=').next() == Some(name));
        if let Some(place) = place {
            self.params.remove(place);
        }
        if !value.is_empty() {
            self.params.insert(place.unwrap_or(self.params.len()), param.to_owned());
        }
    }

    pub(super) fn set_times(&mut self, created: i64, expires: i64) {
        self.set_param(&format!("created={created}"));
        self.set_param(&format!("expires={expires}"));
    }

    /// The value of a component as RFC 9421 has it, whatever our profile thinks of covering it.
    fn component_value(&self, name: &str) -> String {
        match name {
            "@method" => self.method.clone(),
            "@authority" => normalise_authority(&self.authority),
            "@path" => self.path.clone(),
            "@query" => format!("?{}", self.query.as_deref().unwrap_or_default()),
            "@scheme" => "http".to_owned(),
            "@target-uri" => format!("http://{}{}", self.authority, self.path),
            field => {
                let values: Vec<_> = self.headers.iter().filter(|(name, _)| *name == field).collect();
                values.iter().map(|(_, value)| value.trim()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// All headers as they are sent, signed by `key`.
    pub(super) fn signed_headers(&self, key: &SigningKey) -> HeaderMap {
        let params: String = self.params.iter().map(|param| format!(";{param}")).collect();
        let params = format!("({}){params}", self.components.join(" "));
        let values: Vec<_> = self
            .components
            .iter()
            .map(|item| item.split(';').next().unwrap_or_default().trim_matches('"'))
            .map(|name| (name, self.component_value(name)))
            .collect();
        let base = signature_base(values.iter().map(|(name, value)| (*name, value.as_str())), &params);
        let signature = base64_encode(&key.sign_base(&base));

        let mut headers = HeaderMap::new();
        let input = (self.input_edit)(format!("aegis={params}"));
        let signature = (self.signature_edit)(format!("aegis=:{signature}:"));
        let signed = [("signature-input", input), ("signature", signature)];
        for (name, value) in self.headers.iter().chain(&signed).chain(&self.late_headers) {
            if *value != DROPPED {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    }

    pub(super) fn judge(
        &self,
        (signing, verifying): &(SigningKey, VerifyingKey),
    ) -> Result<Verified, Refusal> {
        let headers = self.signed_headers(signing);
        let request = Request {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &headers,
            body: &self.body,
        };
        parse(&request)?.verify(verifying, self.now, &self.authorities)
    }
}

/// A header with this value is not sent.
pub(super) const DROPPED: &str = "(dropped)";
