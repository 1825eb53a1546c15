//! How a rollout stands, read from an object's status.

use aegis_contract::facts::Rollout;
use aegis_contract::target::Kind;
use serde_json::Value;

use super::object::Object;
use super::pods::Pods;

/// What a status says of the rollout of the present spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RolloutStatus {
    /// The state.
    pub(crate) rollout: Rollout,
    /// For people.
    pub(crate) message: String,
    /// When Kubernetes last said that the rollout failed, if it says so.
    pub(crate) failed_at: Option<String>,
}

/// Reads the state of an object of this kind.
pub(crate) fn status(kind: Kind, object: &Object) -> RolloutStatus {
    match kind {
        Kind::Deployment => deployment(object),
        Kind::StatefulSet => stateful_set(object),
        Kind::DaemonSet => status_of(Pods::of(kind, object), object),
        Kind::Pod => pod(object),
    }
}

fn deployment(object: &Object) -> RolloutStatus {
    let status = status_of(Pods::of(Kind::Deployment, object), object);
    if status.rollout == Rollout::Complete || !is_observed(object) {
        return status;
    }
    match object.condition("Progressing") {
        Some(condition) if condition["reason"] == "ProgressDeadlineExceeded" => RolloutStatus {
            rollout: Rollout::Failed,
            message: condition["message"].as_str().unwrap_or("the progress deadline was exceeded").to_owned(),
            failed_at: condition["lastUpdateTime"].as_str().map(str::to_owned),
        },
        _ => status,
    }
}

fn stateful_set(object: &Object) -> RolloutStatus {
    let pods = Pods::of(Kind::StatefulSet, object);
    // Pods below the partition keep the old template on purpose.
    let updated = pods.updated.saturating_add(partition(object)).min(pods.wanted.max(pods.updated));
    status_of(Pods { updated, ..pods }, object)
}

fn pod(object: &Object) -> RolloutStatus {
    let is_ready = object.ready().is_some();
    let phase = object.text("/status/phase");
    let rollout = match (is_ready, phase) {
        (true, _) => Rollout::Complete,
        (false, "Failed") => Rollout::Failed,
        (false, _) => Rollout::Progressing,
    };
    let ready = if is_ready { "ready" } else { "not ready" };
    RolloutStatus { rollout, message: format!("the pod is {phase}, {ready}"), failed_at: None }
}

fn status_of(pods: Pods, object: &Object) -> RolloutStatus {
    let Pods { wanted, present, updated, available, .. } = pods;
    let (rollout, message) = if !is_observed(object) {
        (Rollout::Progressing, "the controller has not seen the change yet".to_owned())
    } else {
        let is_complete = [updated, present, available] == [wanted; 3];
        let rollout = if is_complete { Rollout::Complete } else { Rollout::Progressing };
        (rollout, format!("{updated} of {wanted} pods updated, {available} available, {present} in all"))
    };
    RolloutStatus { rollout, message, failed_at: None }
}

/// Whether its controller has seen what was last written.
pub(crate) fn is_observed(object: &Object) -> bool {
    object.number("/status/observedGeneration") >= object.generation()
}

fn partition(object: &Object) -> u32 {
    object.count("/spec/updateStrategy/rollingUpdate/partition")
}

/// Whether pods are still being replaced. Pods of the present template that are not available are no rollout.
pub(crate) fn is_under_way(kind: Kind, object: &Object) -> bool {
    let Pods { wanted, present, updated, .. } = Pods::of(kind, object);
    let is_mixed = match kind {
        Kind::Deployment => updated < wanted || present > updated,
        Kind::StatefulSet => updated.saturating_add(partition(object)) < wanted,
        Kind::DaemonSet => updated < wanted,
        Kind::Pod => return false,
    };
    is_mixed || !is_observed(object)
}

/// How long Kubernetes gives a Deployment to make progress, in seconds.
pub(crate) fn progress_deadline_seconds(object: &Object) -> u64 {
    object.at("/spec/progressDeadlineSeconds").and_then(Value::as_u64).unwrap_or(600)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(kind: Kind, value: Value) -> Rollout {
        status(kind, &Object::new(value)).rollout
    }

    fn deployment(observed: u64, updated: u64, present: u64, available: u64) -> Value {
        json!({
            "metadata": { "generation": 2 },
            "spec": { "replicas": 3 },
            "status": { "observedGeneration": observed, "updatedReplicas": updated, "replicas": present, "availableReplicas": available },
        })
    }

    #[test]
    fn a_deployment_is_complete_only_with_all_pods_new_available_and_no_old_ones() {
        for (observed, updated, present, available, expected) in [
            (2, 3, 3, 3, Rollout::Complete),
            (1, 3, 3, 3, Rollout::Progressing),
            (2, 2, 3, 3, Rollout::Progressing),
            (2, 3, 4, 4, Rollout::Progressing),
            (2, 3, 3, 2, Rollout::Progressing),
        ] {
            let value = deployment(observed, updated, present, available);
            assert_eq!(rollout(Kind::Deployment, value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn a_deployment_past_its_progress_deadline_has_failed_unless_the_status_is_stale() {
        let mut value = deployment(2, 1, 4, 3);
        value["status"]["conditions"] = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": "t1",
        }]);
        let failed = status(Kind::Deployment, &Object::new(value.clone()));
        assert_eq!((failed.rollout, failed.failed_at.as_deref()), (Rollout::Failed, Some("t1")));
        value["metadata"]["generation"] = json!(3);
        assert_eq!(rollout(Kind::Deployment, value), Rollout::Progressing);
    }

    #[test]
    fn a_stateful_set_with_a_partition_is_complete_when_the_pods_above_it_are_new() {
        let value = |partition: u64, updated: u64| {
            json!({
                "metadata": { "generation": 2 },
                "spec": { "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": partition } } },
                "status": { "observedGeneration": 2, "updatedReplicas": updated, "replicas": 3, "availableReplicas": 3 },
            })
        };
        assert_eq!(rollout(Kind::StatefulSet, value(0, 3)), Rollout::Complete);
        assert_eq!(rollout(Kind::StatefulSet, value(0, 2)), Rollout::Progressing);
        assert_eq!(rollout(Kind::StatefulSet, value(2, 1)), Rollout::Complete);
        assert_eq!(rollout(Kind::StatefulSet, value(2, 0)), Rollout::Progressing);
        assert_eq!(rollout(Kind::StatefulSet, value(2, 3)), Rollout::Complete);
    }

    #[test]
    fn a_daemon_set_is_complete_when_every_node_runs_the_new_pod() {
        let value = |updated: u64, available: u64| {
            json!({
                "metadata": { "generation": 1 },
                "status": { "observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated, "numberAvailable": available },
            })
        };
        assert_eq!(rollout(Kind::DaemonSet, value(3, 3)), Rollout::Complete);
        assert_eq!(rollout(Kind::DaemonSet, value(2, 3)), Rollout::Progressing);
        assert_eq!(rollout(Kind::DaemonSet, value(3, 2)), Rollout::Progressing);
    }
}
