//! `restart`: a rolling restart, by the annotation that `kubectl rollout restart` writes.

use aegis_contract::action::RestartParams;
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::Obstacle;
use aegis_contract::target::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::disruption::Disruption;
use super::object::Object;
use super::template::{ACTION, RESTARTED_AT, TEMPLATE_ANNOTATIONS};
use super::{disruption, obstacle, quota, rollout};

const TEMPLATE_METADATA: &str = "/spec/template/metadata";

pub(super) fn fields(object: &Object) -> WrittenFields {
    let restarted_at = object.annotation(TEMPLATE_ANNOTATIONS, RESTARTED_AT).map(str::to_owned);
    WrittenFields::Restart { restarted_at }
}

/// The fields as a restart at `now` would write them.
pub(super) fn after(before: &WrittenFields, now: Timestamp) -> WrittenFields {
    let at = |at: Timestamp| WrittenFields::Restart { restarted_at: Some(in_seconds(at)) };
    // Within the second of an earlier restart the same text would restart nothing.
    if at(now) == *before { at(now + SignedDuration::from_secs(1)) } else { at(now) }
}

/// Why the workload must not be restarted, or would not be.
pub(super) fn refused(
    params: RestartParams,
    kind: Kind,
    object: &Object,
    disruption: Disruption,
    quotas: &[Object],
) -> Option<Obstacle> {
    if object.is_paused() {
        let message = "rollouts of the Deployment are paused: nothing would restart until it is resumed";
        return Some(obstacle(OutcomeCode::TargetPaused, message));
    }
    in_the_way(params, kind, object, disruption)
        .or_else(|| never_replaced(kind, object))
        .or_else(|| without_room(kind, object, disruption, quotas))
}

/// Why no pod must be restarted, whichever way.
pub(super) fn in_the_way(
    params: RestartParams,
    kind: Kind,
    object: &Object,
    disruption: Disruption,
) -> Option<Obstacle> {
    if disruption.wanted == 0 {
        return Some(obstacle(OutcomeCode::NoReplicas, "no pods are wanted: scale it up instead"));
    }
    if !params.during_rollout && rollout::is_under_way(kind, object) {
        let message =
            "a rollout is under way: wait for its end, roll back if it hangs, or ask with duringRollout";
        return Some(obstacle(OutcomeCode::RolloutInProgress, message));
    }
    None
}

/// Why no pod would ever get another template.
pub(super) fn never_replaced(kind: Kind, object: &Object) -> Option<Obstacle> {
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        let message =
            "its update strategy is OnDelete: pods would stay as they are until somebody deletes them";
        return Some(obstacle(OutcomeCode::StrategyOnDelete, message));
    }
    let partition = object.number("/spec/updateStrategy/rollingUpdate/partition");
    if kind == Kind::StatefulSet && partition > 0 && partition >= object.number("/spec/replicas") {
        let message = format!("its partition {partition} keeps every pod as it is: lower it first");
        return Some(obstacle(OutcomeCode::PartitionHidesPods, message));
    }
    None
}

/// A rollout that may not take a pod down before a new one is there needs room for the new one.
fn without_room(
    kind: Kind,
    object: &Object,
    Disruption { wanted, rolled, .. }: Disruption,
    quotas: &[Object],
) -> Option<Obstacle> {
    let must_surge = kind == Kind::Deployment
        && rolled == 0
        && disruption::surge(object, wanted) > 0
        && object.text("/spec/strategy/type") != "Recreate";
    let lacking = quota::full(object, quotas).filter(|_| must_surge)?;
    let message = format!("the rollout needs one pod more at first, and nothing is left of {lacking}");
    Some(obstacle(OutcomeCode::QuotaExceeded, message))
}

