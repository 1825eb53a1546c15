//! How automation signs its requests: one strict profile of HTTP Message Signatures (RFC 9421).
//!
//! ```text
//! Content-Digest:  sha-256=:…:
//! Signature-Input: aegis=("@method" "@authority" "@path" "@query" "content-digest" "idempotency-key");
//!                  created=…;expires=…;nonce="…";keyid="…";tag="aegis"
//! Signature:       aegis=:…:
//! ```
//!
//! One signature, labelled `aegis`. It covers exactly those components, in any order, `idempotency-key` if
//! and only if that header is sent. The parameters stand in any order; `alg` may be added and must then be
//! the key's own algorithm, because the message never chooses. The three headers appear once each, in the
//! canonical spelling of structured fields (RFC 9651), so each signed request has one text.
//!
//! Verification has two steps because the key is looked up in between: [`parse`] reads the key id, then
//! [`Presented::verify`] judges everything. Replayed nonces are the caller's business.

mod base;
mod content_digest;
mod key;
mod presented;
mod refusal;
mod sign;

use http::HeaderMap;
use http::header::HeaderName;
use jiff::SignedDuration;

pub use self::base::{normalise_authority, signature_base};
pub use self::content_digest::content_digest;
pub use self::key::{Algorithm, SigningKey, VerifyingKey};
pub use self::presented::{Presented, Verified, parse};
pub use self::refusal::Refusal;
pub use self::sign::{SignError, SignedHeaders, sign};

/// The label of the one signature, and the value of its `tag`.
pub const LABEL: &str = "aegis";

/// How far `created` may lie ahead of the verifier's clock: ordinary clock error between machines.
pub const CREATED_AHEAD_MAX: SignedDuration = SignedDuration::from_secs(5);

/// How long after `created` a signature may expire: a captured request is worth little for long.
pub const LIFETIME_MAX: SignedDuration = SignedDuration::from_secs(300);

/// Fewest characters of a nonce: 16 of them can hold 96 random bits.
pub const NONCE_LENGTH_MIN: usize = 16;

/// Most characters of a nonce: it is stored for every request.
pub const NONCE_LENGTH_MAX: usize = 128;

/// The header that carries the body's digest (RFC 9530).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The header that names the covered components and parameters.
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The header that carries the signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The header that makes a retry the same request; covered whenever it is sent.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request as its signature sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Host and port as the caller named them: the `Host` header, or `:authority` in HTTP/2.
    pub authority: &'a str,
    /// The path as sent, percent-encoding untouched.
    pub path: &'a str,
    /// The query as sent, without its question mark. None and empty are the same here.
    pub query: Option<&'a str>,
    /// All headers; only the four of this profile are looked at.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}
