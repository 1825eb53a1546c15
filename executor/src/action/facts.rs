//! Facts of an object, as decisions are taken on them.

use aegis_contract::facts::Facts;
use aegis_contract::order::WrittenFields;
use aegis_contract::target::Kind;
use jiff::Timestamp;
use serde_json::Value;

use super::object::Object;
use super::pods::Pods;
use super::{restart, rollout, template_digest};

/// What `object` shows at `observed_at`.
pub(crate) fn facts(kind: Kind, object: &Object, observed_at: Timestamp) -> Facts {
    let pods = Pods::of(kind, object);
    let restarted_at = match restart::fields(object) {
        WrittenFields::Restart { restarted_at } => restarted_at,
        _ => None,
    };
    Facts {
        observed_at,
        uid: object.uid().to_owned(),
        generation: object.generation(),
        template_digest: template_digest(object),
        restarted_at,
        replicas: replicas(kind, object),
        ready_replicas: pods.ready,
        available_replicas: pods.available,
        updated_replicas: pods.updated,
        paused: object.is_paused(),
        rollout: rollout::status(kind, object).rollout,
        pods_affected: None,
        unavailable_max: None,
        unavailable_max_percent: None,
        disruptions_allowed: None,
        plan: None,
    }
}

fn replicas(kind: Kind, object: &Object) -> Option<u32> {
    match kind {
        Kind::Deployment | Kind::StatefulSet => {
            object.at("/spec/replicas").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok())
        }
        Kind::DaemonSet | Kind::Pod => None,
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::{Change, RestartParams, RollbackParams, ScaleParams};
    use aegis_contract::facts::Rollout;
    use aegis_contract::order::Preconditions;
    use serde_json::json;

    use super::*;

    #[test]
    fn preconditions_made_from_facts_are_what_a_plan_compares_with() {
        let object = Object::new(json!({
            "metadata": { "uid": "u1", "generation": 7 },
            "spec": { "replicas": 3, "template": {
                "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": "2026-11-20T12:00:00Z" } },
                "spec": {},
            } },
        }));
        let facts = facts(Kind::Deployment, &object, Timestamp::UNIX_EPOCH);
        for change in [
            Change::Restart(RestartParams::default()),
            Change::Scale(ScaleParams { replicas: 5 }),
            Change::Rollback(RollbackParams::default()),
        ] {
            let expected = Preconditions::of(&change, &facts).unwrap();
            assert_eq!(super::super::fields(&change, &object), Some(expected.fields), "{change:?}");
        }
        assert_eq!((facts.uid.as_str(), facts.generation, facts.replicas), ("u1", 7, Some(3)));
    }

    #[test]
    fn a_pod_has_no_template_and_no_replicas() {
        let pod = Object::new(json!({
            "metadata": { "uid": "p" },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        }));
        let facts = facts(Kind::Pod, &pod, Timestamp::UNIX_EPOCH);
        assert_eq!((facts.template_digest, facts.replicas, facts.ready_replicas), (None, None, 1));
        assert_eq!(facts.rollout, Rollout::Complete);
    }
}
