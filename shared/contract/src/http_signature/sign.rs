//! Signing a request.

use jiff::Timestamp;
use sfv::{DictSerializer, Integer, KeyRef, StringRef};
use thiserror::Error;

use super::base::{ComponentValues, signature_base};
use super::presented::check_nonce;
use super::{LABEL, Refusal, Request, SigningKey, content_digest};
use crate::strict::base64_encode;

/// The headers to add to a request, and the text that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeaders {
    /// The value of `Content-Digest`.
    pub content_digest: String,
    /// The value of `Signature-Input`.
    pub signature_input: String,
    /// The value of `Signature`.
    pub signature: String,
    /// The signature base. Not sent; for showing what was signed.
    pub signature_base: String,
}

/// Why a request was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignError {
    /// The verifier would refuse it for this reason whatever the signature.
    #[error("the request cannot be signed: {0}")]
    Refused(#[from] Refusal),
    /// Times before or beyond what fits into the header.
    #[error("created or expires is out of range")]
    TimeOutOfRange,
}

/// Signs a request; whole seconds of `created` and `expires` count.
///
/// Of the request's headers only `Idempotency-Key` is read, which has to be set before signing. Refuses what
/// no verifier would accept by its form; whether the times suit the verifier is its own to say.
pub fn sign(
    request: &Request<'_>,
    key: &SigningKey,
    created: Timestamp,
    expires: Timestamp,
    nonce: &str,
) -> Result<SignedHeaders, SignError> {
    check_nonce(nonce)?;
    let values = ComponentValues::of(request, content_digest(request.body))?;
    let lines: Vec<_> = values
        .components()
        .map(|component| (component.name(), values.value(component).expect("listed, hence present")))
        .collect();
    let mut serializer = DictSerializer::new();
    let mut list = serializer.inner_list(name(LABEL));
    for (component, _) in &lines {
        let _ = list.bare_item(text(component));
    }
    let _ = list
        .finish()
        .parameter(name("created"), seconds(created)?)
        .parameter(name("expires"), seconds(expires)?)
        .parameter(name("nonce"), text(nonce))
        .parameter(name("keyid"), text(key.id()))
        .parameter(name("tag"), text(LABEL));
    let signature_input = serializer.finish().expect("one member was written");

    let base = signature_base(lines, &signature_input[LABEL.len() + 1..]);
    let signature = format!("{LABEL}=:{}:", base64_encode(&key.sign_base(&base)));
    Ok(SignedHeaders {
        content_digest: values.content_digest,
        signature_input,
        signature,
        signature_base: base,
    })
}

fn seconds(time: Timestamp) -> Result<Integer, SignError> {
    Integer::try_from(time.as_second()).map_err(|_| SignError::TimeOutOfRange)
}

fn name(text: &str) -> &KeyRef {
    KeyRef::from_str(text).expect("names of the profile are keys")
}

fn text(text: &str) -> &StringRef {
    StringRef::from_str(text).expect("nonces, key ids and names of the profile are visible ASCII")
}
