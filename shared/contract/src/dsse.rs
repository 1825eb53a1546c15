//! Signed envelopes for orders and receipts: DSSE v1, exactly one signature, strict base64.
//!
//! Orders carry HMAC-SHA256 under the cluster's order key ([`OrderKey`], [`OrderKeys`]), receipts Ed25519
//! under the executor's receipt key ([`ReceiptKey`], [`ReceiptVerifier`]). The signature covers the payload's
//! type and its bytes as they were received, and is checked before anything parses those bytes. What stands
//! in the payload is not this module's business.

mod order_key;
mod receipt_key;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::order_key::{OrderKey, OrderKeys};
pub use self::receipt_key::{ReceiptKey, ReceiptVerifier};
use crate::canonical;
use crate::strict::{self, Limits};

/// The payload type of an order.
pub const ORDER_PAYLOAD_TYPE: &str = "application/vnd.aegis.order+json";
/// The payload type of a receipt.
pub const RECEIPT_PAYLOAD_TYPE: &str = "application/vnd.aegis.receipt+json";

/// A DSSE envelope in its JSON form. Holding one proves nothing: open it with the keys of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// What the payload is; covered by the signature.
    pub payload_type: String,
    /// The payload's bytes in standard base64.
    pub payload: String,
    /// Exactly one signature.
    pub signatures: [EnvelopeSignature; 1],
}

/// The one signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// Which key is claimed to have signed. It narrows the choice among the verifier's own keys, no more.
    pub keyid: String,
    /// The signature in standard base64.
    pub sig: String,
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Not an envelope of the expected payload type in its canonical form.
    #[error("the envelope is malformed")]
    Malformed,
    /// None of the verifier's keys has the envelope's key id.
    #[error("the envelope names a key that is not known here")]
    KeyUnknown,
    /// The signature is not of these bytes by that key.
    #[error("the envelope's signature is wrong")]
    SignatureInvalid,
}

impl EnvelopeError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "envelope-malformed",
            Self::KeyUnknown => "key-unknown",
            Self::SignatureInvalid => "signature-invalid",
        }
    }
}

impl Envelope {
    /// Reads an envelope and refuses every spelling but the canonical one, so that equal envelopes are equal
    /// bytes and no byte of one can change unnoticed.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self = strict::from_slice(bytes, Limits::WIRE).map_err(|_| EnvelopeError::Malformed)?;
        if envelope.to_bytes() != bytes {
            return Err(EnvelopeError::Malformed);
        }
        Ok(envelope)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self).expect("an envelope holds strings only")
    }

    /// The payload's bytes, unproven. For showing and filing; acting needs `open`.
    pub fn unverified_payload(&self) -> Result<Vec<u8>, EnvelopeError> {
        strict::base64_decode(&self.payload).map_err(|_| EnvelopeError::Malformed)
    }

    fn seal(payload_type: &str, payload: &[u8], keyid: &str, signature: &[u8]) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload: strict::base64_encode(payload),
            signatures: [EnvelopeSignature {
                keyid: keyid.to_owned(),
                sig: strict::base64_encode(signature),
            }],
        }
    }

    /// Takes the envelope apart for verification: payload, and what was signed with which signature.
    fn claim(&self, payload_type: &str) -> Result<Claim<'_>, EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::Malformed);
        }
        let [EnvelopeSignature { keyid, sig }] = &self.signatures;
        let payload = self.unverified_payload()?;
        let signature = strict::base64_decode(sig).map_err(|_| EnvelopeError::Malformed)?;
        Ok(Claim { key_id: keyid, signed: pae(payload_type, &payload), payload, signature })
    }
}

struct Claim<'e> {
    key_id: &'e str,
    signed: Vec<u8>,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

/// DSSE's pre-authentication encoding: what is signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
