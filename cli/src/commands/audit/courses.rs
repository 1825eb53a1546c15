//! Actions as the entries of a span of time tell them.

use std::collections::BTreeMap;

use aegis_contract::action::{ActionType, Change};
use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::target::Target;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// An entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) kind: String,
    pub(crate) at: Timestamp,
    pub(crate) principal: String,
    pub(crate) action_id: Option<ActionId>,
    pub(crate) data: Value,
}

/// What is known of one action.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// When it was asked for, by whom, and with which key.
    pub(crate) requested: Option<(Timestamp, String, Option<String>)>,
    /// What it does.
    pub(crate) action_type: Option<ActionType>,
    /// The same with its parameters, unless they are of a release that this one does not know.
    pub(crate) change: Option<Change>,
    /// To what.
    pub(crate) target: Option<Target>,
    /// Whether nothing is to be written in the end.
    pub(crate) dry_run: bool,
    /// What policy said last.
    pub(crate) decision: Option<String>,
    /// The policy set that said so.
    pub(crate) policy_set: Option<String>,
    /// The people on whose word it goes ahead, or would.
    pub(crate) approvers: Vec<String>,
    /// Who said no.
    pub(crate) denied_by: Option<String>,
    /// When orders were signed, with their entries.
    pub(crate) orders: Vec<(Timestamp, EntryId)>,
    /// How it ended.
    pub(crate) ended: Option<Ended>,
}

/// How an action ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) state: String,
    pub(crate) code: String,
    pub(crate) entry_id: EntryId,
}

/// The actions that entries speak of.
#[derive(Debug, Default)]
pub(crate) struct Courses(pub(crate) BTreeMap<ActionId, Course>);

impl Courses {
    /// Takes an entry, if it is about an action.
    pub(crate) fn take(&mut self, entry: &Entry) {
        if let Some(id) = entry.action_id {
            self.0.entry(id).or_default().take(entry);
        }
    }
}

impl Course {
    /// Takes the next entry of the action.
    pub(crate) fn take(&mut self, entry: &Entry) {
        let (data, by) = (&entry.data, &entry.principal);
        let text = |name: &str| data[name].as_str().map(str::to_owned);
        match &*entry.kind {
            "action.requested" => {
                self.requested = Some((entry.at, by.clone(), text("keyId")));
                self.note_change(data, data);
            }
            "decision.made" => {
                self.decision = text("decision");
                self.policy_set = text("policySetDigest");
            }
            "approval.given" if !self.approvers.contains(by) => self.approvers.push(by.clone()),
            "approval.withdrawn" => self.approvers.retain(|approver| approver != by),
            "approval.voided" => self.approvers.clear(),
            "approval.denied" => self.denied_by = Some(by.clone()),
            "action.intent" => {
                self.note_change(&data["change"], data);
                let given = data["approvals"].as_array().into_iter().flatten();
                let given = given.filter_map(|given| given["principal"].as_str());
                self.approvers = given.map(str::to_owned).collect();
            }
            "order.signed" => self.orders.push((entry.at, entry.id)),
            "action.ended" => {
                let (state, code) = (text("state").unwrap_or_default(), text("code").unwrap_or_default());
                self.ended = Some(Ended { at: entry.at, state, code, entry_id: entry.id });
            }
            _ => {}
        }
    }

    fn note_change(&mut self, change: &Value, data: &Value) {
        let (action_type, params) = (&change["type"], &change["params"]);
        self.action_type = action_type.as_str().and_then(|name| name.parse().ok());
        self.change = serde_json::from_value(json!({ "type": action_type, "params": params })).ok();
        self.target = serde_json::from_value(data["target"].clone()).ok();
        self.dry_run = data["dryRun"] == true;
    }
}
