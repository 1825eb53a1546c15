//! `scale`: another number of replicas, through the scale subresource.

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::{Obstacle, Owner};
use aegis_contract::target::Kind;
use serde_json::{Value, json};

use super::object::Object;
use super::obstacle;

pub(super) fn fields(object: &Object) -> Option<WrittenFields> {
    let replicas = object.at("/spec/replicas")?.as_u64()?;
    Some(WrittenFields::Scale { replicas: u32::try_from(replicas).ok()? })
}

/// Why the replicas are not ours to set.
pub(super) fn refused(autoscalers: &[Owner]) -> Option<Obstacle> {
    let Owner { by, name, .. } = autoscalers.first()?;
    let message =
        format!("{by} {name} sets the replicas and would set them again: change its bounds instead");
    Some(obstacle(OutcomeCode::AutoscalerOwned, message))
}

/// What whoever agrees to this number of replicas should know.
pub(super) fn warnings(kind: Kind, object: &Object, now: u32, wanted: u32) -> Vec<String> {
    if kind != Kind::StatefulSet {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if wanted < now {
        let deletes = object.text("/spec/persistentVolumeClaimRetentionPolicy/whenScaled") == "Delete";
        let volumes = if deletes { "are deleted with them" } else { "stay, with their costs and their data" };
        let message =
            format!("pods {wanted} to {} leave, the highest first; their volumes {volumes}", now - 1);
        warnings.push(message);
    }
    let is_ordered = object.text("/spec/podManagementPolicy") != "Parallel";
    if is_ordered && object.count("/status/readyReplicas") < now {
        warnings.push("a pod is not ready: the controller waits for it before it goes on".to_owned());
    }
    warnings
}

pub(super) fn operations(replicas: u32) -> Vec<Value> {
    // `add`, because the subresource shows zero replicas as an empty spec.
    vec![json!({ "op": "add", "path": "/spec/replicas", "value": replicas })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_scales_a_stateful_set_down_is_told_of_pods_and_volumes() {
        let object = |policy: &str, ready: u32| {
            Object::new(json!({
                "spec": { "persistentVolumeClaimRetentionPolicy": { "whenScaled": policy } },
                "status": { "readyReplicas": ready },
            }))
        };
        let told =
            |policy, ready, wanted| warnings(Kind::StatefulSet, &object(policy, ready), 3, wanted).join("; ");
        assert!(told("Retain", 3, 1).contains("pods 1 to 2 leave") && told("Retain", 3, 1).contains("stay"));
        assert!(told("Delete", 3, 1).contains("deleted"));
        assert_eq!(told("Retain", 3, 5), "");
        assert!(told("Retain", 2, 5).contains("not ready"));
        assert!(warnings(Kind::Deployment, &object("Retain", 0), 3, 1).is_empty());
    }
}
