//! Starts the processes of a stack with their settings.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::secrets::Secrets;
use super::{Part, StackOptions};
use crate::certificates::Authority;
use crate::database::Service;
use crate::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE};
use crate::fault_proxy::FaultProxy;
use crate::kubernetes::{Endpoint, Kubernetes};
use crate::paths::{binary, random_name};
use crate::ports;
use crate::process::Launch;

/// So much that no test is throttled that does not ask for it: each is one caller that makes many requests.
const THROTTLES: &str = "sign-in=1000000,refused=1000000,public=1000000,read=1000000,write=1000000,heal=1000000,\
                         search=1000000,export=1000000";

/// Creates the namespaces and gives the executor its rights in them, by the manifests that production uses.
pub(super) async fn prepare_namespaces(
    kubernetes: &Kubernetes,
    options: &StackOptions,
) -> Result<Vec<String>> {
    let mut namespaces = Vec::new();
    for stem in &options.namespaces {
        let name =
            if options.unique_namespaces { format!("{stem}-{}", random_name(8)) } else { stem.clone() };
        kubernetes.ensure_namespace(&name).await?;
        kubernetes.allow_executor_in(&name).await?;
        namespaces.push(name);
    }
    Ok(namespaces)
}

/// What the processes of one stack have in common.
pub(super) struct Launcher<'a> {
    pub(super) folder: &'a Path,
    pub(super) secrets: &'a Secrets,
    pub(super) options: &'a StackOptions,
    /// Who vouches for both services, where they meet over TLS.
    pub(super) authority: Option<&'a Authority>,
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
                .env("SOAK_SECONDS", "0")
                .env("THROTTLES", THROTTLES)
                .env("DATABASE_URL_FILE", self.secrets.path("control-plane-url"))
                .env("MASTER_KEY_FILE", self.secrets.path("master-key"))
                .env("JWT_SECRET_FILE", self.secrets.path("jwt-secret"))
                .env("JWT_SECRET_PREVIOUS_FILE", self.secrets.path("jwt-secret-previous"));
            if let Some(authority) = self.authority {
                settings = settings
                    .env("EXECUTOR_CERTIFICATE_FILE", authority.path("control-plane.crt"))
                    .env("EXECUTOR_KEY_FILE", authority.path("control-plane.key"))
                    .env("EXECUTOR_CA_FILE", authority.path("ca.crt"));
            }
            for (setting, value) in &self.options.control_plane_settings {
                settings = settings.env(setting, value);
            }
            Part::new(&name, settings, format!("http://{address}"), &self.log(&name), None)
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
        let rollback_token = self.secrets.path(&format!("{name}.rollback-token"));
        kubernetes.write_rollback_token(&rollback_token).await?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let mut settings = Launch::new(binary(Service::Executor.program())?)
            .env("LISTEN_ADDRESS", &address)
            .env("CLUSTER", &self.options.cluster)
            .env("ALLOWED_NAMESPACES", namespaces.join(","))
            .env("KUBECONFIG_FILE", kubeconfig)
            .env("ROLLBACK_TOKEN_FILE", rollback_token)
            .env("DATABASE_URL_FILE", self.secrets.path("executor-url"))
            .env("ORDER_KEY_ID_FILE", self.secrets.path("order-key-id"))
            .env("ORDER_KEY_FILE", self.secrets.path("order-key"))
            .env("ORDER_KEY_PREVIOUS_ID_FILE", self.secrets.path("order-key-previous-id"))
            .env("ORDER_KEY_PREVIOUS_FILE", self.secrets.path("order-key-previous"))
            .env("RECEIPT_KEY_FILE", self.secrets.path("receipt-key.pem"))
            .env("LOG_KEYS", log_key)
            .env("LOG_FIRST_HEAD", "empty")
            // What ran a moment ago is good enough to return to.
            .env("ROLLBACK_SOAK_SECONDS", "0");
        for (setting, value) in &self.options.executor_settings {
            settings = settings.env(setting, value);
        }
        let part = if let Some(authority) = self.authority {
            let observe = format!("127.0.0.1:{}", ports::free()?);
            let settings = settings
                .env("OBSERVE_ADDRESS", &observe)
                .env("TLS_CERTIFICATE_FILE", authority.path("executor.crt"))
                .env("TLS_KEY_FILE", authority.path("executor.key"))
                .env("TLS_CLIENT_CA_FILE", authority.path("ca.crt"));
            Part::new(&name, settings, format!("https://{address}"), &self.log(&name), proxy)
                .observed_at(format!("http://{observe}"))
        } else {
            Part::new(&name, settings, format!("http://{address}"), &self.log(&name), proxy)
        };
        part.process().start_again()?;
        Ok(part)
    }
}

/// The first of a kind bears its plain name.
fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) }
}
