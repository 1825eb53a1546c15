//! What an entry can be found by. It is read from the entry's bytes and from nothing else, so that whoever has the
//! bytes can tell whether an index says the same.

use aegis_contract::digest::Digest;
use aegis_contract::intent::Entry;
use aegis_contract::target::Target;
use jiff::Timestamp;
use serde_json::Value;

/// How a decision's resource begins when it is an object in a cluster.
const KUBERNETES: &str = "k8s/";

/// A question that can be asked of any entry.
///
/// What the index holds follows from it: a migration that changes what an entry answers empties `audit.blocks` and
/// `audit.postings`, which are then filled anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What happened.
    Kind,
    /// Who did it.
    Principal,
    /// What sort of principal: `user`, `client`, `engine`, …
    PrincipalKind,
    /// For whom an engine did it, or a person something to somebody else's action.
    OnBehalfOf,
    /// The cluster of the target, or that the entry is about.
    Cluster,
    /// The target's namespace.
    Namespace,
    /// The target's kind.
    TargetKind,
    /// The target's name.
    TargetName,
    /// What was to be done.
    ActionType,
    /// The action it belongs to.
    ActionId,
    /// What was decided: `ALLOW` or `DENY`.
    Decision,
    /// The decision it took, or rests on.
    DecisionId,
    /// A policy whose rules decided, or that was changed.
    Policy,
    /// The state in which an action ended, and the code of its outcome.
    Outcome,
    /// The request that caused it.
    RequestId,
}

impl Field {
    /// All fields, in the order they are documented.
    pub const ALL: [Self; 15] = [
        Self::Kind,
        Self::Principal,
        Self::PrincipalKind,
        Self::OnBehalfOf,
        Self::Cluster,
        Self::Namespace,
        Self::TargetKind,
        Self::TargetName,
        Self::ActionType,
        Self::ActionId,
        Self::Decision,
        Self::DecisionId,
        Self::Policy,
        Self::Outcome,
        Self::RequestId,
    ];
    /// Those of which an answer may say how often each value occurs: the others have as many values as entries.
    pub const COUNTED: [Self; 12] = [
        Self::Kind,
        Self::Principal,
        Self::PrincipalKind,
        Self::OnBehalfOf,
        Self::Cluster,
        Self::Namespace,
        Self::TargetKind,
        Self::TargetName,
        Self::ActionType,
        Self::Decision,
        Self::Policy,
        Self::Outcome,
    ];

    /// The name used in queries and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Principal => "principal",
            Self::PrincipalKind => "principalKind",
            Self::OnBehalfOf => "onBehalfOf",
            Self::Cluster => "cluster",
            Self::Namespace => "namespace",
            Self::TargetKind => "targetKind",
            Self::TargetName => "targetName",
            Self::ActionType => "actionType",
            Self::ActionId => "actionId",
            Self::Decision => "decision",
            Self::DecisionId => "decisionId",
            Self::Policy => "policy",
            Self::Outcome => "outcome",
            Self::RequestId => "requestId",
        }
    }

    /// What stands in the index for this field with this value. Two may share a number; the entry's bytes decide.
    pub fn term(self, value: &str) -> i64 {
        let digest = Digest::of(format!("{}={value}", self.as_str()).as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        i64::from_be_bytes(first)
    }
}

/// The answers of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facets {
    /// When it was recorded.
    pub at: Timestamp,
    /// Sorted, each once.
    values: Vec<(Field, String)>,
}

impl Facets {
    /// Those of an entry's bytes; none if they are no entry.
    pub fn read(body: &[u8]) -> Option<Self> {
        let entry: Entry<Value> = serde_json::from_slice(body).ok()?;
        let mut values = vec![
            (Field::Kind, entry.kind.clone()),
            (Field::PrincipalKind, principal_kind(&entry.principal).to_owned()),
            (Field::Principal, entry.principal.clone()),
        ];
        values.extend(entry.action_id.map(|id| (Field::ActionId, id.to_string())));
        values.extend(entry.request_id.clone().map(|id| (Field::RequestId, id)));
        add_data(&mut values, &entry.kind, &entry.data);
        values.sort_unstable();
        values.dedup();
        Some(Self { at: entry.at, values })
    }

    /// Whether the entry answers so.
    pub fn has(&self, field: Field, value: &str) -> bool {
        self.of(field).any(|own| own == value)
    }

    /// What the entry answers to one question: most have at most one answer.
    pub fn of(&self, field: Field) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(own, _)| *own == field).map(|(_, value)| value.as_str())
    }

    /// What stands in the index for all of it.
    pub fn terms(&self) -> impl Iterator<Item = i64> {
        self.values.iter().map(|(field, value)| field.term(value))
    }
}

fn principal_kind(principal: &str) -> &str {
    principal.split_once(':').map_or(principal, |(kind, _)| kind)
}

