//! What every answer tells a browser that has come by it: nothing in it is a page, a script, or for other sites
//! (OWASP ASVS 5.0, chapter 3.4). Other sites are never named (CORS), so that no browser lets them read an answer.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields of every answer, unless its route says otherwise.
pub(super) const FIELDS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // What is answered is for the caller alone, and true now.
    (CACHE_CONTROL, "no-store"),
];
/// RFC 6797: a browser that came by TLS once comes by nothing else for a year, here and below.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Adds the fields to an answer.
pub(super) fn add(headers: &mut HeaderMap, is_tls: bool) {
    for (name, value) in FIELDS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
