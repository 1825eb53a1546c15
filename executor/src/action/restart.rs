//! `restart`: a rolling restart, by the annotation that `kubectl rollout restart` writes.

use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::ActionId;
use aegis_contract::order::WrittenFields;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Plan;
use super::object::Object;
use super::template::{ACTION, RESTARTED_AT, TEMPLATE_ANNOTATIONS};

const TEMPLATE_METADATA: &str = "/spec/template/metadata";

pub(super) fn fields(object: &Object) -> WrittenFields {
    let restarted_at = object.annotation(TEMPLATE_ANNOTATIONS, RESTARTED_AT).map(str::to_owned);
    WrittenFields::Restart { restarted_at }
}

pub(super) fn plan(object: &Object, before: WrittenFields, now: Timestamp) -> Plan {
    if object.is_paused() {
        return Plan::refuse(
            OutcomeCode::TargetPaused,
            "rollouts of the object are paused: nothing would restart",
        );
    }
    let after = |at: Timestamp| WrittenFields::Restart { restarted_at: Some(in_seconds(at)) };
    // Within the second of an earlier restart the same text would restart nothing.
    let after = if after(now) == before { after(now + SignedDuration::from_secs(1)) } else { after(now) };
    Plan::Write { before, after }
}

pub(super) fn operations(object: &Object, restarted_at: &str, action_id: ActionId) -> Vec<Value> {
    let annotations = [(RESTARTED_AT, restarted_at.to_owned()), (ACTION, action_id.to_string())];
    if object.at(TEMPLATE_METADATA).is_none() {
        let [(first, first_value), (second, second_value)] = annotations;
        let metadata = json!({ "annotations": { first: first_value, second: second_value } });
        return vec![json!({ "op": "add", "path": TEMPLATE_METADATA, "value": metadata })];
    }
    object.annotate(TEMPLATE_ANNOTATIONS, &annotations)
}

// RFC 3339 in whole seconds, as kubectl writes it.
fn in_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn restarted(at: Option<&str>) -> Object {
        let annotations = at.map(|at| json!({ RESTARTED_AT: at }));
        Object::new(json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }))
    }

    #[test]
    fn the_time_written_always_differs_from_the_one_before() {
        let now: Timestamp = "2026-11-20T12:00:00.7Z".parse().unwrap();
        for (before, expected) in [
            (None, "2026-11-20T12:00:00Z"),
            (Some("2026-11-20T11:00:00Z"), "2026-11-20T12:00:00Z"),
            (Some("2026-11-20T12:00:00Z"), "2026-11-20T12:00:01Z"),
        ] {
            let object = restarted(before);
            let Plan::Write { after, .. } = plan(&object, fields(&object), now) else { panic!("{before:?}") };
            assert_eq!(after, WrittenFields::Restart { restarted_at: Some(expected.to_owned()) });
        }
    }

    #[test]
    fn a_paused_deployment_is_not_restarted() {
        let object = Object::new(json!({ "spec": { "paused": true } }));
        let plan = plan(&object, fields(&object), Timestamp::UNIX_EPOCH);
        assert!(matches!(plan, Plan::Refuse { code: OutcomeCode::TargetPaused, .. }));
    }
}
