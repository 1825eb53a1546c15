//! What the accounts are meant to change, and what nobody can change: the only places where fields are listed.

/// What a rollback may change of containers, with everything in it.
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
const FREE_IN_POD: [&str; 2] = ["resources", "terminationGracePeriodSeconds"];
const FREE_VOLUMES: [&str; 4] = ["configMap", "downwardAPI", "emptyDir", "secret"];

/// Whether a rollback is meant to change a field.
pub(super) fn is_free_for_rollbacks(pointer: &str) -> bool {
    let Some(pod) = pointer.strip_prefix("/spec/template/spec/") else {
        // Annotations and labels are, by name; the edits give them names that are not free.
        return false;
    };
    let first = pod.split('/').next().unwrap_or_default();
    if FREE_IN_POD.contains(&first) {
        return true;
    }
    let in_container = ["containers/0/", "initContainers/0/"].iter().find_map(|list| pod.strip_prefix(list));
    if let Some(field) = in_container {
        let name = field.split('/').next().unwrap_or_default();
        // The kubelet would ask other hosts, or take ports of its own.
        let reaches_the_host = ["/httpGet/host", "/tcpSocket/host", "ports/0/hostPort", "ports/0/hostIP"];
        return FREE_IN_CONTAINER.contains(&name) && !reaches_the_host.iter().any(|end| field.ends_with(end));
    }
    match pod.strip_prefix("volumes/0/") {
        // The name of the first volume, which is a config map's.
        Some("name") => true,
        Some(field) => FREE_VOLUMES.contains(&field.split('/').next().unwrap_or_default()),
        None => pod == "volumes",
    }
}

/// Whether a field is one that the API server itself lets nobody change, the admin included.
pub(super) fn is_out_of_reach(kind: &str, pointer: &str) -> bool {
    const EVERYWHERE: [&str; 7] = [
        "/metadata/deletionGracePeriodSeconds",
        "/metadata/deletionTimestamp",
        "/metadata/name",
        "/spec/selector",
        // It has no value of its own: what is in it is edited.
        "/spec/template",
        "/spec/template/spec/activeDeadlineSeconds",
        "/spec/template/spec/ephemeralContainers",
    ];
    const OF_STATEFUL_SETS: [&str; 3] =
        ["/spec/podManagementPolicy", "/spec/serviceName", "/spec/volumeClaimTemplates"];
    EVERYWHERE.contains(&pointer) || (kind == "StatefulSet" && OF_STATEFUL_SETS.contains(&pointer))
}
