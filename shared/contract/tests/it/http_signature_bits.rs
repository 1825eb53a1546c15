//! Two properties of signed requests: no covered bit can change, and nothing uncovered matters.

use aegis_contract::dsse::ReceiptKey;
use aegis_contract::http_signature::{
    Refusal, Request, SigningKey, Verified, VerifyingKey, normalise_authority, parse, sign,
};
use aegis_contract::key::SharedSecret;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;

const NOW: i64 = 1_795_176_000;

/// A signed request as bytes, the way it travels.
#[derive(Debug, Clone)]
struct Wire {
    method: Vec<u8>,
    authority: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    headers: Vec<(HeaderName, Vec<u8>)>,
    body: Vec<u8>,
}

impl Wire {
    /// Every part that the signature promises to hold, by name.
    fn parts(&mut self) -> Vec<(String, &mut Vec<u8>)> {
        let mut parts = vec![
            ("method".to_owned(), &mut self.method),
            ("authority".to_owned(), &mut self.authority),
            ("path".to_owned(), &mut self.path),
            ("query".to_owned(), &mut self.query),
            ("body".to_owned(), &mut self.body),
        ];
        parts.extend(self.headers.iter_mut().map(|(name, value)| (name.to_string(), value)));
        parts
    }

    /// Judges it as a server that answers to whatever name the request has. None: no HTTP stack lets it in.
    fn judge(&self, key: &VerifyingKey) -> Option<Result<Verified, Refusal>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        let request = Request {
            method: text(&self.method)?,
            authority: text(&self.authority)?,
            path: text(&self.path)?,
            query: Some(text(&self.query)?),
            headers: &headers,
            body: &self.body,
        };
        let now = Timestamp::from_second(NOW).expect("a time of this era");
        let authorities = [request.authority.to_owned()];
        Some(parse(&request).and_then(|presented| presented.verify(key, now, &authorities)))
    }

    /// Flips every bit once. Where the part keeps its meaning (an authority in capitals), it stays accepted.
    fn flip_every_bit(&mut self, key: &VerifyingKey) -> Result<(), TestCaseError> {
        let original = normalise_authority(&String::from_utf8_lossy(&self.authority));
        for part in 0..self.parts().len() {
            for place in 0..self.parts()[part].1.len() * 8 {
                let (byte, mask) = (place / 8, 1 << (place % 8));
                self.parts()[part].1[byte] ^= mask;
                let verdict = self.judge(key);
                let name = self.parts()[part].0.clone();
                let authority = String::from_utf8_lossy(&self.authority);
                let is_same = name == "authority" && normalise_authority(&authority) == original;
                let is_accepted = matches!(verdict, Some(Ok(_)));
                prop_assert_eq!(
                    is_accepted,
                    is_same,
                    "bit {} of {} byte {}: {:?}",
                    place % 8,
                    name,
                    byte,
                    self
                );
                self.parts()[part].1[byte] ^= mask;
            }
        }
        Ok(())
    }
}

fn hmac_keys() -> (SigningKey, VerifyingKey) {
    let secret = SharedSecret::from_bytes(&[7; 32]).expect("long enough");
    let signing = SigningKey::hmac_sha256("k1", secret.clone()).expect("a key id");
    (signing, VerifyingKey::hmac_sha256(secret))
}

fn ed25519_keys() -> (SigningKey, VerifyingKey) {
    let key = ReceiptKey::from_seed(&[7; 32]);
    let signing = SigningKey::ed25519_pkcs8_pem("k1", &key.to_pkcs8_pem()).expect("a private key");
    (signing, VerifyingKey::ed25519_public_pem(&key.public_pem()).expect("a public key"))
}

prop_compose! {
    fn requests()(
        method in "GET|POST|PUT|DELETE",
        authority in "[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?",
        path in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,8}){1,3}",
        query in "([a-zA-Z0-9._~%!$'()*+,;:@/?&=-]{1,12})?",
        idempotency_key in prop::option::of("[!-~]([ -~]{0,8}[!-~])?"),
        body in prop::collection::vec(any::<u8>(), 0..40),
        nonce in "[!-~]{16,24}",
    ) -> (Wire, String) {
        let header = HeaderName::from_static("idempotency-key");
        let headers = idempotency_key.into_iter().map(|key| (header.clone(), key.into_bytes())).collect();
        let (method, authority) = (method.into_bytes(), authority.into_bytes());
        (Wire { method, authority, path: path.into_bytes(), query: query.into_bytes(), headers, body }, nonce)
    }
}

fn signed(mut wire: Wire, nonce: &str, key: &SigningKey) -> Wire {
    let text = |bytes| std::str::from_utf8(bytes).expect("generated as text");
    let mut headers = HeaderMap::new();
    for (name, value) in &wire.headers {
        headers.insert(name, HeaderValue::from_bytes(value).expect("a header value"));
    }
    let request = Request {
        method: text(&wire.method),
        authority: text(&wire.authority),
        path: text(&wire.path),
        query: Some(text(&wire.query)),
        headers: &headers,
        body: &wire.body,
    };
    let at = |seconds| Timestamp::from_second(seconds).expect("a time of this era");
    let signed = sign(&request, key, at(NOW), at(NOW + 60), nonce).expect("a request in the profile");
    for (name, value) in [
        ("content-digest", signed.content_digest),
        ("signature-input", signed.signature_input),
        ("signature", signed.signature),
    ] {
        wire.headers.push((HeaderName::from_static(name), value.into_bytes()));
    }
    wire
}

fn is_uncovered(name: &HeaderName) -> bool {
    !["content-digest", "signature-input", "signature", "idempotency-key"].contains(&name.as_str())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_flipped_bit_is_refused_under_a_shared_secret((wire, nonce) in requests()) {
        let (signing, verifying) = hmac_keys();
        signed(wire, &nonce, &signing).flip_every_bit(&verifying)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn any_flipped_bit_is_refused_under_ed25519((wire, nonce) in requests()) {
        let (signing, verifying) = ed25519_keys();
        signed(wire, &nonce, &signing).flip_every_bit(&verifying)?;
    }
}

proptest! {
    #[test]
    fn uncovered_headers_have_no_influence(
        (wire, nonce) in requests(),
        others in prop::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~]{0,20}"), 0..8),
    ) {
        let (signing, verifying) = hmac_keys();
        let mut wire = signed(wire, &nonce, &signing);
        let alone = wire.judge(&verifying).expect("a request in the profile");
        prop_assert!(alone.is_ok(), "{:?}", alone);
        let others = others.into_iter().map(|(name, value)| {
            (name.parse::<HeaderName>().expect("generated as a header name"), value.into_bytes())
        });
        // Before and after the covered ones, because order must not matter either.
        for (place, other) in others.filter(|(name, _)| is_uncovered(name)).enumerate() {
            let place = if place % 2 == 0 { 0 } else { wire.headers.len() };
            wire.headers.insert(place, other);
        }
        prop_assert_eq!(wire.judge(&verifying), Some(alone));
    }

    #[test]
    fn one_clients_signature_is_not_anothers((wire, nonce) in requests()) {
        let (signing, _) = hmac_keys();
        let other = VerifyingKey::hmac_sha256(SharedSecret::from_bytes(&[8; 32]).expect("long enough"));
        let verdict = signed(wire, &nonce, &signing).judge(&other);
        prop_assert_eq!(verdict, Some(Err(Refusal::SignatureWrong)));
    }
}
