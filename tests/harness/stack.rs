//! A whole Aegis: control planes and executors as the real binaries, each service with its own database and role,
//! registered with each other by the commands of the control plane's binary.
//!
//! A stack has namespaces, databases and ports of its own, so many stacks share one cluster and one PostgreSQL
//! server. Secrets go into files; none is on a command line. The executor signs in with its own service account's
//! token and never with more rights; rollbacks it writes under an account of their own.

mod launcher;
mod part;
mod register;
mod secrets;

use std::path::PathBuf;
use std::sync::Arc;

use aegis_contract::peer::Peer;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::callers::Caller;
use crate::certificates::{Authority, End};
use crate::cluster::Cluster;
use crate::database::{Database, Server, Service};
use crate::fault_proxy::FaultProxy;
use crate::kubernetes::Kubernetes;
use crate::paths::{RunFolder, create_private};
use crate::progress;

use self::launcher::{Launcher, prepare_namespaces};
pub use self::part::Part;
pub use self::register::sign_in;
use self::register::{create_client, create_user, log_key, register};
use self::secrets::Secrets;

/// How a stack is to be made.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Control-plane replicas over one database.
    pub control_planes: usize,
    /// Executor replicas over one ledger.
    pub executors: usize,
    /// Namespaces the executor may act in. Created when absent.
    pub namespaces: Vec<String>,
    /// Whether each namespace gets a random end, so that stacks can share a cluster.
    pub unique_namespaces: bool,
    /// The cluster's name in targets and policies.
    pub cluster: String,
    /// How long an order may wait to be acted on.
    pub order_lifetime_seconds: u32,
    /// Whether a fault proxy stands between each executor and the API server.
    pub api_server_proxies: bool,
    /// Whether a fault proxy stands between the control planes and the executors; always so with several executors.
    pub order_proxy: bool,
    /// Whether control planes and executors meet over mutual TLS; not with a proxy between them.
    pub mutual_tls: bool,
    /// Additional settings of every control plane.
    pub control_plane_settings: Vec<(String, String)>,
    /// Additional settings of every executor, such as `DANGEROUS_ALLOW_SYSTEM_NAMESPACES`.
    pub executor_settings: Vec<(String, String)>,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            control_planes: 1,
            executors: 1,
            namespaces: vec!["shop".to_owned()],
            unique_namespaces: true,
            cluster: "local".to_owned(),
            order_lifetime_seconds: 3,
            api_server_proxies: false,
            order_proxy: false,
            mutual_tls: false,
            control_plane_settings: Vec::new(),
            executor_settings: Vec::new(),
        }
    }
}

/// A client that signs its requests.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// Such as `client:demo-bot`.
    pub principal: String,
    /// The id of its key.
    pub key_id: String,
    /// The key, in standard base64.
    pub secret: String,
}

/// Somebody who can sign in.
#[derive(Clone, Debug)]
pub struct RegisteredUser {
    /// The email to sign in with.
    pub email: String,
    /// The password.
    pub password: String,
    /// A token of 15 minutes.
    pub access_token: String,
}

/// A running stack. Its processes end with it.
#[derive(Debug)]
pub struct Stack {
    control_planes: Vec<Part>,
    executors: Vec<Part>,
    orders: Option<FaultProxy>,
    kubernetes: Kubernetes,
    cluster: Option<Arc<Cluster>>,
    server: Arc<Server>,
    control_plane_database: Database,
    executor_database: Database,
    namespaces: Vec<String>,
    cluster_name: String,
    secrets: Secrets,
    authority: Option<Authority>,
    admin: RegisteredUser,
    client: RegisteredClient,
    folder: RunFolder,
}

impl Stack {
    /// Starts a stack on the cluster and the database server that the tests of one process share.
    pub async fn start(options: StackOptions) -> Result<Self> {
        Self::start_on(Cluster::shared().await?, Server::shared().await?, options).await
    }

    /// Starts a stack on a cluster and a database server of its own.
    pub async fn start_on(
        cluster: impl Into<Arc<Cluster>>,
        server: impl Into<Arc<Server>>,
        options: StackOptions,
    ) -> Result<Self> {
        let cluster = cluster.into();
        let kubernetes = Kubernetes::clone(&cluster);
        Self::start_with(kubernetes, Some(cluster), server.into(), options).await
    }

