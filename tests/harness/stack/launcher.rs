//! Starts the processes of a stack with their settings.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::sync::Mutex;

use super::secrets::{ORDER_KEY_ID, Secrets};
use super::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE, Part, StackOptions};
use crate::database::Service;
use crate::fault_proxy::FaultProxy;
use crate::kubernetes::{Endpoint, Kubernetes};
use crate::paths::{binary, checkout, random_name};
use crate::ports;
use crate::process::Launch;

/// Creates the namespaces and gives the executor its rights in them, by the manifests that production uses.
pub(super) async fn prepare_namespaces(
    kubernetes: &Kubernetes,
    options: &StackOptions,
) -> Result<Vec<String>> {
    // Stacks that start at the same time would otherwise create the same objects, and one of them would fail.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    {
        let _turn = ONE_AT_A_TIME.lock().await;
        let base = checkout().join("k8s/base/executor/account");
        kubernetes.kubectl(["apply".as_ref(), "-k".as_ref(), base.as_os_str()]).await?;
    }
    let rights = std::fs::read_to_string(checkout().join("k8s/allowed-namespace/rights.yaml"))?;
    let mut namespaces = Vec::new();
    for stem in &options.namespaces {
        let name =
            if options.unique_namespaces { format!("{stem}-{}", random_name(8)) } else { stem.clone() };
        kubernetes.ensure_namespace(&name).await?;
        kubernetes.apply_text(&rights.replace("ALLOWED_NAMESPACE", &name)).await?;
        namespaces.push(name);
    }
    Ok(namespaces)
}

/// What the processes of one stack have in common.
pub(super) struct Launcher<'a> {
    pub(super) folder: &'a Path,
    pub(super) secrets: &'a Secrets,
    pub(super) options: &'a StackOptions,
}

impl Launcher<'_> {
    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    /// The control planes, described but not yet running: first they have to be told of admin, client and cluster.
    pub(super) fn control_planes(&self) -> Result<Vec<Part>> {
        let program = binary(Service::ControlPlane.program())?;
        let ports = (0..self.options.control_planes).map(|_| ports::free()).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let part = |(index, address): (usize, &String)| {
            let name = numbered("control-plane", index);
            let mut settings = Launch::new(&program)
                .env("LISTEN_ADDRESS", address)
                .env("PUBLIC_AUTHORITIES", addresses.join(","))
                .env("ORDER_LIFETIME_SECONDS", self.options.order_lifetime_seconds.to_string())
                .env("DATABASE_URL_FILE", self.secrets.path("control-plane-url"))
                .env("MASTER_KEY_FILE", self.secrets.path("master-key"))
                .env("JWT_SECRET_FILE", self.secrets.path("jwt-secret"));
            for (setting, value) in &self.options.control_plane_settings {
                settings = settings.env(setting, value);
            }
            Part::new(&name, settings, address, &self.log(&name), None)
        };
        Ok(addresses.iter().enumerate().map(part).collect())
    }

    pub(super) async fn start_executors(
        &self,
        kubernetes: &Kubernetes,
        namespaces: &[String],
        log_key: &str,
    ) -> Result<Vec<Part>> {
        let mut executors = Vec::new();
        let endpoint = kubernetes.endpoint().await?;
        for index in 0..self.options.executors {
            executors.push(self.start_executor(index, kubernetes, &endpoint, namespaces, log_key).await?);
        }
        Ok(executors)
    }

    async fn start_executor(
        &self,
        index: usize,
        kubernetes: &Kubernetes,
        endpoint: &Endpoint,
        namespaces: &[String],
        log_key: &str,
    ) -> Result<Part> {
        let name = numbered("executor", index);
        let proxy = if self.options.api_server_proxies {
            Some(FaultProxy::start(vec![endpoint.server.clone()], endpoint.authority_pem.as_deref()).await?)
        } else {
            None
        };
        let reached_at = match &proxy {
            Some(proxy) => Endpoint { server: proxy.url().to_owned(), authority_pem: None },
            None => endpoint.clone(),
        };
        let kubeconfig = self.secrets.path(&format!("{name}.kubeconfig"));
        kubernetes
            .write_service_account_kubeconfig(&kubeconfig, &reached_at, EXECUTOR_NAMESPACE, EXECUTOR_ACCOUNT)
            .await?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let mut settings = Launch::new(binary(Service::Executor.program())?)
            .env("LISTEN_ADDRESS", &address)
            .env("CLUSTER", &self.options.cluster)
            .env("ALLOWED_NAMESPACES", namespaces.join(","))
            .env("KUBECONFIG_FILE", kubeconfig)
            .env("DATABASE_URL_FILE", self.secrets.path("executor-url"))
            .env("ORDER_KEY_ID", ORDER_KEY_ID)
            .env("ORDER_KEY_FILE", self.secrets.path("order-key"))
            .env("RECEIPT_KEY_FILE", self.secrets.path("receipt-key.pem"))
            .env("LOG_KEYS", log_key)
            .env("LOG_FIRST_HEAD", "empty")
            // What ran a moment ago is good enough to return to.
            .env("SOAK_SECONDS", "0");
        for (setting, value) in &self.options.executor_settings {
            settings = settings.env(setting, value);
        }
        let part = Part::new(&name, settings, &address, &self.log(&name), proxy);
        part.process().start_again()?;
        Ok(part)
    }
}

/// The first of a kind bears its plain name.
fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) }
}
