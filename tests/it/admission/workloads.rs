//! Workloads that have something of everything that policies look at.

use anyhow::Result;
use serde_json::{Value, json};

use super::Clients;

/// A workload as it stands in the cluster.
#[derive(Clone)]
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) object: Value,
}

/// Deploys one workload of each kind.
pub(super) async fn deploy(clients: &Clients) -> Result<Vec<Workload>> {
    let mut all = Vec::new();
    for (kind, plural) in
        [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")]
    {
        let manifest = manifest(kind);
        clients.cluster.apply_in(&clients.namespace, manifest).await?;
        let path = format!("/apis/apps/v1/namespaces/{}/{plural}/web", clients.namespace);
        // From then on the controller leaves all but the status alone.
        clients.cluster.wait_rolled_out(&clients.namespace, &format!("{}/web", kind.to_lowercase())).await?;
        let object = serde_json::from_str(&clients.cluster.read(&path).await?)?;
        all.push(Workload { kind, path, object });
    }
    Ok(all)
}

/// A workload of this kind.
pub(super) fn manifest(kind: &str) -> Value {
    let probe = json!({ "httpGet": { "port": 80, "path": "/" } });
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": "web", "labels": { "app": "web" }, "annotations": { "team": "shop" } },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": {
                    "labels": { "app": "web", "version": "2" },
                    "annotations": { "team": "shop", "example.com/injects": "no" },
                },
                "spec": {
                    "volumes": [
                        { "name": "config", "configMap": { "name": "web" } },
                        { "name": "scratch", "emptyDir": {} },
                        { "name": "host", "hostPath": { "path": "/var/lib/web" } },
                        { "name": "disk", "persistentVolumeClaim": { "claimName": "disk" } },
                    ],
                    "initContainers": [{
                        "name": "first", "image": "app:1", "restartPolicy": "Always",
                        "ports": [{ "containerPort": 81 }],
                    }],
                    "containers": [
                        {
                            "name": "main", "image": "app:1", "restartPolicy": "Always",
                            "env": [{ "name": "MODE", "value": "safe" }],
                            "ports": [{ "name": "http", "containerPort": 80 }],
                            "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe,
                            "lifecycle": { "preStop": { "exec": { "command": ["true"] } } },
                            "volumeMounts": [
                                { "name": "scratch", "mountPath": "/scratch" },
                                { "name": "host", "mountPath": "/host", "readOnly": true },
                            ],
                        },
                        { "name": "beside", "image": "app:1" },
                    ],
                },
            },
        },
    });
    // Nothing need run for a field to be edited.
    if kind == "DaemonSet" {
        manifest["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "none" });
    } else {
        manifest["spec"]["replicas"] = json!(0);
    }
    manifest
}
