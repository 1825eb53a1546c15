//! The command line of every component, and the files they read.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use super::ClusterOptions;
use crate::certificates::Authority;
use crate::paths::{RunFolder, create_private, write_private};
use crate::ports;
use crate::process::Launch;
use crate::programs::{Programs, testbed};

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
pub(super) struct Plan {
    pub(super) folder: RunFolder,
    authority: Authority,
    ports: Ports,
    /// In the order in which they start.
    pub(super) launches: Vec<(&'static str, Launch)>,
}

struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
    kubelet: u16,
}

impl Plan {
    pub(super) fn make(programs: &Programs, options: &ClusterOptions) -> Result<Self> {
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

    pub(super) fn kubeconfig(&self, name: &str) -> PathBuf {
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
            // Tests read what was recorded since the start, and a whole run records more than the 100 MB of one file.
            .args(["--audit-log-maxsize", "0"])
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

    fn file_flags(&self, flags: &[(&str, &str)]) -> Vec<OsString> {
        let pair =
            |(flag, file): &(&str, &str)| [(*flag).into(), self.folder.path().join(file).into_os_string()];
        flags.iter().flat_map(pair).collect()
    }
}
