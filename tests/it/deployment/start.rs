//! The executor's review of its own rights at start.

use std::time::Duration;

use aegis_contract::dsse::ReceiptKey;
use aegis_contract::strict::base64_encode;
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Server, Service};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{FaultProxy, Matching};
use aegis_tests::kubernetes::Endpoint;
use aegis_tests::paths::{RunFolder, binary, checkout, random, random_name, write_private};
use aegis_tests::ports;
use aegis_tests::process::{Launch, Process};
use anyhow::{Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use crate::executor::log::TestLog;

/// What the executor does at start takes a second; a busy machine is given much more before the test fails.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
pub(super) const ACCOUNT: &str = "aegis-executor";
/// The account of its own that writes rollbacks.
pub(super) const ROLLBACKS: &str = "aegis-executor-rollback";
const RBAC: &str = "rbac.authorization.k8s.io";

/// One executor with an identity of its own, which has its rights in the namespace `allowed` and nothing else.
pub(super) struct Lone {
    pub(super) cluster: std::sync::Arc<Cluster>,
    api_server: FaultProxy,
    /// Where its accounts live.
    pub(super) home: String,
    pub(super) allowed: String,
    pub(super) launch: Launch,
    pub(super) url: String,
    pub(super) folder: RunFolder,
}

impl Lone {
    pub(super) async fn prepare() -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let database = Server::shared().await?.fresh(Service::Executor).await?;
        let folder = RunFolder::create("lone-executor")?;
        let file = |name: &str| folder.path().join(name);
        let home = cluster.create_namespace("home").await?;
        let allowed = cluster.create_namespace("shop").await?;
        cluster.kubectl(["-n", &home, "create", "serviceaccount", ACCOUNT]).await?;
        let rights = std::fs::read_to_string(checkout().join("k8s/allowed-namespace/rights.yaml"))?;
        let rights = rights.replace("ALLOWED_NAMESPACE", &allowed).replace("aegis-system", &home);
        cluster.apply_text(&rights).await?;

        let Endpoint { server, authority_pem } = cluster.endpoint().await?;
        let api_server = FaultProxy::start(vec![server], authority_pem.as_deref()).await?;
        let reached_at = Endpoint { server: api_server.url().to_owned(), authority_pem: None };
        cluster.write_service_account_kubeconfig(&file("kubeconfig"), &reached_at, &home, ACCOUNT).await?;
        write_private(&file("database-url"), &database.url)?;
        write_private(&file("order-key"), base64_encode(&random::<32>()))?;
        write_private(&file("receipt-key"), ReceiptKey::from_seed(&random()).to_pkcs8_pem())?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let launch = Launch::new(binary(Service::Executor.program())?)
            .arg("serve")
            .env("LISTEN_ADDRESS", &address)
            .env("CLUSTER", "local")
            .env("ALLOWED_NAMESPACES", &allowed)
            .env("KUBECONFIG_FILE", file("kubeconfig"))
            .env("DATABASE_URL_FILE", file("database-url"))
            .env("ORDER_KEY_ID", "lone-1")
            .env("ORDER_KEY_FILE", file("order-key"))
            .env("RECEIPT_KEY_FILE", file("receipt-key"))
            .env("LOG_KEYS", TestLog::new(&random())?.key())
            .env("LOG_FIRST_HEAD", "empty");
        let lone =
            Self { cluster, api_server, home, allowed, launch, url: format!("http://{address}"), folder };
        lone.until_allowed(&lone.allowed, "get", "deployments.apps", true).await?;
        Ok(lone)
    }

    pub(super) fn user(&self, account: &str) -> String {
        format!("system:serviceaccount:{}:{account}", self.home)
    }

    /// Makes the account that writes rollbacks, without rights; returns the path of its token.
    pub(super) async fn make_account_for_rollbacks(&self) -> Result<std::path::PathBuf> {
        self.cluster.kubectl(["-n", &self.home, "create", "serviceaccount", ROLLBACKS]).await?;
        let path = self.folder.path().join("rollback-token");
        write_private(&path, self.cluster.token(&self.home, ROLLBACKS).await?)?;
        Ok(path)
    }

    /// Gives it its rights in the allowed namespace.
    pub(super) async fn let_roll_back(&self) -> Result<()> {
        let rights = std::fs::read_to_string(checkout().join("k8s/allowed-namespace/rollback/rights.yaml"))?;
        let rights = rights.replace("ALLOWED_NAMESPACE", &self.allowed).replace("aegis-system", &self.home);
        self.cluster.apply_text(&rights).await?;
        self.until(ROLLBACKS, &self.allowed, "patch", "daemonsets.apps", true).await
    }

    pub(super) fn start(&self, launch: Launch) -> Result<Process> {
        let log = self.folder.path().join(format!("executor-{}.log", random_name(8)));
        Process::start("executor", launch, &log)
    }

    /// Waits until the API server gives the executor's identity a right, or gives it no longer.
    pub(super) async fn until_allowed(
        &self,
        namespace: &str,
        verb: &str,
        resource: &str,
        wanted: bool,
    ) -> Result<()> {
        self.until(ACCOUNT, namespace, verb, resource, wanted).await
    }

    /// The same of one of its accounts.
    pub(super) async fn until(
        &self,
        account: &str,
        namespace: &str,
        verb: &str,
        resource: &str,
        wanted: bool,
    ) -> Result<()> {
        let who = format!("--as={}", self.user(account));
        until("the API server knowing the rights", WITHIN, async || {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let subresource = format!("--subresource={subresource}");
            let asking = ["auth", "can-i", verb, resource, &subresource, &who, "-n", namespace];
            let answer = self.cluster.kubectl_launch().args(asking).output_with(Vec::new()).await?;
            Ok((String::from_utf8_lossy(&answer.stdout).trim() == "yes") == wanted)
        })
        .await
    }

    pub(super) async fn answer(&self, path: &str) -> Result<(u16, String)> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("{}{path}", self.url);
        let request = if path == "/v1/orders" { http.post(url).body("{}") } else { http.get(url) };
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
    }

    pub(super) async fn until_ready(&self, process: &Process) -> Result<()> {
        until("the executor becoming ready", WITHIN, async || {
            process.ensure_running()?;
            Ok(self.answer("/health/ready").await?.0 == 200)
        })
        .await
    }
}

