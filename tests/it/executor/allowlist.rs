//! The allowlist in a file of the platform's people, changed while the executor runs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_contract::order::{Instruction, Observe};
use aegis_contract::receipt::{ExecutionStatus, Stage};
use aegis_contract::target::Target;
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE};
use aegis_tests::paths::random_name;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN, act_order, order};
use super::workloads::{RESTART, ROLLBACK, scale};

/// A ConfigMap as the kubelet mounts it: what changes is a link, in one step.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(namespaces: &Value) -> Result<Self> {
        let mount = Self(tempfile::tempdir()?);
        symlink("..data/allowlist.json", mount.file())?;
        mount.put(&namespaces_text(namespaces))?;
        Ok(mount)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("allowlist.json")
    }

    fn put(&self, text: &str) -> Result<()> {
        let version = format!("..{}", random_name(8));
        std::fs::create_dir(self.0.path().join(&version))?;
        std::fs::write(self.0.path().join(&version).join("allowlist.json"), text)?;
        let next = self.0.path().join("..next");
        symlink(Path::new(&version), &next)?;
        std::fs::rename(next, self.0.path().join("..data"))?;
        Ok(())
    }

    fn allow(&self, namespaces: &Value) -> Result<()> {
        self.put(&namespaces_text(namespaces))
    }
}

fn namespaces_text(namespaces: &Value) -> String {
    json!({ "schema": "aegis.allowlist/v1", "namespaces": namespaces }).to_string()
}

async fn bench_with(mount: &Mount) -> Result<Bench> {
    let file = mount.file();
    let path = file.to_str().context("a path")?;
    let server = Server::shared().await?;
    Bench::start_on(&server, 1, &[("ALLOWED_NAMESPACES", ""), ("ALLOWLIST_FILE", path)]).await
}

/// A bench whose file lets these actions be done in its namespace.
async fn bench_allowing(mount: &Mount, actions: &[&str]) -> Result<Bench> {
    let bench = bench_with(mount).await?;
    mount.allow(&json!({ &bench.namespace: actions }))?;
    until_observable(&bench, &bench.namespace, true).await?;
    Ok(bench)
}

/// Changes the file, and waits until the executor has taken the change.
async fn put_in_force(mount: &Mount, bench: &Bench, namespaces: &Value) -> Result<()> {
    let changes = || bench.replicas[0].process.log_tail(5_000).matches("the allowlist was changed").count();
    let before = changes();
    mount.allow(namespaces)?;
    until("the change being in force", WITHIN, async || Ok(changes() > before)).await
}

async fn is_observable(bench: &Bench, namespace: &str) -> Result<bool> {
    let target = Target::parse(&format!("{namespace}/Deployment/nothing"), super::bench::CLUSTER)?;
    let observe = order(Instruction::Observe(Observe { target, change: None }), 30);
    match bench.stage(0, &bench.sign(&observe)?, 0).await? {
        Stage::Observed { allowed_namespaces, .. } => {
            assert!(allowed_namespaces.iter().any(|allowed| allowed == namespace), "{allowed_namespaces:?}");
            Ok(true)
        }
        Stage::ObservationRefused { code: RefusalCode::NamespaceNotAllowed, .. } => Ok(false),
        stage => anyhow::bail!("{stage:?}"),
    }
}

async fn until_observable(bench: &Bench, namespace: &str, wanted: bool) -> Result<()> {
    until("the allowlist being as its file has it", WITHIN, async || {
        Ok(is_observable(bench, namespace).await? == wanted)
    })
    .await
}

async fn until_unusable(bench: &Bench, wanted: u8) -> Result<()> {
    until("the alarm", WITHIN, async || {
        let metrics = bench.page(0, "/metrics").await?;
        Ok(metrics.lines().any(|line| line == format!("aegis_allowlist_unusable {wanted}")))
    })
    .await
}

