//! Who else writes an object: autoscalers, and what deploys it from somewhere else.

use aegis_contract::plan::Owner;
use aegis_contract::target::Target;
use serde_json::Value;

use super::object::Object;

/// What stands for all of an object.
const WHOLE: &str = "object";
/// What an autoscaler writes.
const REPLICAS: &str = "spec.replicas";

/// A tool that leaves its name at what it deploys.
struct Deployer {
    by: &'static str,
    /// Where it leaves it, and under which key; the value is its name for what it deployed.
    marks: &'static [(&'static str, &'static str)],
    /// Names under which it writes (`metadata.managedFields[].manager`).
    managers: &'static [&'static str],
}

const LABELS: &str = "/metadata/labels";
const ANNOTATIONS: &str = "/metadata/annotations";

// Names from the tools' own documents: Argo CD "Resource Tracking", Flux "Kustomization" and "HelmRelease",
// Helm "Chart Best Practices: Labels and Annotations".
const DEPLOYERS: [Deployer; 3] = [
    Deployer {
        by: "Argo CD",
        marks: &[(ANNOTATIONS, "argocd.argoproj.io/tracking-id"), (LABELS, "argocd.argoproj.io/instance")],
        managers: &["argocd-controller", "argocd-application-controller"],
    },
    Deployer {
        by: "Flux",
        marks: &[(LABELS, "kustomize.toolkit.fluxcd.io/name"), (LABELS, "helm.toolkit.fluxcd.io/name")],
        managers: &["kustomize-controller", "helm-controller"],
    },
    Deployer { by: "Helm", marks: &[(ANNOTATIONS, "meta.helm.sh/release-name")], managers: &["helm"] },
];

/// The tools that deploy `object`.
pub(super) fn deployers(object: &Object) -> Vec<Owner> {
    DEPLOYERS.iter().filter_map(|deployer| deployer.owner(object)).collect()
}

impl Deployer {
    fn owner(&self, object: &Object) -> Option<Owner> {
        let marked = self.marks.iter().find_map(|(map, key)| object.annotation(map, key));
        let name =
            marked.or_else(|| self.managers.iter().copied().find(|manager| writes(object, manager)))?;
        // A tracking id is `<application>:<group>/<kind>:<namespace>/<name>`.
        let name = name.split(':').next().unwrap_or(name).to_owned();
        Some(Owner { by: self.by.to_owned(), name, field: WHOLE.to_owned() })
    }
}

fn writes(object: &Object, manager: &str) -> bool {
    let managed = object.at("/metadata/managedFields").and_then(Value::as_array);
    managed.into_iter().flatten().any(|fields| fields["manager"] == manager)
}

/// The autoscalers among `all` that set the replicas of `target`.
pub(super) fn autoscalers(target: &Target, all: &[Object]) -> Vec<Owner> {
    let scales = |scaler: &&Object| {
        let of = |field: &str| scaler.text(&format!("/spec/scaleTargetRef/{field}"));
        of("kind") == target.kind.as_str() && of("name") == target.name
    };
    all.iter().filter(scales).map(autoscaler).collect()
}

fn autoscaler(scaler: &Object) -> Owner {
    let owners = scaler.at("/metadata/ownerReferences").and_then(Value::as_array);
    let scaled_object = owners.into_iter().flatten().find(|owner| owner["kind"] == "ScaledObject");
    let (by, name) = match scaled_object.and_then(|owner| owner["name"].as_str()) {
        Some(name) => ("KEDA", name),
        None => ("HorizontalPodAutoscaler", scaler.text("/metadata/name")),
    };
    Owner { by: by.to_owned(), name: name.to_owned(), field: REPLICAS.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owners(metadata: &Value) -> Vec<(String, String)> {
        let object = Object::new(json!({ "metadata": metadata }));
        deployers(&object).into_iter().map(|owner| (owner.by, owner.name)).collect()
    }

    #[test]
    fn what_deploys_an_object_is_known_by_its_marks_or_by_its_writes() {
        for (metadata, by, name) in [
            (
                json!({ "annotations": { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" } }),
                "Argo CD",
                "shop",
            ),
            (json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" } }), "Flux", "apps"),
            (json!({ "annotations": { "meta.helm.sh/release-name": "web" } }), "Helm", "web"),
            (
                json!({ "managedFields": [{ "manager": "argocd-controller" }] }),
                "Argo CD",
                "argocd-controller",
            ),
        ] {
            assert_eq!(owners(&metadata), [(by.to_owned(), name.to_owned())], "{metadata}");
        }
        assert!(owners(&json!({ "managedFields": [{ "manager": "kubectl" }] })).is_empty());
    }

    #[test]
    fn an_autoscaler_owns_the_replicas_of_exactly_its_target() {
        let scaler = |kind: &str, name: &str, owner: Value| {
            Object::new(json!({
                "metadata": { "name": "scaler", "ownerReferences": owner },
                "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": kind, "name": name } },
            }))
        };
        let target = Target::parse("shop/Deployment/web", "local").unwrap();
        let keda = json!([{ "kind": "ScaledObject", "name": "queue" }]);
        let all = [
            scaler("Deployment", "web", json!([])),
            scaler("Deployment", "web", keda),
            scaler("StatefulSet", "web", json!([])),
            scaler("Deployment", "api", json!([])),
        ];
        let found: Vec<_> =
            autoscalers(&target, &all).into_iter().map(|owner| (owner.by, owner.name)).collect();
        let expected = [("HorizontalPodAutoscaler", "scaler"), ("KEDA", "queue")];
        assert_eq!(found, expected.map(|(by, name)| (by.to_owned(), name.to_owned())));
    }
}
