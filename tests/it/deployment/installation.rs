//! A cluster with both overlays applied, one after the other, as an operator would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::paths::checkout;
use aegis_tests::progress;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The overlays in the order they are applied.
pub(super) const OVERLAYS: [&str; 2] = ["single-cluster", "production"];
/// The namespace that the overlays allow.
pub(super) const ALLOWED: &str = "shop";
/// The namespaces of Aegis itself.
pub(super) const OWN_NAMESPACES: [&str; 2] = ["aegis-control-plane", "aegis-system"];

/// The objects of one overlay, as the API server stored them.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) name: &'static str,
    pub(super) objects: Vec<Value>,
}

/// A cluster of its own, because the overlays have fixed names.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) cluster: Cluster,
    pub(super) overlays: Vec<Overlay>,
    /// The executor of the last of them, to which `k8s/rollback` was added.
    pub(super) with_rollback: Overlay,
}

/// The folder of an overlay.
pub(super) fn folder(overlay: &str) -> PathBuf {
    checkout().join("k8s/overlays").join(overlay)
}

impl Installation {
    /// The one that the tests of this process share.
    pub(super) async fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceCell<Arc<Installation>> = OnceCell::const_new();
        Ok(SHARED.get_or_try_init(async || anyhow::Ok(Arc::new(Self::make().await?))).await?.clone())
    }

    async fn make() -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        // Somebody else's namespaces.
        for namespace in [ALLOWED, "bank"] {
            cluster.ensure_namespace(namespace).await?;
        }
        let mut overlays = Vec::new();
        for name in OVERLAYS {
            let step = progress::step(format!("applying the overlay {name}"));
            overlays.push(apply(&cluster, name, &folder(name)).await?);
            step.done();
        }
        let with_rollback = apply(&cluster, "with-rollback", &overlay_with_rollback()?).await?;
        Ok(Self { cluster, overlays, with_rollback })
    }

    /// All objects of one kind, of both overlays, with the name of theirs.
    pub(super) fn objects(&self, kind: &str) -> Vec<(&'static str, &Value)> {
        self.overlays
            .iter()
            .flat_map(|overlay| overlay.objects.iter().map(|object| (overlay.name, object)))
            .filter(|(_, object)| object["kind"] == kind)
            .collect()
    }
}

/// An overlay of somebody who wants rollbacks in the allowed namespace.
fn overlay_with_rollback() -> Result<PathBuf> {
    let top = checkout().join("target/k8s-with-rollback");
    std::fs::create_dir_all(top.join(ALLOWED))?;
    let write = |file: PathBuf, kustomization: Value| std::fs::write(file, kustomization.to_string());
    write(
        top.join("kustomization.yaml"),
        json!({
            "resources": ["../../k8s/overlays/production/executor", ALLOWED],
            "components": ["../../k8s/rollback"],
        }),
    )?;
    write(
        top.join(ALLOWED).join("kustomization.yaml"),
        json!({ "namespace": ALLOWED, "resources": ["../../../k8s/allowed-namespace/rollback"] }),
    )?;
    Ok(top)
}

/// Applies an overlay, and takes neither a refusal nor a warning, and waits until every replica runs.
async fn apply(cluster: &Cluster, name: &'static str, folder: &Path) -> Result<Overlay> {
    let strictly =
        ["apply", "--server-side", "--validate=strict", "--warnings-as-errors", "-o", "json", "-k"];
    let launch = cluster.kubectl_launch().args(strictly).arg(folder);
    let applied = launch.output().await.with_context(|| format!("the overlay {name} was not taken"))?;
    let mut list: Value = serde_json::from_str(&applied)?;
    let objects = match list["items"].take() {
        Value::Array(objects) => objects,
        _ => anyhow::bail!("the overlay {name} holds no objects"),
    };
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let metadata = &deployment["metadata"];
        let (namespace, object) =
            (text(&metadata["namespace"])?, format!("deployment/{}", text(&metadata["name"])?));
        // Pods that admission refuses would never be there.
        cluster.wait_rolled_out(namespace, &object).await?;
    }
    Ok(Overlay { name, objects })
}

/// A text in an object.
pub(super) fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("not a text: {value}"))
}

/// The items of a list in an object; none where there is no list.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The labels of an object or a selector.
pub(super) fn labels(value: &Value) -> BTreeMap<&str, &str> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}
