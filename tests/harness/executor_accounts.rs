//! The executor's accounts in a cluster, by the manifests that production uses, and their tokens.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kubernetes::Kubernetes;
use crate::paths::{checkout, write_private};

/// The namespace and service account of the executor, as `k8s/base/executor/account` names them.
pub const EXECUTOR_NAMESPACE: &str = "aegis-system";
/// The executor's service account.
pub const EXECUTOR_ACCOUNT: &str = "aegis-executor";
/// The executor's identity in the API server's audit log.
pub const EXECUTOR_USER: &str = "system:serviceaccount:aegis-system:aegis-executor";
/// The service account that writes rollbacks, as `k8s/rollback` names it.
pub const ROLLBACK_ACCOUNT: &str = "aegis-executor-rollback";
/// Its identity in the API server's audit log.
pub const ROLLBACK_USER: &str = "system:serviceaccount:aegis-system:aegis-executor-rollback";

impl Kubernetes {
    /// Installs both accounts of the executor, and the admission policies that bound them.
    pub async fn install_executor_accounts(&self) -> Result<()> {
        let k8s = checkout().join("k8s");
        for (flag, manifest) in [("-k", "base/executor/account"), ("-f", "rollback/account.yaml")] {
            let launch = self.kubectl_launch().args(["apply", "--server-side", "--force-conflicts", flag]);
            launch.arg(k8s.join(manifest)).output().await?;
        }
        Ok(())
    }

    /// Lets both accounts act in a namespace, where the executor may also set no replicas at all.
    pub async fn allow_executor_in(&self, namespace: &str) -> Result<()> {
        let folder = checkout().join("k8s/allowed-namespace");
        let read = |file: &str| std::fs::read_to_string(folder.join(file));
        let rights = [read("rights.yaml")?, read("rollback/rights.yaml")?].join("---\n");
        self.apply_text(&rights.replace("ALLOWED_NAMESPACE", namespace)).await?;
        let bounds = json!({ format!("replicas.aegis.dev/{namespace}"): "0-1000" });
        self.patch(
            &format!("/api/v1/namespaces/{EXECUTOR_NAMESPACE}/serviceaccounts/{EXECUTOR_ACCOUNT}"),
            &json!({ "metadata": { "annotations": bounds } }),
        )
        .await
    }

    async fn patch(&self, path: &str, merge: &Value) -> Result<()> {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(merge.to_string().into_bytes())?;
        self.client().await?.request_text(request).await?;
        Ok(())
    }

    /// A token of a service account, good for a day.
    pub async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let ask = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 86_400 },
        });
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(ask.to_string().into_bytes())?;
        let answer: Value = serde_json::from_str(&self.client().await?.request_text(request).await?)?;
        let token = answer["status"]["token"].as_str();
        Ok(token.with_context(|| format!("no token for {namespace}/{account}"))?.to_owned())
    }

    /// Writes a token of the account that writes rollbacks into a file.
    pub async fn write_rollback_token(&self, path: &Path) -> Result<()> {
        write_private(path, self.token(EXECUTOR_NAMESPACE, ROLLBACK_ACCOUNT).await?)
    }
}
