//! Whether the entries of a whole log fit together: what hashes cannot tell, and the entries themselves can.
//!
//! Every action has one outcome at most, and every final receipt answers an order of the log. What is still on its
//! way, an intent or an order without an outcome, is listed as open. Keeps some hundred bytes for each action.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use aegis_contract::intent::INTENT_KIND;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What has been read of a log.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    actions: HashMap<ActionId, Course>,
    orders: HashSet<Digest>,
    /// Orders that were answered and not seen yet, with the receipt's entry: the log's order is near that of events.
    answered: BTreeMap<u64, Digest>,
    contradiction: Option<Contradiction>,
}

/// How far an action came: the indexes of entries.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    intent: Option<u64>,
    order: Option<u64>,
    outcome: Option<u64>,
}

/// Two entries that cannot both be true, or one that needs another which is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The first wrong entry.
    pub(crate) entry: u64,
    /// For people.
    pub(crate) message: String,
}

/// An action without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Open {
    /// `order-open` or `intent-open`.
    pub(crate) code: &'static str,
    /// The entry of the newest order or intent.
    pub(crate) entry: u64,
    /// The action.
    pub(crate) action_id: ActionId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'e> {
    #[serde(borrow)]
    kind: Cow<'e, str>,
    action_id: Option<ActionId>,
    #[serde(borrow)]
    data: &'e RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ordered {
    order_digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    stage: String,
    order_digest: Digest,
}

impl Meaning {
    /// Takes the next entry. What is no entry of this format says nothing.
    pub(crate) fn take(&mut self, index: u64, entry: &[u8]) {
        let Ok(Said { kind, action_id: Some(action_id), data }) = serde_json::from_slice(entry) else {
            return;
        };
        match &*kind {
            INTENT_KIND => self.course(action_id).intent = Some(index),
            "order.signed" => {
                self.course(action_id).order = Some(index);
                let ordered: Result<Ordered, _> = serde_json::from_str(data.get());
                self.orders.extend(ordered.map(|ordered| ordered.order_digest));
            }
            "receipt.received" => self.take_receipt(index, data.get()),
            "action.ended" => self.take_outcome(index, action_id),
            _ => {}
        }
    }

    fn course(&mut self, action_id: ActionId) -> &mut Course {
        self.actions.entry(action_id).or_default()
    }

    /// Only final receipts name the order that acted; others may answer a question about it.
    fn take_receipt(&mut self, index: u64, data: &str) {
        let Ok(Answered { stage, order_digest }) = serde_json::from_str(data) else { return };
        if stage == "finished" && !self.orders.contains(&order_digest) {
            self.answered.insert(index, order_digest);
        }
    }

    fn take_outcome(&mut self, index: u64, action_id: ActionId) {
        let earlier = self.course(action_id).outcome.replace(index);
        if let Some(earlier) = earlier {
            let message = format!(
                "entry {index} is a second outcome of action {action_id}; the first is entry {earlier}"
            );
            let contradiction = Contradiction { code: "outcome-twice", entry: index, message };
            self.contradiction.get_or_insert(contradiction);
        }
    }

    /// What does not fit in a whole log, the first such entry; or else what is open.
    pub(crate) fn finish(self) -> Result<Vec<Open>, Contradiction> {
        let unordered = self.answered.iter().find(|(_, digest)| !self.orders.contains(digest));
        let unordered = unordered.map(|(index, digest)| Contradiction {
            code: "receipt-without-order",
            entry: *index,
            message: format!("entry {index} is a receipt for the order {digest}, which no entry names"),
        });
        let first = self.contradiction.into_iter().chain(unordered).min_by_key(|found| found.entry);
        if let Some(contradiction) = first {
            return Err(contradiction);
        }
        let mut open: Vec<Open> = self
            .actions
            .into_iter()
            .filter(|(_, course)| course.outcome.is_none())
            .filter_map(|(action_id, course)| match (course.order, course.intent) {
                (Some(entry), _) => Some(Open { code: "order-open", entry, action_id }),
                (None, Some(entry)) => Some(Open { code: "intent-open", entry, action_id }),
                (None, None) => None,
            })
            .collect();
        open.sort_by_key(|open| open.entry);
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn action(number: u128) -> ActionId {
        format!("00000000-0000-0000-0000-{number:012}").parse().unwrap()
    }

    fn read(entries: &[(&str, u128, Value)]) -> Result<Vec<Open>, Contradiction> {
        let mut meaning = Meaning::default();
        for (index, (kind, number, data)) in (0..).zip(entries) {
            let entry = json!({ "kind": kind, "actionId": action(*number), "data": data });
            meaning.take(index, entry.to_string().as_bytes());
        }
        meaning.take(99, br#"{"kind":"user.created","data":{}}"#);
        meaning.take(100, b"no entry");
        meaning.finish()
    }

    fn digest(text: &str) -> Value {
        json!({ "orderDigest": Digest::of(text.as_bytes()) })
    }

    fn receipt(stage: &str, order: &str) -> Value {
        json!({ "stage": stage, "orderDigest": Digest::of(order.as_bytes()) })
    }

    #[test]
    fn what_is_on_its_way_is_open_and_no_contradiction() {
        let open = |code, entry, number| Open { code, entry, action_id: action(number) };
        let entries = [
            ("action.intent", 1, json!({})),
            ("action.intent", 1, json!({})),
            ("action.intent", 2, json!({})),
            // The receipt may stand before its order.
            ("receipt.received", 2, receipt("finished", "two")),
            ("order.signed", 2, digest("two")),
            ("action.intent", 3, json!({})),
            ("order.signed", 3, digest("three")),
            ("receipt.received", 3, receipt("finished", "three")),
            ("action.ended", 3, json!({})),
            // The executor may be asked about an order by another one.
            ("receipt.received", 3, receipt("closed", "a question")),
            ("action.ended", 4, json!({})),
        ];
        assert_eq!(read(&entries), Ok(vec![open("intent-open", 1, 1), open("order-open", 4, 2)]));
    }

    #[test]
    fn a_second_outcome_and_a_receipt_for_no_order_are_told_with_the_first_wrong_entry() {
        let first =
            |entries: &[(&str, u128, Value)]| read(entries).map_err(|found| (found.code, found.entry));
        let stray = ("receipt.received", 2, receipt("finished", "none"));
        let ended = ("action.ended", 1, json!({}));
        assert_eq!(first(&[ended.clone(), ended.clone()]), Err(("outcome-twice", 1)));
        assert_eq!(first(&[ended.clone(), stray.clone()]), Err(("receipt-without-order", 1)));
        assert_eq!(first(&[ended.clone(), stray.clone(), ended.clone()]), Err(("receipt-without-order", 1)));
        assert_eq!(first(&[ended.clone(), ended, stray]), Err(("outcome-twice", 1)));
    }
}
