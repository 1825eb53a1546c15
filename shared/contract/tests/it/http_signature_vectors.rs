//! HTTP Message Signatures against RFC 9421's own examples.

use aegis_contract::http_signature::{
    Request, SigningKey, VerifyingKey, content_digest, normalise_authority, sign, signature_base,
};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict::base64_encode;
use http::HeaderMap;

/// RFC 9421 appendix B.1.5: test-shared-secret.
const SHARED_SECRET: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

/// RFC 9421 appendix B.1.4: test-key-ed25519.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n\
    -----END PRIVATE KEY-----\n";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n\
    -----END PUBLIC KEY-----\n";

#[test]
fn rfc_9421_appendix_b_2_5_base_and_hmac_are_as_printed_there() {
    let base = signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@authority", &normalise_authority("Example.COM:443")),
            ("content-type", "application/json"),
        ],
        r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    );
    let printed = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
        \"@authority\": example.com\n\
        \"content-type\": application/json\n\
        \"@signature-params\": (\"date\" \"@authority\" \"content-type\")\
        ;created=1618884473;keyid=\"test-shared-secret\"";
    assert_eq!(base, printed);

    let secret = SharedSecret::from_base64(SHARED_SECRET).unwrap();
    let signature = SigningKey::hmac_sha256("test-shared-secret", secret.clone()).unwrap().sign_base(&base);
    assert_eq!(base64_encode(&signature), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
    assert!(VerifyingKey::hmac_sha256(secret).accepts(&base, &signature));
}

#[test]
fn rfc_9421_appendix_b_2_6_signature_is_as_printed_there() {
    let base = signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    );
    let signature =
        SigningKey::ed25519_pkcs8_pem("test-key-ed25519", ED25519_PRIVATE).unwrap().sign_base(&base);
    let printed = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
    assert_eq!(base64_encode(&signature), printed);
    assert!(VerifyingKey::ed25519_public_pem(ED25519_PUBLIC).unwrap().accepts(&base, &signature));
}

/// RFC 9530 appendix B.1 and, for an empty body, the digest of nothing.
#[test]
fn content_digests_are_as_rfc_9530_prints_them() {
    let printed = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    assert_eq!(content_digest(b"{\"hello\": \"world\"}\n"), printed);
    assert_eq!(content_digest(b""), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
}

/// What a newcomer has to reproduce with a shell.
#[test]
fn a_request_is_signed_over_exactly_these_lines() {
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", "heal-1".parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let request = Request {
        method: "POST",
        authority: "Aegis.example:443",
        path: "/api/v1/actions",
        query: Some("wait=5"),
        headers: &headers,
        body: b"{\"hello\": \"world\"}\n",
    };
    let key = SigningKey::hmac_sha256("k1", SharedSecret::from_base64(SHARED_SECRET).unwrap()).unwrap();
    let (created, expires) =
        ("2026-11-20T12:00:00Z".parse().unwrap(), "2026-11-20T12:01:00Z".parse().unwrap());
    let signed = sign(&request, &key, created, expires, "0123456789abcdef").unwrap();
    let input = "aegis=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"idempotency-key\")\
        ;created=1795176000;expires=1795176060;nonce=\"0123456789abcdef\";keyid=\"k1\";tag=\"aegis\"";
    assert_eq!(signed.signature_input, input);
    let base = format!(
        "\"@method\": POST\n\
        \"@authority\": aegis.example\n\
        \"@path\": /api/v1/actions\n\
        \"@query\": ?wait=5\n\
        \"content-digest\": sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:\n\
        \"idempotency-key\": heal-1\n\
        \"@signature-params\": {}",
        &input["aegis=".len()..]
    );
    assert_eq!(signed.signature_base, base);
    assert_eq!(signed.signature, format!("aegis=:{}:", base64_encode(&key.sign_base(&base))));
}