    /// Starts a stack on any cluster.
    pub async fn start_with(
        kubernetes: Kubernetes,
        cluster: Option<Arc<Cluster>>,
        server: Arc<Server>,
        options: StackOptions,
    ) -> Result<Self> {
        let control_plane_database = server.fresh(Service::ControlPlane).await?;
        let executor_database = server.fresh(Service::Executor).await?;
        let step = progress::step("starting control plane and executor");
        let folder = RunFolder::create("stack")?;
        create_private(&folder.path().join("log"))?;
        let secrets = Secrets::generate(&folder.path().join("secrets"))?;
        secrets.write("control-plane-url", &control_plane_database.url)?;
        secrets.write("executor-url", &executor_database.url)?;

        if cluster.is_none() {
            kubernetes.install_executor_accounts().await?;
        }
        let namespaces = prepare_namespaces(&kubernetes, &options).await?;
        let authority = options.mutual_tls.then(|| authority(&folder, &options.cluster)).transpose()?;
        let launcher = Launcher {
            folder: folder.path(),
            secrets: &secrets,
            options: &options,
            authority: authority.as_ref(),
        };
        let control_planes = launcher.control_planes()?;
        let log_key = log_key(&control_planes[0]).await?;
        let executors = launcher.start_executors(&kubernetes, &namespaces, &log_key).await?;
        let executor_urls: Vec<_> = executors.iter().map(|part| part.url().to_owned()).collect();
        let orders = if options.order_proxy || options.executors > 1 {
            Some(FaultProxy::start(executor_urls.clone(), None).await?)
        } else {
            None
        };
        let executor_url = orders.as_ref().map_or(&*executor_urls[0], FaultProxy::url);
        let (admin, client) = register(&control_planes[0], &secrets, &options.cluster, executor_url).await?;
        for part in control_planes.iter() {
            part.process().start_again()?;
        }
        for part in executors.iter().chain(&control_planes) {
            part.wait_until_ready().await?;
        }
        let access_token = sign_in(control_planes[0].url(), &admin.email, &admin.password).await?;
        let admin = RegisteredUser { access_token, ..admin };
        step.done();
        Ok(Self {
            control_planes,
            executors,
            orders,
            kubernetes,
            cluster,
            server,
            control_plane_database,
            executor_database,
            namespaces,
            cluster_name: options.cluster.clone(),
            secrets,
            authority,
            admin,
            client,
            folder,
        })
    }

    /// One control plane, counted from 0.
    #[must_use]
    pub fn control_plane(&self, index: usize) -> &Part {
        &self.control_planes[index]
    }

    /// All control planes.
    #[must_use]
    pub fn control_planes(&self) -> &[Part] {
        &self.control_planes
    }

    /// One executor, counted from 0.
    #[must_use]
    pub fn executor(&self, index: usize) -> &Part {
        &self.executors[index]
    }

    /// All executors.
    #[must_use]
    pub fn executors(&self) -> &[Part] {
        &self.executors
    }

    /// The proxy between control planes and executors; an error if the options asked for none.
    pub fn orders(&self) -> Result<&FaultProxy> {
        self.orders.as_ref().context("start the stack with `order_proxy`")
    }

