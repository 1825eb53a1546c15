//! Requests that are signed by hand: those that are in the profile, and those that are not, each for one reason.
//! `shared/contract/tests/it/http_signature_profile.rs` has the tests of each rule by itself.

use aegis_contract::http_signature::content_digest;
use aegis_contract::strict::base64_encode;
use aegis_tests::callers::Finished;
use aegis_tests::paths::random_name;
use http::HeaderValue;
use jiff::Timestamp;
use reqwest::Method;
use sha2::{Digest, Sha512};

use super::draft::{DROPPED, Draft};

/// What they ask, unless they say otherwise.
pub(super) const EVALUATE: &str = "/api/v1/policy/evaluate";
const WHOAMI: &str = "/api/v1/whoami";

/// What is changed of a sound request.
pub(super) type Change = fn(&mut Draft);

/// What somebody changes of it on its way.
type Tampering = fn(&mut Finished);

/// The time on this machine, which is the services' time too.
#[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

fn read(draft: &mut Draft) {
    draft.method = "GET".to_owned();
    draft.path = WHOAMI.to_owned();
    draft.body = Vec::new();
    draft.set_header("content-digest", content_digest(b""));
}

fn without_idempotency_key(draft: &mut Draft) {
    draft.drop_header("idempotency-key");
    draft.drop_component("idempotency-key");
}

fn with_sha512(draft: &mut Draft, of: &[u8]) {
    let sha512 = base64_encode(&Sha512::digest(of));
    draft.set_header("content-digest", format!("{}, sha-512=:{sha512}:", content_digest(&draft.body)));
}

