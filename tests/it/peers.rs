//! Independent programs that must understand us: here a Python library that signs requests.

use aegis_contract::http_signature::{self, Refusal, VerifyingKey};
use aegis_contract::key::SharedSecret;
use aegis_tests::paths::checkout;
use aegis_tests::process::Launch;
use aegis_tests::python::python_with;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

// Key pair of RFC 9421 appendix B.1.4.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";

/// The headers with which PyPI's `http-message-signatures` signs a request whose body comes on standard input.
async fn signed_in_python(secret: &str, args: &[&str], body: &str) -> Result<HeaderMap> {
    let peer = checkout().join("tests/peers/http_message_signatures");
    let folder = tempfile::tempdir()?;
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, secret)?;
    let sign = Launch::new(python_with(&peer.join("requirements.txt")).await?)
        .arg(peer.join("sign.py"))
        .args(args)
        .args(["--body-file", "-", "--secret-file"])
        .arg(&secret_file);
    let output = sign.output_with(body).await?;
    let headers: Map<String, Value> = serde_json::from_str(&sign.expect_success(&output)?)?;
    let read = |(name, value): (&String, &Value)| {
        let value = value.as_str().context("a header's value")?;
        Ok((HeaderName::try_from(name)?, HeaderValue::try_from(value)?))
    };
    headers.iter().map(read).collect()
}

#[tokio::test]
async fn a_python_library_signs_for_both_kinds_of_keys_as_the_profile_wants() -> Result<()> {
    let shared = VerifyingKey::hmac_sha256(SharedSecret::from_base64(SECRET)?);
    let pair = VerifyingKey::ed25519_public_pem(ED25519_PUBLIC)?;
    let (url, body) = ("https://Aegis.example/api/v1/actions?wait=5&x=a%20b", r#"{"type":"restart"}"#);
    for (algorithm, secret, key) in [("hmac-sha256", SECRET, &shared), ("ed25519", ED25519_PRIVATE, &pair)] {
        for extra in [&[][..], &["--without-alg"], &["--idempotency-key", "once"]] {
            let args = ["--method", "POST", "--url", url, "--key-id", "peer", "--algorithm", algorithm];
            let headers = signed_in_python(secret, &[&args, extra].concat(), body).await?;
            let request = |body| http_signature::Request {
                method: "POST",
                authority: "aegis.example",
                path: "/api/v1/actions",
                query: Some("wait=5&x=a%20b"),
                headers: &headers,
                body,
            };
            let verify = |body| {
                let now = headers_created(&headers);
                http_signature::parse(&request(body))?.verify(key, now, &["aegis.example".to_owned()])
            };
            assert_eq!(verify(body.as_bytes())?.key_id, "peer", "{algorithm} {extra:?}");
            assert_eq!(verify(b"{}"), Err(Refusal::DigestMismatch), "{algorithm} {extra:?}");
        }
    }
    Ok(())
}

/// When the peer says it signed: this test is about its signatures, not about its clock.
fn headers_created(headers: &HeaderMap) -> Timestamp {
    let input = headers["signature-input"].to_str().expect("structured fields are ASCII");
    let created = input.split(';').find_map(|parameter| parameter.strip_prefix("created="));
    let seconds = created.and_then(|seconds| seconds.parse().ok()).expect("created is in seconds");
    Timestamp::from_second(seconds).expect("a time of our days")
}

#[tokio::test]
async fn a_request_signed_by_a_python_library_is_accepted_by_the_control_plane() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let kubernetes = stack.kubernetes();
    kubernetes.apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    kubernetes.wait_rolled_out(stack.namespace(), "deployment/web").await?;

    let client = stack.registered_client();
    let url = format!("{}/api/v1/actions?wait=60", stack.control_plane(0).url());
    let body = stack.action("restart", "Deployment", "web", &json!({})).to_string();
    let args = ["--method", "POST", "--url", &url, "--key-id", &client.key_id, "--idempotency-key", "peer"];
    let headers = signed_in_python(&client.secret, &args, &body).await?;

    let http = reqwest::Client::builder().no_proxy().build()?;
    let request = http.post(&url).headers(headers).header("content-type", "application/json").body(body);
    let answer = request.send().await?;
    let (status, action) = (answer.status(), answer.json::<Value>().await?);
    assert_eq!(status, 202, "{action}");
    assert_eq!((&action["state"], &action["requestedBy"]), (&json!("succeeded"), &json!(client.principal)));
    Ok(())
}
