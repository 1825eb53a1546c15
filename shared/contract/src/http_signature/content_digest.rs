//! The body's digest as a header (RFC 9530).

use sfv::{BareItem, DictSerializer, Dictionary, Item, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};

use super::Refusal;

/// The value of `Content-Digest` for a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", crate::strict::base64_encode(&Sha256::digest(body)))
}

/// Accepts a header value that has sha-256, and in which sha-256 and sha-512, if present, are of `body`.
///
/// Algorithms that RFC 9530 calls insecure or that came later are covered by the signature but not judged.
pub(super) fn check(value: &str, body: &[u8]) -> Result<(), Refusal> {
    let digests: Dictionary = Parser::new(value).parse().map_err(|_| Refusal::DigestMalformed)?;
    if !is_canonical(&digests, value) {
        return Err(Refusal::DigestMalformed);
    }
    let mut is_sha256_present = false;
    for (algorithm, digest) in &digests {
        let expected = match algorithm.as_str() {
            "sha-256" => {
                is_sha256_present = true;
                Sha256::digest(body).to_vec()
            }
            "sha-512" => Sha512::digest(body).to_vec(),
            _ => continue,
        };
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(digest), params }) = digest else {
            return Err(Refusal::DigestMalformed);
        };
        if !params.is_empty() {
            return Err(Refusal::DigestMalformed);
        }
        if *digest != expected {
            return Err(Refusal::DigestMismatch);
        }
    }
    if is_sha256_present { Ok(()) } else { Err(Refusal::DigestMissing) }
}

/// Whether `value` is the canonical spelling of `dictionary`. The parser keeps the last of doubled keys and
/// tolerates spaces and loose base64; a canonical spelling has none of them.
pub(super) fn is_canonical(dictionary: &Dictionary, value: &str) -> bool {
    let mut serializer = DictSerializer::new();
    serializer.members(dictionary);
    serializer.finish().is_some_and(|canonical| canonical == value)
}