pub(super) const GOOD: &[(&str, &str, Change)] = &[
    ("a secret's", "secret", |_| {}),
    ("a pair's", "pair", |_| {}),
    ("the second key of a client", "second", |_| {}),
    ("a secret's that names its algorithm", "secret", |draft| draft.set_param("alg=\"hmac-sha256\"")),
    ("a pair's that names its algorithm", "pair", |draft| draft.set_param("alg=\"ed25519\"")),
    ("components in another order", "pair", |draft| draft.components.reverse()),
    ("parameters in another order", "secret", |draft| draft.params.reverse()),
    ("no idempotency key", "secret", without_idempotency_key),
    ("a reading one, its body empty", "pair", read),
    ("an empty query", "secret", |draft| draft.query = Some(String::new())),
    ("a query", "secret", |draft| draft.query = Some("a=%20?&b=/".to_owned())),
    ("another digest as well", "secret", |draft| {
        let body = draft.body.clone();
        with_sha512(draft, &body);
    }),
    ("a digest that nobody knows as well", "secret", |draft| {
        draft.set_header("content-digest", format!("unixsum=1, {}", content_digest(&draft.body)));
    }),
    ("created a little ahead", "secret", |draft| draft.set_times(now() + 3, now() + 200)),
    ("of 300 seconds", "pair", |draft| {
        let now = now();
        draft.set_times(now, now + 300);
    }),
    ("old, and not over", "secret", |draft| draft.set_times(now() - 150, now() + 140)),
    ("a nonce of 128 characters", "secret", |draft| {
        draft.set_param(&format!("nonce=\"{}\"", random_name(32).repeat(4)));
    }),
    ("a nonce of odd characters", "pair", |draft| {
        draft.set_param(r#"nonce="\"\\!~#$%&'()*+,-./:;<=>?@[]^_`{|}""#);
    }),
    ("another header that is not covered", "secret", |draft| {
        draft.late_headers.push(("x-forwarded-for", "10.0.0.1".to_owned()));
    }),
    ("another name of it, in capitals and without the default port", "secret", |draft| {
        draft.authority = "AEGIS.Example".to_owned();
    }),
];

/// What, by which key, with which change, and the recorded reason.
pub(super) type Bad = (&'static str, &'static str, Change, &'static str);

pub(super) const BAD: &[Bad] = &[
    ("no signature", "secret", |draft| draft.signature_edit = |_| DROPPED.to_owned(), "signature-missing"),
    ("no input", "secret", |draft| draft.input_edit = |_| DROPPED.to_owned(), "signature-missing"),
    (
        "a space more",
        "secret",
        |draft| draft.input_edit = |input| input.replacen(';', "; ", 1),
        "signature-malformed",
    ),
    (
        "no base64",
        "secret",
        |draft| draft.signature_edit = |_| "aegis=:c2ln".to_owned(),
        "signature-malformed",
    ),
    (
        "a text for a signature",
        "pair",
        |draft| draft.signature_edit = |_| "aegis=\"c2ln\"".to_owned(),
        "signature-malformed",
    ),
    (
        "two signatures",
        "secret",
        |draft| draft.late_headers.push(("signature", "aegis=:c2ln:".to_owned())),
        "header-doubled",
    ),
    (
        "two digests",
        "secret",
        |draft| draft.headers.push(("content-digest", content_digest(b""))),
        "header-doubled",
    ),
    (
        "two idempotency keys",
        "secret",
        |draft| draft.headers.push(("idempotency-key", "x".to_owned())),
        "header-doubled",
    ),
    (
        "another label",
        "secret",
        |draft| draft.input_edit = |input| input.replacen("aegis=", "sig1=", 1),
        "label-wrong",
    ),
    (
        "a second input beside it",
        "pair",
        |draft| draft.input_edit = |input| format!("{input}, sig1=()"),
        "label-wrong",
    ),
    ("method left out", "secret", |draft| draft.drop_component("@method"), "component-missing"),
    ("authority left out", "secret", |draft| draft.drop_component("@authority"), "component-missing"),
    ("path left out", "pair", |draft| draft.drop_component("@path"), "component-missing"),
    ("query left out", "secret", |draft| draft.drop_component("@query"), "component-missing"),
    ("digest left out", "secret", |draft| draft.drop_component("content-digest"), "component-missing"),
    (
        "idempotency key left out",
        "secret",
        |draft| draft.drop_component("idempotency-key"),
        "component-missing",
    ),
    ("everything left out", "pair", |draft| draft.components.clear(), "component-missing"),
    ("the whole URL covered", "secret", |draft| draft.cover("\"@target-uri\""), "component-extra"),
    ("the content type covered", "secret", |draft| draft.cover("\"content-type\""), "component-extra"),
    (
        "an idempotency key that is not sent",
        "secret",
        |draft| draft.drop_header("idempotency-key"),
        "component-extra",
    ),
    ("the method twice", "secret", |draft| draft.cover("\"@method\""), "component-doubled"),
    (
        "a component of another request",
        "secret",
        |draft| draft.components[0] = "\"@method\";req".to_owned(),
        "component-parameter",
    ),
    (
        "reordered after signing",
        "secret",
        |draft| {
            draft.input_edit =
                |input| input.replacen("\"@method\" \"@authority\"", "\"@authority\" \"@method\"", 1);
        },
        "signature-wrong",
    ),
    ("no created", "secret", |draft| draft.set_param("created"), "parameter-missing"),
    ("no expires", "secret", |draft| draft.set_param("expires"), "parameter-missing"),
    ("no nonce", "pair", |draft| draft.set_param("nonce"), "parameter-missing"),
    ("no key id", "secret", |draft| draft.set_param("keyid"), "parameter-missing"),
    ("a parameter more", "secret", |draft| draft.set_param("realm=\"x\""), "parameter-extra"),
    ("a time in words", "secret", |draft| draft.set_param("created=\"today\""), "parameter-malformed"),
    (
        "a fraction of a second",
        "secret",
        |draft| draft.set_param("expires=1795176000.5"),
        "parameter-malformed",
    ),
    ("a short nonce", "secret", |draft| draft.set_param("nonce=\"0123456789abcde\""), "nonce-malformed"),
    (
        "a long nonce",
        "secret",
        |draft| draft.set_param(&format!("nonce=\"{}\"", "n".repeat(129))),
        "nonce-malformed",
    ),
    ("no tag", "secret", |draft| draft.set_param("tag"), "tag-wrong"),
    ("another tag", "pair", |draft| draft.set_param("tag=\"x\""), "tag-wrong"),
    ("no digest", "secret", |draft| draft.drop_header("content-digest"), "digest-missing"),
    (
        "only a digest of another kind",
        "secret",
        |draft| {
            draft.set_header(
                "content-digest",
                format!("sha-512=:{}:", base64_encode(&Sha512::digest(&draft.body))),
            );
        },
        "digest-missing",
    ),
    (
        "a digest that is none",
        "secret",
        |draft| draft.set_header("content-digest", "sha-256=abc"),
        "digest-malformed",
    ),
    (
        "the digest of another body",
        "secret",
        |draft| draft.set_header("content-digest", content_digest(b"{}")),
        "digest-mismatch",
    ),
    ("another body than was signed", "pair", |draft| draft.body.push(b' '), "digest-mismatch"),
    ("half of the digests of another body", "secret", |draft| with_sha512(draft, b"{}"), "digest-mismatch"),
    (
        "signed for another name",
        "secret",
        |draft| draft.authority = "evil.example".to_owned(),
        "authority-mismatch",
    ),
    (
        "signed for another port",
        "secret",
        |draft| draft.authority = "127.0.0.1:1".to_owned(),
        "authority-mismatch",
    ),
    ("over", "secret", |draft| draft.set_times(now() - 120, now() - 60), "expired"),
    ("not yet", "secret", |draft| draft.set_times(now() + 60, now() + 120), "created-in-future"),
    ("living long", "pair", |draft| draft.set_times(now(), now() + 400), "lifetime-too-long"),
    ("over before it begins", "secret", |draft| draft.set_times(now(), now() - 1), "lifetime-reversed"),
    ("by nobody", "unknown", |_| {}, "key-unknown"),
    ("by the key of orders", "orders", |_| {}, "key-unknown"),
    ("by the key of orders in a client's name", "orders-as-client", |_| {}, "signature-wrong"),
    ("by another secret", "wrong", |_| {}, "signature-wrong"),
    ("by a revoked key", "revoked", |_| {}, "key-revoked"),
    ("by a key whose time is over", "expired", |_| {}, "key-expired"),
    ("by a disabled client", "of-disabled", |_| {}, "client-disabled"),
    ("by a client whose time is over", "of-expired", |_| {}, "client-expired"),
    (
        "a secret's that names the other algorithm",
        "secret",
        |draft| draft.set_param("alg=\"ed25519\""),
        "algorithm-mismatch",
    ),
    (
        "a pair's that names the other algorithm",
        "pair",
        |draft| draft.set_param("alg=\"hmac-sha256\""),
        "algorithm-mismatch",
    ),
    ("one that names none at all", "secret", |draft| draft.set_param("alg=\"none\""), "algorithm-mismatch"),
    ("a MAC with the text of the public key", "confused", |_| {}, "signature-wrong"),
    (
        "the same, which says so",
        "confused",
        |draft| draft.set_param("alg=\"hmac-sha256\""),
        "algorithm-mismatch",
    ),
];

/// Sound requests that somebody changed on their way: what was asked, and what is changed of it.
pub(super) const TAMPERED: &[(&str, Change, Tampering)] = &[
    (
        "another method",
        |draft| draft.path = "/api/v1/actions".to_owned(),
        |request| request.method = Method::GET,
    ),
    (
        "another path",
        |_| {},
        |request| request.url = request.url.replace(EVALUATE, "/api/v1/policy/validate"),
    ),
    ("a query", |_| {}, |request| request.url.push_str("?wait=1")),
    (
        "another idempotency key",
        |_| {},
        |request| drop(request.headers.insert("idempotency-key", HeaderValue::from_static("other"))),
    ),
];