/// Something more than the executor needs, and how it is to be called.
struct Surplus {
    /// Where the role is bound; none means everywhere.
    namespace: Option<String>,
    rule: Value,
    /// What `kubectl auth can-i` is asked to see whether the binding has taken effect: verb and resource.
    probe: (&'static str, &'static str),
    said: String,
}

impl Surplus {
    async fn bind(&self, lone: &Lone, name: &str) -> Result<()> {
        let (role, binding) = match self.namespace {
            Some(_) => ("Role", "RoleBinding"),
            None => ("ClusterRole", "ClusterRoleBinding"),
        };
        let metadata = json!({ "name": name, "namespace": self.namespace });
        let version = format!("{RBAC}/v1");
        let role_object =
            json!({ "apiVersion": version, "kind": role, "metadata": metadata, "rules": [self.rule] });
        let binding_object = json!({
            "apiVersion": version, "kind": binding, "metadata": metadata,
            "roleRef": { "apiGroup": RBAC, "kind": role, "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": lone.home }],
        });
        for object in [role_object, binding_object] {
            lone.cluster.apply(&object).await?;
        }
        self.until_bound(lone, true).await
    }

    async fn unbind(&self, lone: &Lone, name: &str) -> Result<()> {
        match &self.namespace {
            Some(namespace) => {
                let what = ["-n", namespace, "delete", "role,rolebinding", name];
                lone.cluster.kubectl(what).await?;
            }
            None => {
                lone.cluster.kubectl(["delete", "clusterrole,clusterrolebinding", name]).await?;
            }
        }
        self.until_bound(lone, false).await
    }

    async fn until_bound(&self, lone: &Lone, wanted: bool) -> Result<()> {
        // What holds everywhere holds where nothing else is bound.
        let namespace = self.namespace.as_deref().unwrap_or("kube-public");
        let (verb, resource) = self.probe;
        lone.until_allowed(namespace, verb, resource, wanted).await
    }
}

fn surpluses(lone: &Lone) -> Vec<Surplus> {
    let surplus = |namespace: Option<&str>, rule: (&str, &str, &str), probe, said: &str| {
        let (verb, group, resource) = rule;
        let place =
            namespace.map_or("in every namespace: ".to_owned(), |name| format!("in namespace {name}: "));
        Surplus {
            namespace: namespace.map(str::to_owned),
            rule: json!({ "verbs": [verb], "apiGroups": [group], "resources": [resource] }),
            probe,
            said: place + said,
        }
    };
    let allowed = Some(lone.allowed.as_str());
    let exec = ("create", "pods/exec");
    let escalate = ("escalate", "roles.rbac.authorization.k8s.io");
    let bind = ("bind", "clusterroles.rbac.authorization.k8s.io");
    let deployments = ("get", "deployments.apps");
    vec![
        surplus(allowed, ("create", "", "pods"), ("create", "pods"), "create pods"),
        surplus(allowed, ("create", "", "pods/exec"), exec, "create pods/exec"),
        surplus(allowed, ("get", "", "secrets"), ("get", "secrets"), "get secrets"),
        surplus(allowed, ("escalate", RBAC, "roles"), escalate, &format!("escalate roles.{RBAC}")),
        surplus(None, ("bind", RBAC, "clusterroles"), bind, &format!("bind clusterroles.{RBAC}")),
        surplus(None, ("impersonate", "", "users"), ("impersonate", "users"), "impersonate users"),
        // Harmless where it is allowed, and too much anywhere else.
        surplus(None, ("get", "apps", "deployments"), deployments, "get deployments.apps"),
        surplus(Some("kube-system"), ("get", "apps", "deployments"), deployments, "get deployments.apps"),
        surplus(Some(&lone.home), ("list", "", "pods"), ("list", "pods"), "list pods"),
    ]
}

