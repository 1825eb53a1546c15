//! The profile of signed requests, rule by rule.
//!
//! Every request here is signed correctly for what it says, so a refusal is the profile's and not a wrong
//! signature's.

mod draft;

use aegis_contract::dsse::ReceiptKey;
use aegis_contract::http_signature::{
    Refusal, Request, SignError, SigningKey, Verified, content_digest, parse, sign,
};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict::base64_encode;
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha512};

use self::draft::{DROPPED, Draft, NONCE, NOW, at, ed25519_keys, hmac_keys};

type Case = (&'static str, fn(&mut Draft));

fn judge_all(cases: &[Case], expected: Result<(), Refusal>) {
    for keys in [hmac_keys(), ed25519_keys()] {
        for (name, change) in cases {
            let mut draft = Draft::new();
            change(&mut draft);
            assert_eq!(draft.judge(&keys).map(|_| ()), expected, "{name} ({:?})", keys.0.algorithm());
        }
    }
}

#[test]
fn requests_in_the_profile_are_accepted() {
    judge_all(
        &[
            ("as it comes", |_| {}),
            ("components in another order", |draft| draft.components.reverse()),
            ("parameters in another order", |draft| draft.params.reverse()),
            ("an empty body has its digest too", |draft| {
                draft.body = Vec::new();
                draft.set_header("content-digest", content_digest(b""));
            }),
            ("no query", |draft| draft.query = None),
            ("an empty query", |draft| draft.query = Some(String::new())),
            ("no Idempotency-Key", |draft| {
                draft.drop_header("idempotency-key");
                draft.drop_component("idempotency-key");
            }),
            ("an authority in capitals", |draft| draft.authority = "AEGIS.Example:8443".to_owned()),
            ("configured names in capitals", |draft| {
                draft.authorities = vec!["Aegis.EXAMPLE:8443".to_owned()];
            }),
            ("a default port that the configuration leaves out", |draft| {
                draft.authority = "aegis.example:443".to_owned();
                draft.authorities = vec!["aegis.example".to_owned()];
            }),
            ("a default port that only the configuration has", |draft| {
                draft.authority = "aegis.example".to_owned();
                draft.authorities = vec!["aegis.example:80".to_owned()];
            }),
            ("an address", |draft| {
                draft.authority = "[::1]:3000".to_owned();
                draft.authorities = vec!["[::1]:3000".to_owned()];
            }),
            ("percent-encoding in the path", |draft| draft.path = "/api/v1/actions/%7E%2f..".to_owned()),
            ("a question mark in the query", |draft| draft.query = Some("a=?&b=/".to_owned())),
            ("sha-512 as well", |draft| {
                let digest = format!("{}, sha-512=:{}:", content_digest(&draft.body), sha512(&draft.body));
                draft.set_header("content-digest", digest);
            }),
            ("an unknown digest as well", |draft| {
                draft.set_header("content-digest", format!("unixsum=1, {}", content_digest(&draft.body)));
            }),
            ("created 5 s ahead", |draft| draft.set_times(NOW + 5, NOW + 60)),
            ("300 s of life", |draft| draft.set_times(NOW, NOW + 300)),
            ("created long ago but alive", |draft| draft.set_times(NOW - 299, NOW + 1)),
            ("in its last second", |draft| draft.set_times(NOW - 60, NOW)),
            ("a nonce of 128 characters", |draft| draft.set_param(&format!("nonce=\"{}\"", "n".repeat(128)))),
            ("a nonce of odd characters", |draft| {
                draft.set_param(r#"nonce="\"\\!~#$%&'()*+,-./:;<=>?@[]^_`{|}""#);
            }),
            ("white space around an Idempotency-Key", |draft| {
                draft.set_header("idempotency-key", " heal-1\t");
            }),
            ("an Idempotency-Key of words", |draft| draft.set_header("idempotency-key", "heal web, please")),
        ],
        Ok(()),
    );
}

fn sha512(body: &[u8]) -> String {
    base64_encode(&Sha512::digest(body))
}

#[test]
fn a_request_without_a_whole_signature_is_unsigned() {
    judge_all(
        &[
            ("no Signature", |draft| draft.signature_edit = |_| DROPPED.to_owned()),
            ("no Signature-Input", |draft| draft.input_edit = |_| DROPPED.to_owned()),
        ],
        Err(Refusal::SignatureMissing),
    );
}

#[test]
fn signature_headers_have_one_spelling() {
    judge_all(
        &[
            ("empty input", |draft| draft.input_edit = |_| "aegis".to_owned()),
            ("no structured field", |draft| draft.input_edit = |input| format!("{input} !")),
            ("two spaces", |draft| draft.input_edit = |input| input.replacen("\" \"", "\"  \"", 1)),
            ("a space after the semicolon", |draft| draft.input_edit = |input| input.replacen(';', "; ", 1)),
            ("a doubled parameter", |draft| draft.input_edit = |input| input + ";tag=\"aegis\""),
            ("a leading zero", |draft| draft.input_edit = |input| input.replacen("created=", "created=0", 1)),
            ("the label twice", |draft| draft.input_edit = |input| format!("{input}, {input}")),
            ("a token as component", |draft| draft.components[0] = "method".to_owned()),
            ("no inner list", |draft| draft.input_edit = |_| "aegis=\"@method\";keyid=\"k1\"".to_owned()),
            ("no padding", |draft| {
                draft.signature_edit = |signature| signature.replace('=', "").replacen("aegis", "aegis=", 1);
            }),
            ("a space in the signature", |draft| {
                draft.signature_edit = |signature| signature.replace("=:", "=: ");
            }),
            ("a parameter on the signature", |draft| draft.signature_edit = |signature| signature + ";a"),
            ("a string for a signature", |draft| draft.signature_edit = |_| "aegis=\"c2ln\"".to_owned()),
            ("a list for a signature", |draft| draft.signature_edit = |_| "aegis=(:c2ln:)".to_owned()),
            ("the signature twice", |draft| {
                draft.signature_edit = |signature| format!("{signature}, {signature}");
            }),
            ("bytes beyond ASCII", |draft| draft.signature_edit = |signature| signature + "é"),
        ],
        Err(Refusal::SignatureMalformed),
    );
}

#[test]
fn there_is_one_signature_and_its_label_is_aegis() {
    judge_all(
        &[
            ("another label on both", |draft| {
                draft.input_edit = |input| input.replacen("aegis=", "sig1=", 1);
                draft.signature_edit = |signature| signature.replacen("aegis=", "sig1=", 1);
            }),
            ("another label on the input", |draft| {
                draft.input_edit = |input| input.replacen("aegis=", "sig1=", 1);
            }),
            ("another label on the signature", |draft| {
                draft.signature_edit = |signature| signature.replacen("aegis=", "sig1=", 1);
            }),
            ("a second input", |draft| draft.input_edit = |input| format!("{input}, sig1=()")),
            ("a second signature", |draft| {
                draft.signature_edit = |signature| format!("sig1=:c2ln:, {signature}");
            }),
            ("nothing at all", |draft| draft.input_edit = |_| String::new()),
        ],
        Err(Refusal::LabelWrong),
    );
}

#[test]
fn headers_of_the_profile_are_sent_once() {
    judge_all(
        &[
            ("Signature", |draft| draft.late_headers.push(("signature", "aegis=:c2ln:".to_owned()))),
            ("Signature-Input", |draft| draft.late_headers.push(("signature-input", "sig1=()".to_owned()))),
            ("Content-Digest", |draft| draft.headers.push(("content-digest", content_digest(b"")))),
            ("Idempotency-Key", |draft| draft.headers.push(("idempotency-key", "heal-2".to_owned()))),
            ("the same again", |draft| draft.headers.push(("idempotency-key", "heal-1".to_owned()))),
        ],
        Err(Refusal::HeaderDoubled),
    );
}

#[test]
fn every_component_of_the_profile_is_covered() {
    judge_all(
        &[
            ("@method", |draft| draft.drop_component("@method")),
            ("@authority", |draft| draft.drop_component("@authority")),
            ("@path", |draft| draft.drop_component("@path")),
            ("@query", |draft| draft.drop_component("@query")),
            ("@query when there is none", |draft| {
                draft.query = None;
                draft.drop_component("@query");
            }),
            ("content-digest", |draft| draft.drop_component("content-digest")),
            ("idempotency-key although sent", |draft| draft.drop_component("idempotency-key")),
            ("everything", |draft| draft.components.clear()),
        ],
        Err(Refusal::ComponentMissing),
    );
}

#[test]
fn no_other_component_is_covered() {
    judge_all(
        &[
            ("@scheme", |draft| draft.cover("\"@scheme\"")),
            ("@target-uri", |draft| draft.cover("\"@target-uri\"")),
            ("content-type", |draft| draft.cover("\"content-type\"")),
            ("a header that is not sent", |draft| draft.cover("\"x-absent\"")),
            ("idempotency-key although not sent", |draft| draft.drop_header("idempotency-key")),
            ("capitals", |draft| draft.components[0] = "\"@Method\"".to_owned()),
        ],
        Err(Refusal::ComponentExtra),
    );
    judge_all(
        &[
            ("@method", |draft| draft.cover("\"@method\"")),
            ("idempotency-key", |draft| draft.cover("\"idempotency-key\"")),
        ],
        Err(Refusal::ComponentDoubled),
    );
    judge_all(
        &[
            ("req", |draft| draft.components[0] = "\"@method\";req".to_owned()),
            ("key", |draft| draft.components[4] = "\"content-digest\";key=\"sha-256\"".to_owned()),
            ("bs", |draft| draft.components[5] = "\"idempotency-key\";bs".to_owned()),
        ],
        Err(Refusal::ComponentParameter),
    );
}

#[test]
fn every_parameter_but_alg_is_required_and_no_other_allowed() {
    judge_all(
        &[
            ("created", |draft| draft.set_param("created")),
            ("expires", |draft| draft.set_param("expires")),
            ("nonce", |draft| draft.set_param("nonce")),
            ("keyid", |draft| draft.set_param("keyid")),
        ],
        Err(Refusal::ParameterMissing),
    );
    judge_all(
        &[
            ("a text", |draft| draft.set_param("realm=\"aegis\"")),
            ("a flag", |draft| draft.params.push("strict".to_owned())),
        ],
        Err(Refusal::ParameterExtra),
    );
    judge_all(
        &[
            ("created as text", |draft| draft.set_param(&format!("created=\"{NOW}\""))),
            ("created as a fraction", |draft| draft.set_param(&format!("created={NOW}.5"))),
            ("created as a date", |draft| draft.set_param(&format!("created=@{NOW}"))),
            ("created beyond all time", |draft| draft.set_param("created=999999999999999")),
            ("expires as a truth value", |draft| draft.set_param("expires=?0")),
            ("nonce as a number", |draft| draft.set_param("nonce=123456789012345")),
            ("nonce as bytes", |draft| draft.set_param("nonce=:MDEyMzQ1Njc4OWFiY2RlZg==:")),
            ("keyid as a token", |draft| draft.set_param("keyid=k1")),
            ("an empty keyid", |draft| draft.set_param("keyid=\"\"")),
            ("a keyid of two words", |draft| draft.set_param("keyid=\"k 1\"")),
            ("a long keyid", |draft| draft.set_param(&format!("keyid=\"{}\"", "k".repeat(129)))),
            ("tag as a token", |draft| draft.set_param("tag=aegis")),
            ("alg as a token", |draft| draft.set_param("alg=ed25519")),
        ],
        Err(Refusal::ParameterMalformed),
    );
}

#[test]
fn a_nonce_is_16_to_128_visible_characters() {
    judge_all(
        &[
            ("empty", |draft| draft.set_param("nonce=\"\"")),
            ("15 characters", |draft| draft.set_param("nonce=\"0123456789abcde\"")),
            ("129 characters", |draft| draft.set_param(&format!("nonce=\"{}\"", "n".repeat(129)))),
            ("a space", |draft| draft.set_param("nonce=\"01234567 89abcdef\"")),
        ],
        Err(Refusal::NonceMalformed),
    );
}

#[test]
fn the_tag_is_aegis() {
    judge_all(
        &[
            ("none", |draft| draft.set_param("tag")),
            ("another", |draft| draft.set_param("tag=\"example\"")),
            ("capitals", |draft| draft.set_param("tag=\"Aegis\"")),
        ],
        Err(Refusal::TagWrong),
    );
}

#[test]
fn the_message_does_not_choose_the_algorithm() {
    let (hmac, ed25519) = (hmac_keys(), ed25519_keys());
    for (keys, own, others) in [
        (&hmac, "hmac-sha256", ["ed25519", "rsa-pss-sha512", "none", "HMAC-SHA256", ""]),
        (&ed25519, "ed25519", ["hmac-sha256", "rsa-v1_5-sha256", "none", "Ed25519", ""]),
    ] {
        let with = |algorithm: &str| {
            let mut draft = Draft::new();
            draft.params.push(format!("alg=\"{algorithm}\""));
            draft.judge(keys).map(|_| ())
        };
        assert_eq!(with(own), Ok(()));
        for other in others {
            assert_eq!(with(other), Err(Refusal::AlgorithmMismatch), "{other}");
        }
    }

    // The classic confusion: a MAC made with the public key's text, which everybody knows.
    let public_pem = ReceiptKey::from_seed(&[7; 32]).public_pem();
    let confused =
        SigningKey::hmac_sha256("k1", SharedSecret::from_bytes(public_pem.as_bytes()).unwrap()).unwrap();
    let draft = Draft::new();
    assert_eq!(draft.judge(&(confused, ed25519.1)).map(|_| ()), Err(Refusal::SignatureWrong));
}

#[test]
fn the_body_is_the_one_that_was_digested() {
    judge_all(
        &[
            ("another body", |draft| draft.body.push(b' ')),
            ("no body", |draft| draft.body.clear()),
            ("another sha-512", |draft| {
                let digest = format!("{}, sha-512=:{}:", content_digest(&draft.body), sha512(b"other"));
                draft.set_header("content-digest", digest);
            }),
            ("half a sha-256", |draft| draft.set_header("content-digest", "sha-256=:MDEyMzQ1Njc=:")),
        ],
        Err(Refusal::DigestMismatch),
    );
    judge_all(
        &[
            ("none", |draft| draft.drop_header("content-digest")),
            ("only sha-512", |draft| {
                draft.set_header("content-digest", format!("sha-512=:{}:", sha512(&draft.body)));
            }),
            ("only unknown ones", |draft| {
                draft.set_header("content-digest", "md5=:ZBHkEgfDHfZLFbqYkj2EBA==:");
            }),
        ],
        Err(Refusal::DigestMissing),
    );
    judge_all(
        &[
            ("empty", |draft| draft.set_header("content-digest", "")),
            ("no structured field", |draft| draft.set_header("content-digest", "sha-256=abc=")),
            ("a token", |draft| draft.set_header("content-digest", "sha-256=abc")),
            ("sha-256 twice", |draft| {
                let digest = content_digest(&draft.body);
                draft.set_header("content-digest", format!("{digest}, {digest}"));
            }),
            ("no padding", |draft| {
                let digest =
                    content_digest(&draft.body).replace("=:", ":").replacen("sha-256:", "sha-256=:", 1);
                draft.set_header("content-digest", digest);
            }),
            ("a parameter", |draft| {
                draft.set_header("content-digest", content_digest(&draft.body) + ";a");
            }),
        ],
        Err(Refusal::DigestMalformed),
    );
}

#[test]
fn the_request_is_meant_for_us() {
    judge_all(
        &[
            ("another host", |draft| draft.authority = "evil.example:8443".to_owned()),
            ("another port", |draft| draft.authority = "aegis.example:8444".to_owned()),
            ("no port", |draft| draft.authority = "aegis.example".to_owned()),
            ("a longer name", |draft| draft.authority = "aegis.example:84430".to_owned()),
            ("a user", |draft| draft.authority = "root@aegis.example:8443".to_owned()),
            ("no names configured", |draft| draft.authorities.clear()),
        ],
        Err(Refusal::AuthorityMismatch),
    );
}

#[test]
fn requests_that_would_not_fit_on_their_lines_are_malformed() {
    judge_all(
        &[
            ("no authority", |draft| draft.authority = String::new()),
            ("a line break in the authority", |draft| draft.authority = "a\n\"@path\": /".to_owned()),
            ("no method", |draft| draft.method = String::new()),
            ("a space in the method", |draft| draft.method = "POST /".to_owned()),
            ("no path", |draft| draft.path = String::new()),
            ("a relative path", |draft| draft.path = "api".to_owned()),
            ("an asterisk", |draft| draft.path = "*".to_owned()),
            ("a query in the path", |draft| draft.path = "/api?wait=5".to_owned()),
            ("a fragment in the path", |draft| draft.path = "/api#wait".to_owned()),
            ("a line break in the path", |draft| draft.path = "/api\n".to_owned()),
            ("letters beyond ASCII in the path", |draft| draft.path = "/é".to_owned()),
            ("a space in the query", |draft| draft.query = Some("a b".to_owned())),
            ("a fragment in the query", |draft| draft.query = Some("a#b".to_owned())),
            ("letters beyond ASCII in Idempotency-Key", |draft| draft.set_header("idempotency-key", "é")),
        ],
        Err(Refusal::RequestMalformed),
    );
}

#[test]
fn a_signature_lives_from_its_creation_to_its_expiry() {
    judge_all(
        &[
            ("6 s ahead", |draft| draft.set_times(NOW + 6, NOW + 60)),
            ("an hour ahead", |draft| draft.set_times(NOW + 3600, NOW + 3660)),
        ],
        Err(Refusal::CreatedInFuture),
    );
    judge_all(
        &[
            ("a moment ago", |draft| {
                draft.set_times(NOW - 60, NOW);
                draft.now = Timestamp::new(NOW, 1).unwrap();
            }),
            ("a second ago", |draft| draft.set_times(NOW - 60, NOW - 1)),
            ("in another era", |draft| draft.set_times(-60, -1)),
        ],
        Err(Refusal::Expired),
    );
    judge_all(
        &[
            ("301 s", |draft| draft.set_times(NOW, NOW + 301)),
            ("for ever", |draft| draft.set_times(NOW, 99_999_999_999)),
        ],
        Err(Refusal::LifetimeTooLong),
    );
    judge_all(
        &[
            ("no life", |draft| draft.set_times(NOW, NOW)),
            ("backwards", |draft| draft.set_times(NOW, NOW - 1)),
        ],
        Err(Refusal::LifetimeReversed),
    );
}

#[test]
fn only_the_keys_holder_learns_about_clocks() {
    let mut draft = Draft::new();
    draft.set_times(NOW - 120, NOW - 60);
    let stranger = SigningKey::hmac_sha256("k1", SharedSecret::from_bytes(&[8; 32]).unwrap()).unwrap();
    let (own, verifying) = hmac_keys();
    assert_eq!(draft.judge(&(stranger, verifying.clone())).map(|_| ()), Err(Refusal::SignatureWrong));
    assert_eq!(draft.judge(&(own, verifying)).map(|_| ()), Err(Refusal::Expired));
}

#[test]
fn a_refusal_can_be_filed_under_the_key_id_it_names() {
    let (signing, verifying) = hmac_keys();
    let mut headers = HeaderMap::new();
    let mut request = Request {
        method: "GET",
        authority: "aegis.example",
        path: "/api/v1/whoami",
        query: None,
        headers: &HeaderMap::new(),
        body: b"",
    };
    let signed = sign(&request, &signing, at(NOW), at(NOW + 60), NONCE).unwrap();
    headers.insert("signature-input", signed.signature_input.parse().unwrap());
    headers.insert("signature", signed.signature.parse().unwrap());
    request.headers = &headers;
    let presented = parse(&request).unwrap();
    assert_eq!(presented.key_id(), "k1");
    assert_eq!(presented.signature_base(), Err(Refusal::DigestMissing));
    let authorities = ["aegis.example".to_owned()];
    assert_eq!(presented.verify(&verifying, at(NOW), &authorities), Err(Refusal::DigestMissing));
}

#[test]
fn verifying_tells_what_the_caller_has_to_remember() {
    let verified = Draft::new().judge(&hmac_keys()).unwrap();
    let expected = Verified {
        key_id: "k1".to_owned(),
        nonce: NONCE.to_owned(),
        created: at(NOW),
        expires: at(NOW + 60),
    };
    assert_eq!(verified, expected);
}

#[test]
fn what_no_verifier_would_accept_is_not_signed() {
    let (signing, _) = hmac_keys();
    let headers = HeaderMap::new();
    let request =
        Request { method: "GET", authority: "a", path: "/", query: None, headers: &headers, body: b"" };
    let signed = |request: &Request<'_>, nonce: &str| sign(request, &signing, at(NOW), at(NOW + 1), nonce);
    assert!(signed(&request, NONCE).is_ok());
    assert_eq!(signed(&request, "short"), Err(SignError::Refused(Refusal::NonceMalformed)));
    let relative = Request { path: "x", ..request };
    assert_eq!(signed(&relative, NONCE), Err(SignError::Refused(Refusal::RequestMalformed)));
}

#[test]
fn refusals_have_distinct_codes_and_only_times_tell_the_time() {
    let mut codes: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Refusal::ALL.len());
    let about_time: Vec<_> =
        Refusal::ALL.iter().filter(|refusal| refusal.is_time()).map(|r| r.code()).collect();
    assert_eq!(about_time, ["lifetime-too-long", "lifetime-reversed", "created-in-future", "expired"]);
}
