//! How far an earlier pod template may differ from the present one: in nothing that gives pods other rights, or takes
//! them elsewhere. The policy for the account of rollbacks (`k8s/base/executor/account/admission-rollback.yaml`)
//! says the same to the API server, and a test holds the two together. Pinned is whatever is not named here.

use serde_json::Value;

/// Labels that name a version; all others decide which traffic and which policies reach a pod.
const FREE_LABELS: [&str; 3] = ["app.kubernetes.io/version", "helm.sh/chart", "version"];
const FREE_IN_POD: [&str; 5] =
    ["containers", "initContainers", "resources", "terminationGracePeriodSeconds", "volumes"];
const FREE_IN_CONTAINER: [&str; 16] = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "workingDir",
];
/// Kinds of volumes that hold what the namespace gives its pods anyway, as `env` does.
const FREE_VOLUMES: [&str; 4] = ["configMap", "downwardAPI", "emptyDir", "secret"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HOOKS: [&str; 2] = ["postStart", "preStop"];
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

/// Refuses a template that a rollback must not return to, and says what of it lies out of bounds.
pub(crate) fn template_within_bounds(before: &Value, after: &Value) -> Result<(), String> {
    let (metadata, metadata_before) = (&after["metadata"], &before["metadata"]);
    let (pod, pod_before) = (&after["spec"], &before["spec"]);
    let mut changed = differing("", before, after, |name| ["metadata", "spec"].contains(&name));
    changed.extend(differing("metadata.", metadata_before, metadata, |name| {
        ["annotations", "labels"].contains(&name)
    }));
    changed.extend(differing(
        "metadata.annotations.",
        &metadata_before["annotations"],
        &metadata["annotations"],
        is_free_annotation,
    ));
    changed.extend(differing("metadata.labels.", &metadata_before["labels"], &metadata["labels"], |name| {
        FREE_LABELS.contains(&name)
    }));
    changed.extend(differing("spec.", pod_before, pod, |name| FREE_IN_POD.contains(&name)));
    if kept_volumes(pod_before) != kept_volumes(pod) {
        changed.push("spec.volumes".to_owned());
    }
    for list in CONTAINERS {
        changed.extend(containers_differing(list, pod_before, pod));
    }
    if changed.is_empty() { Ok(()) } else { Err(changed.join(", ")) }
}

/// Keys without a prefix are private to people, and no component acts on them; checksums restart pods.
fn is_free_annotation(name: &str) -> bool {
    !name.contains('/')
        || name.starts_with("aegis.dev/")
        || name.starts_with("checksum/")
        || name == "kubectl.kubernetes.io/restartedAt"
}

fn containers_differing(list: &str, pod_before: &Value, pod: &Value) -> Vec<String> {
    let (containers, containers_before) = (items(&pod[list]), items(&pod_before[list]));
    let names = |containers: &[Value]| containers.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    if names(containers) != names(containers_before) {
        return vec![format!("the set of spec.{list}")];
    }
    let (free, free_before) = (freely_mounted(pod), freely_mounted(pod_before));
    let mut changed = Vec::new();
    for (before, after) in containers_before.iter().zip(containers) {
        let place = format!("spec.{list}.{}.", after["name"].as_str().unwrap_or_default());
        changed.extend(differing(&place, before, after, |name| FREE_IN_CONTAINER.contains(&name)));
        let mut expect_same = |what: &str, same: bool| {
            if !same {
                changed.push(format!("{place}{what}"));
            }
        };
        expect_same("ports", host_ports(before) == host_ports(after));
        expect_same("volumeMounts", kept_mounts(before, &free_before) == kept_mounts(after, &free));
        for probe in PROBES {
            expect_same(probe, before[probe] == after[probe] || !asks_a_host(&after[probe]));
        }
        let asks = HOOKS.iter().any(|hook| asks_a_host(&after["lifecycle"][hook]));
        expect_same("lifecycle", before["lifecycle"] == after["lifecycle"] || !asks);
    }
    changed
}

/// The names in two objects, behind `place`, whose values differ and that are not free.
fn differing(place: &str, before: &Value, after: &Value, is_free: impl Fn(&str) -> bool) -> Vec<String> {
    let names =
        |value: &Value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut all: Vec<String> = names(before);
    let of_after: Vec<String> = names(after);
    all.extend(of_after);
    all.sort_unstable();
    all.dedup();
    let differs = |name: &String| before[name] != after[name] && !is_free(name);
    all.into_iter().filter(differs).map(|name| format!("{place}{name}")).collect()
}

fn kept_volumes(pod: &Value) -> Vec<&Value> {
    items(&pod["volumes"]).iter().filter(|volume| !is_free_volume(volume)).collect()
}

fn is_free_volume(volume: &Value) -> bool {
    FREE_VOLUMES.iter().any(|kind| !volume[kind].is_null())
}

fn freely_mounted(pod: &Value) -> Vec<&Value> {
    items(&pod["volumes"])
        .iter()
        .filter(|volume| is_free_volume(volume))
        .map(|volume| &volume["name"])
        .collect()
}

fn kept_mounts<'a>(container: &'a Value, free: &[&Value]) -> Vec<&'a Value> {
    items(&container["volumeMounts"]).iter().filter(|mount| !free.contains(&&mount["name"])).collect()
}

