//! What stands beside the log: decisions, orders, receipts and what people wrote. An entry names each by its digest,
//! or by its keyed hash.

use std::collections::HashMap;

use aegis_contract::digest::Digest;
use aegis_contract::dsse::Envelope;
use aegis_contract::ids::{ActionId, DecisionId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Step;
use crate::audit::Kind;
use crate::error::Error;
use crate::seal::Keyring;
use crate::service::Services;
use crate::store::stories;

/// What an entry names and was found, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// It is what the entry names.
    AsRecorded(Value),
    /// A text that was erased, as texts from people may be.
    Erased,
    /// There is nothing that is what the entry names: it is gone, or was changed.
    Missing,
}

/// Finds for each step what its entry names.
pub(super) async fn look(
    conn: &mut PgConnection,
    services: &Services,
    id: ActionId,
    steps: &mut [Step],
) -> Result<(), Error> {
    let decisions: Vec<DecisionId> = steps.iter().filter_map(|step| member(step, "decisionId")).collect();
    let documents = by_digest(stories::documents(conn, id, &decisions).await?);
    let text_ids: Vec<Uuid> = steps.iter().filter_map(text_of).filter_map(text_id).collect();
    let texts = stories::texts(conn, &text_ids).await?;
    for step in steps {
        step.beside = match text_of(step) {
            Some(text) => Some(read_text(&services.keyring, text, &texts)),
            None => digest_of(step).map(|digest| read_document(step, documents.get(&digest))),
        };
    }
    Ok(())
}

/// Documents by what entries name them by: the digest of all their bytes or, of a signed one, of what was signed.
fn by_digest(documents: Vec<Vec<u8>>) -> HashMap<Digest, Vec<u8>> {
    let mut found = HashMap::new();
    for document in documents {
        if let Ok(envelope) = Envelope::from_slice(&document)
            && let Ok(payload) = envelope.unverified_payload()
        {
            found.insert(Digest::of(&payload), document.clone());
        }
        found.insert(Digest::of(&document), document);
    }
    found
}

fn member<T: serde::de::DeserializeOwned>(step: &Step, name: &str) -> Option<T> {
    serde_json::from_value(step.entry.data.get(name)?.clone()).ok()
}

fn digest_of(step: &Step) -> Option<Digest> {
    let name = match Kind::parse(&step.entry.kind)? {
        Kind::DecisionMade | Kind::ApprovalRequested => "digest",
        Kind::OrderSigned => "orderDigest",
        Kind::ReceiptReceived => "receiptDigest",
        _ => return None,
    };
    member(step, name)
}

fn read_document(step: &Step, found: Option<&Vec<u8>>) -> Beside {
    let content = found.and_then(|found| match Kind::parse(&step.entry.kind)? {
        Kind::OrderSigned | Kind::ReceiptReceived => signed(found),
        _ => serde_json::from_slice(found).ok().map(without_question),
    });
    content.map_or(Beside::Missing, Beside::AsRecorded)
}

/// What was signed, and by which key. An order's intent is an entry of the story.
fn signed(envelope: &[u8]) -> Option<Value> {
    let envelope = Envelope::from_slice(envelope).ok()?;
    let mut payload: Value = serde_json::from_slice(&envelope.unverified_payload().ok()?).ok()?;
    if let Some(instruction) = payload.get_mut("instruction").and_then(Value::as_object_mut) {
        instruction.remove("intent");
    }
    let [signature] = &envelope.signatures;
    Some(json!({ "keyId": signature.keyid, "signed": payload }))
}

/// A decision without what it was asked and all policies it was taken by: the request is an entry of the story.
fn without_question(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.remove("request");
        members.remove("policySet");
    }
    document
}

/// How an entry names a text from a person.
fn text_of(step: &Step) -> Option<&Value> {
    let name = match Kind::parse(&step.entry.kind)? {
        Kind::ActionRequested | Kind::ApprovalDenied => "reason",
        Kind::ReviewDone => "comment",
        _ => return None,
    };
    step.entry.data.get(name).filter(|text| text.is_object())
}

fn text_id(text: &Value) -> Option<Uuid> {
    text.get("textId")?.as_str()?.parse().ok()
}

fn read_text(keyring: &Keyring, named: &Value, texts: &HashMap<Uuid, String>) -> Beside {
    let text = text_id(named).and_then(|id| texts.get(&id));
    match text {
        Some(text) if named["hmac"] == keyring.text_hash(text) => Beside::AsRecorded(json!({ "text": text })),
        Some(text) if !text.is_empty() => Beside::Missing,
        Some(_) | None => Beside::Erased,
    }
}