#[tokio::test]
async fn an_executor_with_more_rights_than_it_needs_names_them_and_does_not_run() -> Result<()> {
    let lone = Lone::prepare().await?;
    for surplus in surpluses(&lone) {
        let name = format!("surplus-{}", random_name(8));
        surplus.bind(&lone, &name).await?;
        let process = lone.start(lone.launch.clone())?;
        until(&format!("the executor ending for `{}`", surplus.said), WITHIN, async || {
            if let Ok((status, _)) = lone.answer("/v1/orders").await {
                assert_eq!(status, 503, "it took an order in spite of `{}`", surplus.said);
            }
            Ok(process.pid().is_none())
        })
        .await?;
        let said = process.log_tail(3);
        let parts = [&surplus.said, &lone.user(ACCOUNT), "kubectl get", "DANGEROUS_ALLOW_EXCESS_RIGHTS=true"];
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        surplus.unbind(&lone, &name).await?;
    }
    // Without any of them it runs.
    let process = lone.start(lone.launch.clone())?;
    lone.until_ready(&process).await?;
    assert!(process.log_tail(10).contains("and no more"), "{}", process.log_tail(10));
    Ok(())
}

#[tokio::test]
async fn with_an_admins_token_it_runs_only_under_the_dangerous_switch_and_says_so_loudly() -> Result<()> {
    let lone = Lone::prepare().await?;
    let (name, account) = (format!("surplus-{}", random_name(8)), format!("{}:{ACCOUNT}", lone.home));
    let bind = ["create", "clusterrolebinding", &name, "--clusterrole=cluster-admin"];
    lone.cluster.kubectl(bind.into_iter().chain(["--serviceaccount", account.as_str()])).await?;
    lone.until_allowed("kube-system", "get", "secrets", true).await?;

    let refused = lone.start(lone.launch.clone())?;
    until("the executor ending", WITHIN, async || Ok(refused.pid().is_none())).await?;
    let said = refused.log_tail(3);
    assert!(said.contains("in every namespace: * *.*"), "{said}");

    let dangerous = lone.start(lone.launch.clone().env("DANGEROUS_ALLOW_EXCESS_RIGHTS", "true"))?;
    lone.until_ready(&dangerous).await?;
    until("the loud line", WITHIN, async || {
        let log = dangerous.log_tail(20);
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(lines.iter().any(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == "error" && message.contains("DANGEROUS_ALLOW_EXCESS_RIGHTS is set")
        }))
    })
    .await?;
    lone.cluster.kubectl(["delete", "clusterrolebinding", &name]).await?;
    Ok(())
}

#[tokio::test]
async fn until_the_api_server_answers_it_takes_no_order_and_then_goes_on_by_itself() -> Result<()> {
    let lone = Lone::prepare().await?;
    let unreviewed = async || -> Result<()> {
        for path in ["/health/ready", "/v1/orders"] {
            assert_eq!(lone.answer(path).await?, (503, "rights-unreviewed".to_owned()), "{path}");
        }
        assert_eq!(lone.answer("/metrics").await?.0, 200);
        Ok(())
    };
    let away = lone.api_server.cut_off();
    let process = lone.start(lone.launch.clone())?;
    until("the executor listening", WITHIN, async || {
        process.ensure_running()?;
        Ok(lone.answer("/health/ping").await?.0 == 200)
    })
    .await?;
    unreviewed().await?;

    // One that says no, or nonsense, to a single question has not answered either.
    let forbidden = r#"{"kind":"Status","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
    let mut fault = away;
    for (status, body) in [(StatusCode::FORBIDDEN, forbidden), (StatusCode::CREATED, "{}")] {
        let asking = Matching::path("/selfsubjectaccessreviews");
        // The next fault is in force before the last one ends.
        drop(std::mem::replace(&mut fault, lone.api_server.answer(asking, status, body)));
        let so_far = lone.api_server.seen().len();
        until("the executor asking twice more", WITHIN, async || {
            process.ensure_running()?;
            let seen = lone.api_server.seen();
            Ok(seen[so_far..].iter().filter(|line| line.contains("/selfsubjectreviews")).count() >= 2)
        })
        .await?;
        unreviewed().await?;
    }
    drop(fault);
    lone.until_ready(&process).await?;
    ensure!(lone.answer("/v1/orders").await?.0 == 400, "an order is read now");
    Ok(())
}