#[tokio::test]
async fn an_order_for_what_is_not_listed_is_refused_before_anything_is_asked_of_the_cluster() -> Result<()> {
    let mount = Mount::new(&json!({}))?;
    let bench = bench_allowing(&mount, &["restart"]).await?;
    let target = bench.deploy("web").await?;
    let restart = bench.act(RESTART, target.clone()).await?;
    assert_eq!(bench.carry_out(&restart).await?.code, OutcomeCode::RolloutComplete);

    let not_listed = bench.act_unplanned(scale(5), target.clone()).await?;
    let later = bench.act_unplanned(scale(5), target.clone()).await?;
    let mut elsewhere = bench.act(RESTART, target).await?;
    elsewhere.target.namespace = "default".to_owned();
    super::bench::write_intent(&mut elsewhere)?;
    let asked = bench.replicas[0].api_server.seen().len();
    for (act, expected) in
        [(&not_listed, RefusalCode::ActionNotAllowed), (&elsewhere, RefusalCode::NamespaceNotAllowed)]
    {
        let stage = bench.stage(0, &bench.sign(&act_order(act, 30))?, 5).await?;
        assert!(matches!(&stage, Stage::Refused { code, .. } if *code == expected), "{stage:?}");
    }
    assert_eq!(bench.replicas[0].api_server.seen().len(), asked, "the cluster was asked");

    put_in_force(&mount, &bench, &json!({ &bench.namespace: ["restart", "scale"] })).await?;
    assert_eq!(bench.carry_out(&later).await?.code, OutcomeCode::RolloutComplete);
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_raises_an_alarm() -> Result<()> {
    let mount = Mount::new(&json!({}))?;
    let bench = bench_allowing(&mount, &["restart"]).await?;
    until_unusable(&bench, 0).await?;
    let unknown = namespaces_text(&json!({ &bench.namespace: ["explode"] }));
    for broken in ["", "{", &unknown, &namespaces_text(&json!({ "Shop": [] }))] {
        mount.put(broken)?;
        until_unusable(&bench, 1).await?;
        assert!(is_observable(&bench, &bench.namespace).await?, "{broken}");
        mount.allow(&json!({ &bench.namespace: ["restart"] }))?;
        until_unusable(&bench, 0).await?;
    }
    std::fs::remove_file(mount.file())?;
    until_unusable(&bench, 1).await?;
    assert!(is_observable(&bench, &bench.namespace).await?);
    let said = bench.replicas[0].process.log_tail(50);
    for part in ["the allowlist's file cannot be used", "allowlist.json", "explode", "`Shop`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_taken_off_the_list_is_not_done_even_if_it_was_accepted_before() -> Result<()> {
    let mount = Mount::new(&json!({}))?;
    let bench = bench_allowing(&mount, &["restart"]).await?;
    let target = bench.deploy("web").await?;
    for remaining in [json!({ &bench.namespace: ["restart"] }), json!({})] {
        put_in_force(&mount, &bench, &json!({ &bench.namespace: ["scale", "restart"] })).await?;
        let act = bench.act_unplanned(scale(5), target.clone()).await?;
        let away = bench.replicas[0].api_server.cut_off();
        let body = bench.sign(&act_order(&act, 60))?;
        let stage = bench.stage(0, &body, 0).await?;
        assert!(matches!(stage, Stage::Running { .. }), "{stage:?}");
        put_in_force(&mount, &bench, &remaining).await?;
        drop(away);
        let result = bench.finished(0, &body).await?;
        assert_eq!((result.status, result.code), (ExecutionStatus::Refused, OutcomeCode::NoLongerAllowed));
        assert!(bench.writes(act.action_id)?.is_empty());
    }
    until_observable(&bench, &bench.namespace, false).await
}

#[tokio::test]
async fn a_namespace_where_the_executor_has_too_many_rights_is_not_taken_on() -> Result<()> {
    let mount = Mount::new(&json!({}))?;
    let bench = bench_allowing(&mount, &["restart"]).await?;
    let second = bench.cluster.create_namespace("shop").await?;
    bench.cluster.allow_executor_in(&second).await?;
    let surplus = ["-n", &second, "create", "role", "surplus", "--verb=get", "--resource=secrets"];
    bench.cluster.kubectl(surplus).await?;
    let account = format!("--serviceaccount={EXECUTOR_NAMESPACE}:{EXECUTOR_ACCOUNT}");
    let bind = ["-n", &second, "create", "rolebinding", "surplus", "--role=surplus", &account];
    bench.cluster.kubectl(bind).await?;
    let who = format!("--as=system:serviceaccount:{EXECUTOR_NAMESPACE}:{EXECUTOR_ACCOUNT}");
    until("the surplus being in force", WITHIN, async || {
        let asking = ["-n", &second, "auth", "can-i", "get", "secrets", &who];
        let answer = bench.cluster.kubectl_launch().args(asking).output_with(Vec::new()).await?;
        Ok(String::from_utf8_lossy(&answer.stdout).trim() == "yes")
    })
    .await?;

    mount.allow(&json!({ &bench.namespace: [], &second: ["restart"] }))?;
    until_unusable(&bench, 1).await?;
    assert!(!is_observable(&bench, &second).await?);
    assert!(is_observable(&bench, &bench.namespace).await?, "the first goes on");
    let said = bench.replicas[0].process.log_tail(20);
    assert!(said.contains(&format!("in namespace {second}: get secrets")), "{said}");

    bench.cluster.kubectl(["-n", &second, "delete", "rolebinding", "surplus"]).await?;
    until_observable(&bench, &second, true).await?;
    until_unusable(&bench, 0).await
}

#[tokio::test]
async fn without_an_account_for_them_rollbacks_are_refused_with_what_to_do() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_TOKEN_FILE", "")]).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act_unplanned(ROLLBACK, target).await?;
    let asked = bench.replicas[0].api_server.seen().len();
    match bench.stage(0, &bench.sign(&act_order(&act, 30))?, 5).await? {
        Stage::Refused { code: RefusalCode::ActionNotAllowed, message } => {
            assert!(message.contains("ROLLBACK_TOKEN_FILE") && message.contains("k8s/rollback"), "{message}");
        }
        stage => panic!("{stage:?}"),
    }
    assert_eq!(bench.replicas[0].api_server.seen().len(), asked, "the cluster was asked");
    Ok(())
}