fn add_data(values: &mut Vec<(Field, String)>, kind: &str, data: &Value) {
    let mut add = |field, value: &Value| {
        values.extend(value.as_str().map(|text| (field, text.to_owned())));
    };
    add(Field::OnBehalfOf, &data["onBehalfOf"]);
    add(Field::Cluster, &data["cluster"]);
    add(Field::Decision, &data["decision"]);
    add(Field::DecisionId, &data["decisionId"]);
    data["rules"].as_array().into_iter().flatten().for_each(|rule| add(Field::Policy, &rule["policy"]));
    if kind.starts_with("policy.") {
        add(Field::Policy, &data["name"]);
    }
    if kind == "action.ended" {
        add(Field::Outcome, &data["state"]);
        add(Field::Outcome, &data["code"]);
    }
    if let Some(target) = target(data) {
        // An intent says how in `change`, a decision in `action`, all others in `type`.
        let action_type = [&data["type"], &data["change"]["type"], &data["action"]];
        action_type.into_iter().for_each(|action_type| add(Field::ActionType, action_type));
        values.push((Field::Cluster, target.cluster));
        values.push((Field::Namespace, target.namespace));
        values.push((Field::TargetKind, target.kind.to_string()));
        values.push((Field::TargetName, target.name));
    }
}

/// The object that an entry is about.
fn target(data: &Value) -> Option<Target> {
    match &data["target"] {
        Value::Null => {
            data["resource"].as_str()?.strip_prefix(KUBERNETES).and_then(|text| Target::parse(text, "").ok())
        }
        target => serde_json::from_value(target.clone()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facets(kind: &str, data: &Value) -> Vec<String> {
        let entry = json!({
            "schema": "aegis.entry/v1", "id": "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90", "kind": kind,
            "at": "2026-11-23T12:00:00Z", "principal": "engine:dispatch",
            "actionId": "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91", "requestId": "r1", "data": data,
        });
        let read = Facets::read(entry.to_string().as_bytes()).unwrap();
        read.values.iter().map(|(field, value)| format!("{}={value}", field.as_str())).collect()
    }

    fn with_envelope(kind: &str, more: &[&str]) -> Vec<String> {
        let kind = format!("kind={kind}");
        let envelope = [
            kind.as_str(),
            "principal=engine:dispatch",
            "principalKind=engine",
            "actionId=019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91",
            "requestId=r1",
        ];
        let mut all: Vec<String> = envelope.iter().chain(more).map(|facet| (*facet).to_owned()).collect();
        let place = |facet: &String| {
            let name = facet.split_once('=').unwrap().0;
            (Field::ALL.iter().position(|field| field.as_str() == name), facet.clone())
        };
        all.sort_by_key(place);
        all
    }

    #[test]
    fn an_entry_is_found_by_what_its_bytes_say() {
        let target = json!({ "cluster": "c", "namespace": "n", "kind": "Pod", "name": "p" });
        let of_target =
            ["cluster=c", "namespace=n", "targetKind=Pod", "targetName=p", "actionType=restart-pod"];
        for (kind, data, more) in [
            ("action.requested", json!({ "type": "restart-pod", "target": target }), vec![]),
            (
                "action.intent",
                json!({ "change": { "type": "restart-pod", "params": {} }, "target": target, "decisionId": "d" }),
                vec!["decisionId=d"],
            ),
            (
                "decision.made",
                json!({
                    "action": "restart-pod", "resource": "k8s/c/n/Pod/p", "decision": "DENY", "decisionId": "d",
                    "rules": [{ "policy": "a", "rule": "x" }, { "policy": "b" }, { "policy": "a", "rule": "y" }],
                }),
                vec!["decision=DENY", "decisionId=d", "policy=a", "policy=b"],
            ),
            (
                "action.ended",
                json!({
                    "type": "restart-pod", "target": target, "state": "failed", "code": "rollout-timeout",
                    "onBehalfOf": "client:bot",
                }),
                vec!["onBehalfOf=client:bot", "outcome=failed", "outcome=rollout-timeout"],
            ),
        ] {
            let more: Vec<&str> = of_target.iter().copied().chain(more).collect();
            assert_eq!(facets(kind, &data), with_envelope(kind, &more));
        }
        for (kind, data, more) in [
            ("policy.activated", json!({ "name": "p", "policySet": [{ "name": "q" }] }), vec!["policy=p"]),
            ("cluster.changed", json!({ "cluster": "c" }), vec!["cluster=c"]),
            ("decision.made", json!({ "action": "write", "resource": "aegis/policy/p" }), vec![]),
            // What anybody may have written there is no answer.
            ("user.created", json!({ "target": "x", "rules": 1, "cluster": 7, "name": "n" }), vec![]),
            ("user.created", json!(null), vec![]),
        ] {
            assert_eq!(facets(kind, &data), with_envelope(kind, &more), "{data}");
        }
        assert_eq!(Facets::read(b"{}"), None);
    }

    #[test]
    fn terms_stay_as_they_are_in_the_index() {
        // Where this changes, a migration empties the index.
        assert_eq!(Field::Kind.term("action.ended"), TERM);
        let own: std::collections::BTreeSet<i64> = Field::ALL.iter().map(|field| field.term("x")).collect();
        assert_eq!(own.len(), Field::ALL.len());
    }

    const TERM: i64 = 0x46d1_dd6d_a83b_4f1b;
}