pub(super) fn operations(object: &Object, restarted_at: &str, mark: &str) -> Vec<Value> {
    let annotations = [(RESTARTED_AT, restarted_at.to_owned()), (ACTION, mark.to_owned())];
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
    use aegis_contract::action::Change;

    use super::*;

    #[test]
    fn the_time_written_always_differs_from_the_one_before() {
        let now: Timestamp = "2026-11-20T12:00:00.7Z".parse().unwrap();
        let at = |text: &str| WrittenFields::Restart { restarted_at: Some(text.to_owned()) };
        for (before, expected) in [
            (WrittenFields::Restart { restarted_at: None }, "2026-11-20T12:00:00Z"),
            (at("2026-11-20T11:00:00Z"), "2026-11-20T12:00:00Z"),
            (at("2026-11-20T12:00:00Z"), "2026-11-20T12:00:01Z"),
        ] {
            assert_eq!(after(&before, now), at(expected));
        }
    }

    /// A workload of three pods, all in order but for these.
    fn with(kind: Kind, changes: &[(&str, Value)]) -> Object {
        let mut object = json!({
            "metadata": { "generation": 2 },
            "spec": { "replicas": 3, "paused": false, "strategy": {}, "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } } },
            "status": {
                "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
                "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3,
            },
        });
        if kind == Kind::DaemonSet {
            object["spec"]["replicas"] = Value::Null;
        }
        for (pointer, value) in changes {
            *object.pointer_mut(pointer).unwrap() = value.clone();
        }
        Object::new(object)
    }

    fn code(kind: Kind, changes: &[(&str, Value)], during_rollout: bool) -> Option<OutcomeCode> {
        let params = RestartParams { during_rollout, ..RestartParams::default() };
        let object = with(kind, changes);
        let disruption = Disruption::of(&Change::Restart(params), kind, &object);
        let quota = Object::new(
            json!({ "metadata": { "name": "q" }, "status": { "hard": { "pods": "3" }, "used": { "pods": "3" } } }),
        );
        // Room is judged for the last case alone.
        let quotas = if changes.iter().any(|(_, value)| value["rollingUpdate"]["maxSurge"] == 1) {
            vec![quota]
        } else {
            Vec::new()
        };
        refused(params, kind, &object, disruption, &quotas).map(|obstacle| obstacle.code)
    }

    #[test]
    fn a_restart_into_nothing_is_refused_with_its_reason() {
        use Kind::{DaemonSet, Deployment, StatefulSet};
        for (kind, changes, expected) in [
            (Deployment, vec![], None),
            (StatefulSet, vec![], None),
            (DaemonSet, vec![], None),
            (Deployment, vec![("/spec/paused", json!(true))], Some(OutcomeCode::TargetPaused)),
            (Deployment, vec![("/spec/replicas", json!(0))], Some(OutcomeCode::NoReplicas)),
            (DaemonSet, vec![("/status/desiredNumberScheduled", json!(0))], Some(OutcomeCode::NoReplicas)),
            (
                StatefulSet,
                vec![("/spec/updateStrategy/type", json!("OnDelete"))],
                Some(OutcomeCode::StrategyOnDelete),
            ),
            (
                DaemonSet,
                vec![("/spec/updateStrategy/type", json!("OnDelete"))],
                Some(OutcomeCode::StrategyOnDelete),
            ),
            (
                StatefulSet,
                vec![("/spec/updateStrategy/rollingUpdate/partition", json!(3))],
                Some(OutcomeCode::PartitionHidesPods),
            ),
            (StatefulSet, vec![("/spec/updateStrategy/rollingUpdate/partition", json!(2))], None),
            // Pods of the present template that are down are what a restart is for.
            (Deployment, vec![("/status/availableReplicas", json!(0))], None),
            (
                Deployment,
                vec![("/spec/strategy", json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } }))],
                Some(OutcomeCode::QuotaExceeded),
            ),
        ] {
            assert_eq!(code(kind, &changes, false), expected, "{kind} {changes:?}");
        }
    }

    #[test]
    fn a_rollout_under_way_is_restarted_only_when_that_is_asked_for() {
        for (kind, changes) in [
            (Kind::Deployment, vec![("/status/updatedReplicas", json!(1))]),
            (Kind::Deployment, vec![("/status/replicas", json!(4))]),
            (Kind::Deployment, vec![("/status/observedGeneration", json!(1))]),
            (Kind::DaemonSet, vec![("/status/updatedNumberScheduled", json!(2))]),
        ] {
            assert_eq!(
                code(kind, &changes, false),
                Some(OutcomeCode::RolloutInProgress),
                "{kind} {changes:?}"
            );
            assert_eq!(code(kind, &changes, true), None, "{kind} {changes:?}");
        }
    }
}
