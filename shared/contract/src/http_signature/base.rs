//! The signature base: the text that is signed, one line for each covered component.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::{CONTENT_DIGEST, IDEMPOTENCY_KEY, Refusal, Request};

/// One covered component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    Method,
    Authority,
    Path,
    Query,
    ContentDigest,
    IdempotencyKey,
}

impl Component {
    /// Every component the profile knows, in the order in which we sign them.
    pub(super) const ALL: [Self; 6] =
        [Self::Method, Self::Authority, Self::Path, Self::Query, Self::ContentDigest, Self::IdempotencyKey];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Method => "@method",
            Self::Authority => "@authority",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::ContentDigest => "content-digest",
            Self::IdempotencyKey => "idempotency-key",
        }
    }
}

/// The values of a request's components, checked to be plain text without line breaks.
#[derive(Debug, Clone)]
pub(super) struct ComponentValues {
    method: String,
    pub(super) authority: String,
    path: String,
    query: String,
    pub(super) content_digest: String,
    idempotency_key: Option<String>,
}

impl ComponentValues {
    /// Reads them from a request, with `content_digest` in place of a header that may not be there yet.
    pub(super) fn of(request: &Request<'_>, content_digest: String) -> Result<Self, Refusal> {
        let query = request.query.unwrap_or_default();
        // A stray `?` or `#` would move the border between path and query.
        let is_plain = [request.method, request.authority, request.path].into_iter().all(is_visible)
            && request.path.starts_with('/')
            && !request.path.contains(['?', '#'])
            && (query.is_empty() || is_visible(query))
            && !query.contains('#');
        if !is_plain {
            return Err(Refusal::RequestMalformed);
        }
        let idempotency_key = match single_header(request.headers, &IDEMPOTENCY_KEY)? {
            None => None,
            Some(value) => Some(plain_value(value).ok_or(Refusal::RequestMalformed)?),
        };
        Ok(Self {
            method: request.method.to_owned(),
            authority: normalise_authority(request.authority),
            path: request.path.to_owned(),
            query: format!("?{query}"),
            content_digest,
            idempotency_key: idempotency_key.map(str::to_owned),
        })
    }

    /// Reads them from a request that already has its Content-Digest.
    pub(super) fn of_signed(request: &Request<'_>) -> Result<Self, Refusal> {
        let value = single_header(request.headers, &CONTENT_DIGEST)?.ok_or(Refusal::DigestMissing)?;
        let value = plain_value(value).ok_or(Refusal::DigestMalformed)?;
        Self::of(request, value.to_owned())
    }

    /// The components that a signature of this request covers.
    pub(super) fn components(&self) -> impl Iterator<Item = Component> {
        Component::ALL.into_iter().filter(|component| self.value(*component).is_some())
    }

    /// A component's value; absent only where the request does not have the component.
    pub(super) fn value(&self, component: Component) -> Option<&str> {
        match component {
            Component::Method => Some(&self.method),
            Component::Authority => Some(&self.authority),
            Component::Path => Some(&self.path),
            Component::Query => Some(&self.query),
            Component::ContentDigest => Some(&self.content_digest),
            Component::IdempotencyKey => self.idempotency_key.as_deref(),
        }
    }
}

/// Puts a signature base together (RFC 9421 section 2.5).
///
/// `components` are names and values in the order in which they are covered; `signature_params` is the inner
/// list with its parameters exactly as Signature-Input has it.
pub fn signature_base<'a>(
    components: impl IntoIterator<Item = (&'a str, &'a str)>,
    signature_params: &str,
) -> String {
    let mut base = String::new();
    for (name, value) in components {
        writeln!(base, "\"{name}\": {value}").expect("writing to a string cannot fail");
    }
    base + "\"@signature-params\": " + signature_params
}

/// An authority as it is signed and compared: lower case, without a default port.
///
/// Behind a proxy the scheme is not known, so 80 and 443 both count as default; nobody offers `https` on 80.
pub fn normalise_authority(authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    match authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")) {
        // In `::80` and the like the colon belongs to an address without brackets, which is no authority.
        Some(host) if !host.is_empty() && !host.ends_with(':') => host.to_owned(),
        _ => authority,
    }
}

/// The one value of a header, or none.
pub(super) fn single_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Refusal::HeaderDoubled) } else { Ok(value) }
}

/// A header's value without surrounding white space, if it is visible ASCII, spaces and tabs.
pub(super) fn plain_value(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(|text| text.trim_matches([' ', '\t']))
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
