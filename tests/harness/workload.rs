//! Manifests of workloads to be healed, and how a test looks at them.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::eventually::eventually;
use crate::kubernetes::Kubernetes;

/// A rollout of simulated pods ends in a second or two; a busy machine is given much more.
const ROLLED_OUT_WITHIN: &str = "--timeout=90s";

/// A Deployment of one container. The image's tag says how its pods behave.
#[must_use]
pub fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    let mut manifest = workload("Deployment", name, image);
    manifest["spec"]["replicas"] = json!(replicas);
    manifest
}

/// A StatefulSet of one container.
#[must_use]
pub fn stateful_set(name: &str, image: &str, replicas: u32) -> Value {
    let mut manifest = workload("StatefulSet", name, image);
    manifest["spec"]["replicas"] = json!(replicas);
    manifest["spec"]["serviceName"] = json!(name);
    manifest
}

/// A DaemonSet of one container.
#[must_use]
pub fn daemon_set(name: &str, image: &str) -> Value {
    workload("DaemonSet", name, image)
}

/// Sets an annotation of the pods of a workload, such as `sim.aegis.dev/ready-after`.
#[must_use]
pub fn with_pod_annotation(mut manifest: Value, name: &str, value: &str) -> Value {
    manifest["spec"]["template"]["metadata"]["annotations"][name] = json!(value);
    manifest
}

fn workload(kind: &str, name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{
                    "name": "main",
                    "image": image,
                    "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
                }] },
            },
        },
    })
}

impl Kubernetes {
    /// The pods with the label `app`, oldest first, those being deleted included.
    pub async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        self.list(namespace, "pod", app).await
    }

    /// Waits until a rollout is complete.
    pub async fn wait_rolled_out(&self, namespace: &str, object: &str) -> Result<()> {
        self.kubectl(["-n", namespace, "rollout", "status", object, ROLLED_OUT_WITHIN]).await?;
        Ok(())
    }

    /// Waits until some pod of an app is as wanted, and returns it.
    pub async fn wait_for_pod(
        &self,
        namespace: &str,
        app: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(&format!("a pod of {app} that {what}"), Duration::from_secs(60), async || {
            Ok(self.pods(namespace, app).await?.into_iter().find(&wanted))
        })
        .await
    }
}

/// Whether the condition Ready of a pod, or of a node, is True.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(ready))
}

/// Why a pod's first container waits, if it does.
#[must_use]
pub fn waiting_reason(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

/// How often a pod's first container was restarted.
#[must_use]
pub fn restart_count(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}
