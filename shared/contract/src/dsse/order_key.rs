//! Order keys: one secret per cluster, two live ones while it is rotated.

use super::{Envelope, EnvelopeError, ORDER_PAYLOAD_TYPE, pae};
use crate::key::{KeyError, SharedSecret, check_key_id};

/// A key that seals orders for one cluster.
#[derive(Debug, Clone)]
pub struct OrderKey {
    id: String,
    secret: SharedSecret,
}

impl OrderKey {
    /// A key from its id and secret.
    pub fn new(id: impl Into<String>, secret: SharedSecret) -> Result<Self, KeyError> {
        let id = id.into();
        check_key_id(&id)?;
        Ok(Self { id, secret })
    }

    /// The key's id, as envelopes name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals an order's bytes; the answer is the canonical envelope.
    pub fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let tag = self.secret.authenticate(&pae(ORDER_PAYLOAD_TYPE, payload));
        Envelope::seal(ORDER_PAYLOAD_TYPE, payload, &self.id, &tag).to_bytes()
    }
}

/// The one or two order keys an executor accepts.
#[derive(Debug, Clone)]
pub struct OrderKeys {
    current: OrderKey,
    previous: Option<OrderKey>,
}

impl OrderKeys {
    /// The accepted keys. Two of them differ in id, so that an envelope names one, and in secret, so that a
    /// rotation is one.
    pub fn new(current: OrderKey, previous: Option<OrderKey>) -> Result<Self, KeyError> {
        if let Some(previous) = &previous
            && (previous.id == current.id || previous.secret.equals(&current.secret))
        {
            return Err(KeyError::NotDistinct);
        }
        Ok(Self { current, previous })
    }

    /// Opens an envelope's bytes and answers the order's bytes, which nothing has parsed yet.
    pub fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        self.open_envelope(&Envelope::from_slice(envelope)?)
    }

    /// Opens an envelope that stood inside another document.
    pub fn open_envelope(&self, envelope: &Envelope) -> Result<Vec<u8>, EnvelopeError> {
        let claim = envelope.claim(ORDER_PAYLOAD_TYPE)?;
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == claim.key_id)
            .ok_or(EnvelopeError::KeyUnknown)?;
        if !key.secret.accepts(&claim.signed, &claim.signature) {
            return Err(EnvelopeError::SignatureInvalid);
        }
        Ok(claim.payload)
    }
}
