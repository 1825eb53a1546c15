//! A real Kubernetes control plane on the loopback address, with nodes and pods simulated by kwok.
//!
//! Everything above the kubelet is the real thing. How a pod behaves is chosen by its image tag or an annotation:
//! see the head of `tests/testbed/stages.yaml`.

mod plan;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::eventually::until;
use crate::kube_audit::KubeAudit;
use crate::kubernetes::Kubernetes;
use crate::paths::RunFolder;
use crate::process::Process;
use crate::programs::{Programs, testbed};
use crate::progress;
use crate::workload::is_ready;

use self::plan::Plan;

/// The API server answers in a few seconds; a busy machine is given much more before the test fails.
const START_WITHIN: Duration = Duration::from_secs(90);

/// The processes of a cluster, by the names of their programs.
pub const COMPONENTS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/// How a cluster is to be made.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Simulated nodes.
    pub nodes: usize,
    /// Whether etcd writes through to the disk: off for tests, on for benchmarks.
    pub fsync: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, fsync: false }
    }
}

/// A running cluster. Its processes end with it, and with the process that owns it.
#[derive(Debug)]
pub struct Cluster {
    processes: BTreeMap<&'static str, Process>,
    access: Kubernetes,
    folder: RunFolder,
}

impl Deref for Cluster {
    type Target = Kubernetes;

    fn deref(&self) -> &Kubernetes {
        &self.access
    }
}

impl Cluster {
    /// The cluster that the tests of one process share. A test that breaks a cluster starts its own.
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceCell<Arc<Cluster>> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(async || anyhow::Ok(Arc::new(Self::start(ClusterOptions::default()).await?)));
        let shared = shared.await?.clone();
        shared.ensure_healthy().await?;
        Ok(shared)
    }

    /// Fails with the ends of the logs unless the API server answers from etcd: a cluster that broke on the way
    /// would fail every later test in ways that do not name the cause.
    async fn ensure_healthy(&self) -> Result<()> {
        self.processes.values().try_for_each(Process::ensure_running)?;
        let answer = tokio::time::timeout(START_WITHIN, self.read("/api/v1/namespaces/default")).await;
        answer.map_err(anyhow::Error::from).flatten().map(drop).with_context(|| {
            let tail = |(name, process): (&&str, &Process)| format!("{name}:\n{}", process.log_tail(15));
            let logs: Vec<_> = self.processes.iter().map(tail).collect();
            format!("the shared cluster is broken; the ends of its logs:\n{}", logs.join("\n"))
        })
    }

    /// Starts a cluster and returns when its nodes are Ready and pods can be created. The executor's accounts and the
    /// admission policies that bound them are in every cluster.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let programs = Programs::ready().await?;
        let step = progress::step(format!("starting a Kubernetes cluster with {} nodes", options.nodes));
        let plan = Plan::make(&programs, &options)?;
        let kubectl = programs.path("kubectl");
        let access = Kubernetes::new(kubectl, plan.kubeconfig("admin"), plan.folder.path().to_owned());
        let mut cluster = Self { processes: BTreeMap::new(), access, folder: plan.folder };
        for (name, launch) in plan.launches {
            let log = cluster.logs().join(format!("{name}.log"));
            if name == "kube-controller-manager" {
                cluster.wait_for_api_server().await?;
            }
            if name == "kwok" {
                cluster.apply_file(&testbed().join("crds.yaml")).await?;
                cluster
                    .kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])
                    .await?;
                cluster.apply(&nodes(options.nodes)).await?;
            }
            cluster.processes.insert(name, Process::start(name, launch, &log)?);
        }
        cluster.wait_for_nodes(options.nodes).await?;
        until("the default service account", START_WITHIN, async || {
            Ok(cluster.get("default", "serviceaccount/default").await.is_ok())
        })
        .await?;
        cluster.install_executor_accounts().await?;
        step.done();
        Ok(cluster)
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit(&self) -> KubeAudit {
        KubeAudit::new(&self.logs().join("audit.jsonl"))
    }

    /// The folder with one log per component.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A folder for what a test wants to lay beside the cluster, such as pod log files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn apply_file(&self, path: &Path) -> Result<()> {
        self.apply_text(&std::fs::read_to_string(path)?).await
    }

    /// One component's process, by the name of its program.
    pub fn component(&self, name: &str) -> Result<&Process> {
        self.processes.get(name).with_context(|| format!("a cluster has no {name}; it has {COMPONENTS:?}"))
    }

    /// Kills a component and starts it again on its old data; returns when the API server answers.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let process = self.component(name)?;
        process.kill()?;
        if name == "kwok" {
            // A new kwok is a new lease holder and touches nothing until its predecessor's leases run out.
            self.kubectl(["-n", "kube-node-lease", "delete", "lease", "--all"]).await?;
        }
        process.start_again()?;
        self.wait_for_api_server().await
    }

    /// Ends all components, the last started first.
    pub async fn terminate(&self) -> Result<()> {
        for name in COMPONENTS.iter().rev() {
            if let Some(process) = self.processes.get(name) {
                process.terminate(Duration::from_secs(5)).await?;
            }
        }
        Ok(())
    }

    /// Waits until the API server says that it is ready.
    pub async fn wait_for_api_server(&self) -> Result<()> {
        until("the API server becoming ready", START_WITHIN, async || {
            self.processes.values().try_for_each(Process::ensure_running)?;
            Ok(self.read("/readyz").await? == "ok")
        })
        .await
    }

    async fn wait_for_nodes(&self, count: usize) -> Result<()> {
        until("the nodes becoming Ready", START_WITHIN, async || {
            self.processes.values().try_for_each(Process::ensure_running)?;
            let nodes: Value = serde_json::from_str(&self.read("/api/v1/nodes").await?)?;
            let nodes = nodes["items"].as_array().context("no list of nodes")?;
            Ok(nodes.iter().filter(|node| is_ready(node)).count() == count)
        })
        .await
    }
}

fn nodes(count: usize) -> Value {
    let node = |index: usize| {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("node-{index}"), "labels": {
            "kubernetes.io/hostname": format!("node-{index}"),
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", index % 3),
        } } })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": (0..count).map(node).collect::<Vec<_>>() })
}
