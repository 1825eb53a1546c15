//! Pod templates and when two of them are the same.

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use serde_json::{Value, json};

use super::object::Object;

/// Annotation that `kubectl rollout restart` and a `restart` write.
pub(super) const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation that names the action that wrote the template: a `restart` or a `rollback`.
pub(super) const ACTION: &str = "aegis.dev/action";
/// Label that the Deployment controller adds to the templates of its ReplicaSets.
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

pub(super) const TEMPLATE_ANNOTATIONS: &str = "/spec/template/metadata/annotations";

/// Whether the write of this mark made the object's template as it is.
pub(super) fn is_marked(mark: &str, object: &Object) -> bool {
    object.annotation(TEMPLATE_ANNOTATIONS, ACTION) == Some(mark)
}

/// The template with a write's mark: nobody else's edit looks the same.
pub(super) fn marked(mut template: Value, mark: &str) -> Value {
    template["metadata"]["annotations"][ACTION] = json!(mark);
    template
}

/// The digest of a template apart from what restarts and the Deployment controller add to it.
/// `None` when it has no canonical bytes, and can therefore be compared with nothing.
pub(super) fn digest(template: &Value) -> Option<Digest> {
    let mut template = without_hash(template.clone());
    for name in [RESTARTED_AT, ACTION] {
        remove(&mut template, "annotations", name);
    }
    canonical::to_bytes(&template).ok().map(|bytes| Digest::of(&bytes))
}

/// The template as its Deployment had it.
pub(super) fn without_hash(mut template: Value) -> Value {
    remove(&mut template, "labels", POD_TEMPLATE_HASH);
    template
}

/// The template as its StatefulSet or DaemonSet had it: a ControllerRevision keeps a patch.
pub(super) fn without_directive(mut template: Value) -> Value {
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

// A map that becomes empty goes too: a template without annotations has none.
fn remove(template: &mut Value, map: &str, name: &str) {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) {
        entries.remove(name);
        if entries.is_empty() {
            metadata.remove(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_and_the_controllers_label_do_not_make_another_template() {
        let plain = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        let restarted = json!({
            "metadata": {
                "labels": { "app": "web", "pod-template-hash": "5d4" },
                "annotations": { RESTARTED_AT: "2026-11-20T12:00:00Z", ACTION: "a" },
            },
            "spec": { "containers": [] },
        });
        assert_eq!(digest(&plain), digest(&restarted));
    }

    #[test]
    fn any_other_difference_makes_another_template() {
        let plain = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        for other in [
            json!({ "metadata": { "labels": { "app": "shop" } }, "spec": { "containers": [] } }),
            json!({ "metadata": { "labels": { "app": "web" }, "annotations": { "a": "b" } }, "spec": { "containers": [] } }),
            json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{}] } }),
            json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [], "new": 1 } }),
        ] {
            assert_ne!(digest(&plain), digest(&other), "{other}");
        }
    }
}
