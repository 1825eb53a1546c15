//! Access with all rights to a Kubernetes cluster: the test bed's, or one named by a kubeconfig file.
//! An ambient `KUBECONFIG` is never looked at.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::eventually::until;
use crate::paths::{random_name, write_private};
use crate::process::Launch;

/// What the cluster does by itself takes a second; a busy machine is given much more before the test fails.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The programs and files needed to reach a cluster.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// kubectl keeps what it discovered here rather than in the user's own home.
    home: PathBuf,
}

/// Where a cluster is and who vouches for it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The API server's base URL.
    pub server: String,
    /// The certificate of the authority that signed the server's; absent where the system's are trusted.
    pub authority_pem: Option<String>,
}

impl Kubernetes {
    /// Access by the given kubectl and kubeconfig; `home` is a folder kubectl may write to.
    #[must_use]
    pub fn new(kubectl: PathBuf, kubeconfig: PathBuf, home: PathBuf) -> Self {
        Self { kubectl, kubeconfig, home }
    }

    /// The kubeconfig, with all rights.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client with all rights. Each test makes its own: a client belongs to the runtime it was made in.
    pub async fn client(&self) -> Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// kubectl with all rights, not yet run.
    #[must_use]
    pub fn kubectl_launch(&self) -> Launch {
        Launch::new(&self.kubectl).env("HOME", &self.home).arg("--kubeconfig").arg(&self.kubeconfig)
    }

    /// Runs kubectl with all rights and returns what it printed.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        self.kubectl_launch().args(args).output().await
    }

    /// Reads a path of the API, such as `/readyz`. Cheaper than kubectl, so it may be asked again and again.
    pub async fn read(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.client().await?.request_text(request).await?)
    }

    /// One object as it stands, such as `deployment/web`.
    pub async fn get(&self, namespace: &str, object: &str) -> Result<Value> {
        let (kind, name) = object.split_once('/').context("an object is named KIND/NAME")?;
        let group = match kind {
            "deployment" | "statefulset" | "daemonset" | "replicaset" => "/apis/apps/v1",
            "poddisruptionbudget" => "/apis/policy/v1",
            _ => "/api/v1",
        };
        let text = self.read(&format!("{group}/namespaces/{namespace}/{kind}s/{name}")).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes an object of `apps/v1` what a manifest says, whether it is there or not. Cheaper than kubectl.
    pub async fn put(&self, namespace: &str, manifest: &Value) -> Result<()> {
        let kind = manifest["kind"].as_str().context("a manifest has a kind")?.to_lowercase();
        let name = manifest["metadata"]["name"].as_str().context("a manifest has a name")?;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}");
        let request = http::Request::patch(format!("{path}?fieldManager=test&force=true"))
            .header("content-type", "application/apply-patch+yaml")
            .body(manifest.to_string().into_bytes())?;
        self.client().await?.request_text(request).await?;
        Ok(())
    }

    /// Deletes an object of `apps/v1`, such as `deployment/web`; its pods follow.
    pub async fn remove(&self, namespace: &str, object: &str) -> Result<()> {
        let (kind, name) = object.split_once('/').context("an object is named KIND/NAME")?;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}");
        self.client().await?.request_text(http::Request::delete(path).body(Vec::new())?).await?;
        Ok(())
    }

    /// The objects of one kind (`pod`, `replicaset`, …) with the label `app`, oldest first, those being deleted included.
    pub async fn list(&self, namespace: &str, kind: &str, app: &str) -> Result<Vec<Value>> {
        let group = if kind == "pod" { "/api/v1" } else { "/apis/apps/v1" };
        let text =
            self.read(&format!("{group}/namespaces/{namespace}/{kind}s?labelSelector=app%3D{app}")).await?;
        let mut items = match serde_json::from_str::<Value>(&text)?["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        items.sort_by_key(|item| item["metadata"]["creationTimestamp"].to_string());
        Ok(items)
    }

    /// Deletes what keeps a revision of the Deployment whose label `app` is `app`.
    pub async fn drop_revision(&self, namespace: &str, app: &str, revision: u64) -> Result<()> {
        let revision = revision.to_string();
        let of = |set: &Value| {
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision.as_str()
        };
        let sets = self.list(namespace, "replicaset", app).await?;
        let name = sets.iter().find(|set| of(set)).and_then(|set| set["metadata"]["name"].as_str());
        let object = format!("replicaset/{}", name.context("there is no such revision")?);
        self.kubectl(["-n", namespace, "delete", &object]).await.map(drop)
    }

    /// Applies a manifest, or a list of them.
    pub async fn apply(&self, manifest: &Value) -> Result<()> {
        self.apply_text(&manifest.to_string()).await
    }

    /// Applies a manifest in a namespace.
    pub async fn apply_in(&self, namespace: &str, mut manifest: Value) -> Result<()> {
        manifest["metadata"]["namespace"] = json!(namespace);
        self.apply(&manifest).await
    }

    /// Applies YAML or JSON text.
    pub async fn apply_text(&self, manifest: &str) -> Result<()> {
        let launch = self.kubectl_launch().args(["apply", "-f", "-"]);
        let output = launch.output_with(manifest).await?;
        launch.expect_success(&output)?;
        Ok(())
    }

    /// Creates a namespace of its own for one test: the given name and a random end.
    pub async fn create_namespace(&self, stem: &str) -> Result<String> {
        let name = format!("{stem}-{}", random_name(8));
        self.ensure_namespace(&name).await?;
        Ok(name)
    }

    /// Creates a namespace if there is none of that name, and waits until pods can be made in it.
    pub async fn ensure_namespace(&self, name: &str) -> Result<()> {
        // One that exists keeps the labels somebody gave it.
        if self.read(&format!("/api/v1/namespaces/{name}")).await.is_err() {
            self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
                .await?;
        }
        until("the namespace's default service account", SETTLED_WITHIN, async || {
            Ok(self.get(name, "serviceaccount/default").await.is_ok())
        })
        .await
    }

    /// Where the cluster is.
    pub async fn endpoint(&self) -> Result<Endpoint> {
        let config: Value = serde_json::from_str(
            &self.kubectl(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]).await?,
        )?;
        let cluster = &config["clusters"][0]["cluster"];
        let authority = cluster["certificate-authority-data"].as_str().map(crate::certificates::decode_pem);
        Ok(Endpoint {
            server: cluster["server"].as_str().context("the kubeconfig names no server")?.to_owned(),
            authority_pem: authority.transpose()?,
        })
    }

    /// Writes a kubeconfig that signs in as a service account, with a token of its own.
    pub async fn write_service_account_kubeconfig(
        &self,
        path: &Path,
        endpoint: &Endpoint,
        namespace: &str,
        account: &str,
    ) -> Result<()> {
        let token = self.token(namespace, account).await?;
        let authority = endpoint.authority_pem.as_deref();
        let user = json!({ "token": token });
        write_private(path, crate::certificates::kubeconfig(&endpoint.server, authority, &user)?)
    }
}