    /// Access to the cluster with all rights, for the test itself.
    #[must_use]
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The test bed's cluster; an error if the stack runs on another.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_deref().context("the stack does not run on the test bed")
    }

    /// The database server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The control plane's database.
    #[must_use]
    pub fn control_plane_database(&self) -> &Database {
        &self.control_plane_database
    }

    /// The executor's database.
    #[must_use]
    pub fn executor_database(&self) -> &Database {
        &self.executor_database
    }

    /// The first namespace the executor may act in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespaces[0]
    }

    /// All namespaces the executor may act in.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The cluster's name in targets and policies.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// The folder with one log per process.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The file of one of its secrets, such as `jwt-secret`: what the processes read, again and again.
    #[must_use]
    pub fn secret_file(&self, name: &str) -> PathBuf {
        self.secrets.path(name)
    }

    /// Who vouches for control planes and executors; an error if the options asked for no TLS between them. They read
    /// `control-plane.crt`, `executor.crt`, their keys, and `ca.crt`.
    pub fn authority(&self) -> Result<&Authority> {
        self.authority.as_ref().context("start the stack with `mutual_tls`")
    }

    /// The key that the control plane signs this cluster's orders with: its id and its bytes.
    pub fn order_key(&self) -> Result<(&'static str, Vec<u8>)> {
        Ok((secrets::ORDER_KEY_ID, self.secrets.bytes("order-key")?))
    }

    /// The control planes' master key, in base64.
    pub fn master_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.secrets.path("master-key"))?)
    }

    /// What the control planes sign access tokens with.
    pub fn token_secret(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.secrets.path("jwt-secret"))?)
    }

    /// The public half of the key that the executors sign receipts with, as PEM.
    pub fn receipt_public_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.secrets.path("receipt-key.pub"))?)
    }

    /// The first admin.
    #[must_use]
    pub fn admin_user(&self) -> &RegisteredUser {
        &self.admin
    }

    /// The first client.
    #[must_use]
    pub fn registered_client(&self) -> &RegisteredClient {
        &self.client
    }

    /// Nobody.
    pub fn anonymous(&self) -> Result<Caller> {
        Caller::anonymous(self.control_planes[0].url())
    }

    /// The first admin, signed in.
    pub fn admin(&self) -> Result<Caller> {
        Caller::person(self.control_planes[0].url(), &self.admin.access_token)
    }

    /// The first client.
    pub fn client(&self) -> Result<Caller> {
        self.caller_of(&self.client)
    }

    /// A further client.
    pub async fn new_client(&self, name: &str, owner_email: &str) -> Result<RegisteredClient> {
        create_client(&self.control_planes[0], name, owner_email).await
    }

    /// The caller that signs as a client.
    pub fn caller_of(&self, client: &RegisteredClient) -> Result<Caller> {
        Caller::client(self.control_planes[0].url(), &client.key_id, &client.secret)
    }

    /// A further person with these roles, signed in.
    pub async fn new_person(&self, name: &str, roles: &[&str]) -> Result<Caller> {
        Caller::person(self.control_planes[0].url(), &self.new_person_token(name, roles).await?)
    }

    /// The same, not signed in yet.
    pub async fn new_user(&self, name: &str, roles: &[&str]) -> Result<RegisteredUser> {
        create_user(&self.control_planes[0], &self.secrets, &format!("{name}@example.com"), roles).await
    }

    /// The same, for programs that want their access token.
    pub async fn new_person_token(&self, name: &str, roles: &[&str]) -> Result<String> {
        let user = self.new_user(name, roles).await?;
        sign_in(self.control_planes[0].url(), &user.email, &user.password).await
    }

    /// Runs a command of the control plane's binary, with the settings of the first replica; returns what it printed.
    pub async fn command<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        self.control_planes[0].command(args).await
    }

    /// Activates a policy that allows everybody everything, for tests that are not about policy.
    pub async fn allow_everything(&self) -> Result<()> {
        let rule =
            json!({ "id": "everything", "effect": "ALLOW", "reason": "this test is not about policy" });
        let policy = json!({
            "schema": "aegis.policy/v1", "name": "allow-everything", "description": "Everybody may do everything.",
            "rules": [rule],
        });
        self.admin()?.activate_policy(&policy).await
    }

    /// The body that asks for an action on a workload of the first namespace.
    #[must_use]
    pub fn action(&self, action: &str, kind: &str, name: &str, params: &Value) -> Value {
        json!({
            "type": action,
            "target": {
                "cluster": self.cluster_name, "namespace": self.namespace(), "kind": kind, "name": name,
            },
            "params": params,
            "reason": "a test asks for it",
        })
    }
}

/// An authority that vouches for one control plane and for the executor of one cluster.
fn authority(folder: &RunFolder, cluster: &str) -> Result<Authority> {
    let authority = Authority::create(&folder.path().join("tls"))?;
    authority.issue_service("control-plane", &Peer::ControlPlane.to_string(), End::Client)?;
    let executor = Peer::Executor { cluster: cluster.to_owned() };
    authority.issue_service("executor", &executor.to_string(), End::Server)?;
    Ok(authority)
}
