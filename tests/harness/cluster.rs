//! A real Kubernetes control plane on the loopback address, with nodes and pods simulated by kwok.
//!
//! Everything above the kubelet is the real thing. How a pod behaves is chosen by its image tag or an annotation:
//! see the head of `tests/testbed/stages.yaml`.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::certificates::Authority;
use crate::eventually::until;
use crate::kube_audit::KubeAudit;
use crate::kubernetes::Kubernetes;
use crate::paths::{RunFolder, create_private, write_private};
use crate::ports;
use crate::process::{Launch, Process};
use crate::programs::{Programs, testbed};
use crate::progress;
use crate::workload::is_ready;

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
        Ok(shared.await?.clone())
    }

    /// Starts a cluster and returns when its nodes are Ready and pods can be created.
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

/// Reads and what the cluster does to itself are left out: what remains is who changed what.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [
    { "level": "None", "users": ["kwok", "system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"] },
    { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
    { "level": "None", "verbs": ["get", "list", "watch"] },
    { "level": "Request" }
  ]
}"#;

/// Everything that is known before the first process starts.
struct Plan {
    folder: RunFolder,
    authority: Authority,
    ports: Ports,
    /// In the order in which they start.
    launches: Vec<(&'static str, Launch)>,
}

struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
    kubelet: u16,
}

impl Plan {
    fn make(programs: &Programs, options: &ClusterOptions) -> Result<Self> {
        let folder = RunFolder::create("cluster")?;
        for name in ["log", "etcd", "kwok"] {
            create_private(&folder.path().join(name))?;
        }
        let authority = Authority::create(&folder.path().join("pki"))?;
        let ports = Ports {
            api_server: ports::free()?,
            etcd: ports::free()?,
            etcd_peer: ports::free()?,
            kubelet: ports::free()?,
        };
        let mut plan = Self { folder, authority, ports, launches: Vec::new() };
        plan.write_identities()?;
        write_private(&plan.folder.path().join("audit-policy.json"), AUDIT_POLICY)?;
        plan.launches = vec![
            ("etcd", plan.etcd(programs, options.fsync)),
            ("kube-apiserver", plan.api_server(programs)),
            ("kube-controller-manager", plan.controller_manager(programs)),
            ("kube-scheduler", plan.scheduler(programs)),
            ("kwok", plan.kwok(programs)),
        ];
        Ok(plan)
    }

    fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.kubeconfig"))
    }

    /// One identity per component, so that the audit log names each of them.
    fn write_identities(&self) -> Result<()> {
        self.authority.issue_server("apiserver", "kube-apiserver")?;
        self.authority.issue_server("kubelet", "kubelet")?;
        let identities = [
            ("admin", "admin", Some("system:masters")),
            ("kwok", "kwok", Some("system:masters")),
            ("controller-manager", "system:kube-controller-manager", None),
            ("scheduler", "system:kube-scheduler", None),
        ];
        for (name, user, group) in identities {
            let identity = self.authority.issue_client(user, group)?;
            self.authority.write_kubeconfig(&self.kubeconfig(name), &self.server(), &identity)?;
        }
        Ok(())
    }

    fn etcd(&self, programs: &Programs, fsync: bool) -> Launch {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let launch = Launch::new(programs.path("etcd"))
            .arg("--data-dir")
            .arg(self.folder.path().join("etcd"))
            .args([
                "--log-level",
                "warn",
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        if fsync { launch } else { launch.arg("--unsafe-no-fsync") }
    }

    fn api_server(&self, programs: &Programs) -> Launch {
        Launch::new(programs.path("kube-apiserver"))
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.ports.etcd)])
            // Without an address of its own and without reconciling, it would advertise the machine's outer address.
            .args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"])
            .args(["--endpoint-reconciler-type", "none", "--secure-port", &self.ports.api_server.to_string()])
            .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--kubelet-preferred-address-types", "InternalIP"])
            .args(self.file_flags(&[
                ("--tls-cert-file", "pki/apiserver.crt"),
                ("--tls-private-key-file", "pki/apiserver.key"),
                ("--client-ca-file", "pki/ca.crt"),
                ("--service-account-signing-key-file", "pki/service-account.key"),
                ("--service-account-key-file", "pki/service-account.pub"),
                ("--kubelet-certificate-authority", "pki/ca.crt"),
                ("--audit-policy-file", "audit-policy.json"),
                ("--audit-log-path", "log/audit.jsonl"),
            ]))
    }

    fn controller_manager(&self, programs: &Programs) -> Launch {
        Launch::new(programs.path("kube-controller-manager"))
            .args(["--leader-elect=false", "--secure-port", "0", "--use-service-account-credentials"])
            .args(["--kube-api-qps", "500", "--kube-api-burst", "1000"])
            .args(self.file_flags(&[
                ("--kubeconfig", "controller-manager.kubeconfig"),
                ("--service-account-private-key-file", "pki/service-account.key"),
                ("--root-ca-file", "pki/ca.crt"),
            ]))
    }

    fn scheduler(&self, programs: &Programs) -> Launch {
        Launch::new(programs.path("kube-scheduler"))
            .args(["--leader-elect=false", "--secure-port", "0"])
            .args(["--kube-api-qps", "500", "--kube-api-burst", "1000"])
            .args(self.file_flags(&[("--kubeconfig", "scheduler.kubeconfig")]))
    }

    fn kwok(&self, programs: &Programs) -> Launch {
        let port = self.ports.kubelet.to_string();
        Launch::new(programs.path("kwok"))
            .env("KWOK_WORKDIR", self.folder.path().join("kwok"))
            .arg("--config")
            .arg(testbed().join("stages.yaml"))
            .args([
                "--manage-all-nodes",
                "--node-lease-duration-seconds",
                "40",
                "--enable-crds",
                "Logs,ClusterLogs",
            ])
            // kwok's own default, a /24, runs out at 254 pods.
            .args(["--cidr", "10.244.0.0/16", "--node-ip", "127.0.0.1", "--node-port", &port])
            .args(["--server-address", &format!("127.0.0.1:{port}")])
            .args(self.file_flags(&[
                ("--kubeconfig", "kwok.kubeconfig"),
                ("--tls-cert-file", "pki/kubelet.crt"),
                ("--tls-private-key-file", "pki/kubelet.key"),
            ]))
    }

    fn file_flags(&self, flags: &[(&str, &str)]) -> Vec<std::ffi::OsString> {
        let pair =
            |(flag, file): &(&str, &str)| [(*flag).into(), self.folder.path().join(file).into_os_string()];
        flags.iter().flat_map(pair).collect()
    }
}