fn host_ports(container: &Value) -> Vec<&Value> {
    let of_host = |port: &&Value| !port["hostPort"].is_null() || !port["hostIP"].is_null();
    items(&container["ports"]).iter().filter(of_host).collect()
}

/// Whether a probe or hook has the kubelet ask another host, from the node's network.
fn asks_a_host(handler: &Value) -> bool {
    ["httpGet", "tcpSocket"].iter().any(|way| !handler[way]["host"].is_null())
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": { "labels": { "app": "web", "version": "2" }, "annotations": { "commit": "b" } },
            "spec": {
                "serviceAccountName": "web",
                "volumes": [
                    { "name": "config", "configMap": { "name": "web-2" } },
                    { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                ],
                "containers": [{
                    "name": "main", "image": "app:2", "ports": [{ "containerPort": 80 }],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data", "readOnly": true }],
                }],
            },
        })
    }

    fn after(pointer: &str, value: Value) -> Result<(), String> {
        let mut changed = template();
        match changed.pointer_mut(pointer) {
            Some(present) => *present = value,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                changed.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        template_within_bounds(&template(), &changed)
    }

    #[test]
    fn a_template_may_differ_in_what_releases_change() {
        assert_eq!(template_within_bounds(&template(), &template()), Ok(()));
        for (pointer, value) in [
            ("/spec/containers/0/image", json!("app:1")),
            ("/spec/containers/0/env", json!([{ "name": "A", "value": "b" }])),
            ("/spec/containers/0/ports", json!([{ "containerPort": 81 }])),
            ("/spec/containers/0/livenessProbe", json!({ "httpGet": { "port": 80 } })),
            ("/spec/volumes/0/configMap", json!({ "name": "web-1" })),
            ("/metadata/labels/version", json!("1")),
            ("/metadata/annotations", json!({ "checksum/config": "1" })),
            ("/metadata/annotations", Value::Null),
        ] {
            assert_eq!(after(pointer, value), Ok(()), "{pointer}");
        }
    }

    #[test]
    fn a_template_that_gives_its_pods_other_rights_is_out_of_bounds_and_named() {
        for (pointer, value, said) in [
            ("/spec/serviceAccountName", json!("admin"), "spec.serviceAccountName"),
            ("/spec/hostNetwork", json!(true), "spec.hostNetwork"),
            ("/spec/somethingNew", json!(1), "spec.somethingNew"),
            ("/somethingNew", json!(1), "somethingNew"),
            ("/metadata/labels/app", json!("shop"), "metadata.labels.app"),
            ("/metadata/annotations", json!({ "x.io/y": "1" }), "metadata.annotations.x.io/y"),
            ("/spec/containers/0/name", json!("other"), "the set of spec.containers"),
            ("/spec/initContainers", json!([{ "name": "a" }]), "the set of spec.initContainers"),
            ("/spec/containers/0/securityContext", json!({}), "spec.containers.main.securityContext"),
            ("/spec/containers/0/ports", json!([{ "hostPort": 1 }]), "spec.containers.main.ports"),
            ("/spec/containers/0/volumeMounts", json!([]), "spec.containers.main.volumeMounts"),
            (
                "/spec/containers/0/livenessProbe",
                json!({ "tcpSocket": { "host": "a", "port": 1 } }),
                "spec.containers.main.livenessProbe",
            ),
            (
                "/spec/containers/0/lifecycle",
                json!({ "preStop": { "httpGet": { "host": "a" } } }),
                "spec.containers.main.lifecycle",
            ),
            ("/spec/volumes/0", json!({ "name": "config", "hostPath": { "path": "/" } }), "spec.volumes"),
            ("/spec/volumes/1/persistentVolumeClaim", json!({ "claimName": "other" }), "spec.volumes"),
        ] {
            assert_eq!(after(pointer, value).unwrap_err(), said, "{pointer}");
        }
    }
}
