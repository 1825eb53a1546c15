//! The API server's own audit log held against ours: a write without entry, and an entry without write, are found.

use aegis_tests::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE};
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use http::Request;
use http::header::CONTENT_TYPE;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::auditor::Auditor;
use super::until_sequenced;
use crate::actions::scene::{Scene, expect, id_of};

/// Whoever has the executor's credentials.
struct Thief {
    folder: tempfile::TempDir,
    namespace: String,
}

impl Thief {
    async fn of(scene: &Scene) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let kubernetes = scene.stack.kubernetes();
        let endpoint = kubernetes.endpoint().await?;
        let path = folder.path().join("stolen");
        kubernetes
            .write_service_account_kubeconfig(&path, &endpoint, EXECUTOR_NAMESPACE, EXECUTOR_ACCOUNT)
            .await?;
        Ok(Self { folder, namespace: scene.stack.namespace().to_owned() })
    }

    /// Scales a Deployment, and calls itself `agent` meanwhile.
    async fn scale(&self, name: &str, replicas: u32, agent: &str) -> Result<()> {
        let kubeconfig = Kubeconfig::read_from(self.folder.path().join("stolen"))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}/scale", self.namespace);
        let request = Request::patch(path)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .header(http::header::USER_AGENT, agent)
            .body(json!({ "spec": { "replicas": replicas } }).to_string().into_bytes())?;
        kube::Client::try_from(config)?.request_text(request).await?;
        Ok(())
    }
}

/// What the API server recorded of the scene's namespace, as a file of the auditor's: many tests share the cluster.
fn take_kube_audit(scene: &Scene, auditor: &Auditor, name: &str) -> Result<Vec<String>> {
    let log = std::fs::read_to_string(scene.stack.cluster()?.audit().path())?;
    let namespace = format!("\"{}\"", scene.stack.namespace());
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    let lines: Vec<String> =
        whole.lines().filter(|line| line.contains(&namespace)).map(str::to_owned).collect();
    write_lines(auditor, name, &lines)?;
    Ok(lines)
}

fn write_lines(auditor: &Auditor, name: &str, lines: &[String]) -> Result<()> {
    Ok(std::fs::write(auditor.at(name), lines.iter().map(|line| format!("{line}\n")).collect::<String>())?)
}

fn codes(said: &Value) -> Vec<&str> {
    let missing = said["missing"].as_array().into_iter().flatten();
    missing.filter_map(|missing| missing["code"].as_str()).collect()
}

/// The objects that were written, and why nothing explains it.
fn unexplained(said: &Value) -> Vec<(&str, &str)> {
    let writes = said["writes"]["unexplained"].as_array().into_iter().flatten();
    writes.filter_map(|write| Some((write["object"].as_str()?, write["reason"].as_str()?))).collect()
}

#[tokio::test]
async fn every_write_by_the_executor_has_its_entry_and_a_write_by_hand_has_none() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web", "api"]).await?;
    let scaled = scene.carry_out(&scene.scale("web", 2)).await?;
    expect(&scaled, "succeeded", "rollout-complete");
    expect(&scene.carry_out(&scene.restart("web")).await?, "succeeded", "rollout-complete");
    let canary = scene.stack.action("restart", "Deployment", "web", &json!({ "canary": true }));
    expect(&scene.carry_out(&canary).await?, "succeeded", "rollout-complete");
    let pods = scene.stack.kubernetes().pods(scene.stack.namespace(), "api").await?;
    let pod = pods[0]["metadata"]["name"].as_str().context("a pod has a name")?;
    let evicted = scene.stack.action("restart-pod", "Pod", pod, &json!({}));
    expect(&scene.carry_out(&evicted).await?, "succeeded", "pod-replaced");
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "already-done");
    let mut rehearsal = scene.scale("web", 3);
    rehearsal["dryRun"] = json!(true);
    expect(&scene.carry_out(&rehearsal).await?, "succeeded", "dry-run");
    until_sequenced(&scene.stack).await?;

    let auditor = Auditor::of(&scene.stack).await?;
    let lines = take_kube_audit(&scene, &auditor, "kube")?;
    let (code, said) = auditor.reconcile(&["--kube-audit", "kube"]).await?;
    assert_eq!((code, &said["verdict"]), (0, &json!("reconciled")), "{said:#}");
    assert_eq!((&said["writes"]["explained"], &said["actions"]["written"]), (&json!(5), &json!(4)));
    auditor.export("log", &[]).await?;
    let proven = ["--kube-audit", "kube", "--bundle", "log", "--keys", "keys"];
    let (code, said) = auditor.reconcile(&proven).await?;
    assert_eq!((code, &said["writes"]["explained"]), (0, &json!(5)), "{said:#}");

    // An action whose write somebody took out of the cluster's log.
    let agent = format!("(action {})", id_of(&scaled)?);
    let (written, others): (Vec<String>, Vec<String>) =
        lines.iter().cloned().partition(|line| line.contains(&agent));
    assert_eq!(written.len(), 1, "the executor wrote once");
    write_lines(&auditor, "without", &others)?;
    let (code, said) = auditor.reconcile(&["--kube-audit", "without"]).await?;
    assert_eq!((code, &said["actions"]["unwritten"][0]["actionId"]), (2, &scaled["id"]), "{said:#}");

    // By hand, with the executor's credentials: as itself, and in the name of an action that has had its change.
    let thief = Thief::of(&scene).await?;
    thief.scale("api", 3, "kubectl").await?;
    thief.scale("web", 1, &format!("aegis-executor/1 {agent}")).await?;
    thief.scale("api", 2, &format!("aegis-executor/1 {agent}")).await?;
    thief.scale("api", 1, "aegis-executor/1 (action 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90)").await?;
    take_kube_audit(&scene, &auditor, "kube")?;
    let (code, said) = auditor.reconcile(&["--kube-audit", "kube"]).await?;
    assert_eq!((code, &said["verdict"]), (2, &json!("unexplained")), "{said:#}");
    let found = unexplained(&said);
    let objects: Vec<&str> =
        found.iter().map(|(object, _)| object.rsplit('/').next().unwrap_or("")).collect();
    assert_eq!(objects, ["api", "web", "api", "api"], "{said:#}");
    for ((_, reason), expected) in found.iter().zip([
        "names no action",
        "its one change already",
        // Whichever is seen first: on a slow machine its time is over as well.
        "action",
        "no entry speaks of action",
    ]) {
        assert!(reason.contains(expected) || reason.contains("and over between"), "{reason}");
    }
    assert_eq!(said["writes"]["explained"], 5);
    let text = auditor
        .said("table", &["reconcile", "--kube-audit", "kube", "--cluster", scene.stack.cluster_name()])
        .await?;
    assert!(text.contains("writes that nothing explains") && text.contains("kubectl"), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_for_a_whole_comparison_is_told() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let action = scene.carry_out(&scene.scale("web", 2)).await?;
    expect(&action, "succeeded", "rollout-complete");
    until_sequenced(&scene.stack).await?;
    let auditor = Auditor::of(&scene.stack).await?;
    let lines = take_kube_audit(&scene, &auditor, "kube")?;

    let (code, said) = auditor.reconcile(&["--kube-audit", "kube", "--from", "24h"]).await?;
    assert_eq!((code, codes(&said)), (3, vec!["kube-audit-in-part"]), "{said:#}");
    // Two halves are one log again.
    let (first, second) = lines.split_at(lines.len() / 2);
    write_lines(&auditor, "first", first)?;
    write_lines(&auditor, "second", second)?;
    let both = ["--kube-audit", "second", "--kube-audit", "first"];
    let (code, said) = auditor.reconcile(&both).await?;
    assert_eq!(code, 0, "{said:#}");

    // Without the entries that would explain it: of one kind only, and before the order was signed.
    auditor.export("some", &["--kind", "action.ended"]).await?;
    let some = ["--kube-audit", "kube", "--bundle", "some", "--keys", "keys"];
    let (code, said) = auditor.reconcile(&some).await?;
    assert_eq!(code, 3, "{said:#}");
    assert!(codes(&said).contains(&"entries-selected"), "{said:#}");
    auditor.export("start", &["--end", "3"]).await?;
    let start = ["--kube-audit", "kube", "--bundle", "start", "--keys", "keys"];
    let (code, said) = auditor.reconcile(&start).await?;
    assert_eq!((code, codes(&said)), (3, vec!["write-outside-entries"]), "{said:#}");

    // Files that are no such log, and a bundle that was changed, are compared with nothing.
    std::fs::write(auditor.at("other"), "{\"kind\":\"Pod\"}\n")?;
    let told = auditor.said("table", &["reconcile", "--kube-audit", "other"]).await?;
    assert!(told.contains("no audit event") && told.contains("line 1"), "{told}");
    let whole = auditor.export("log", &[]).await?;
    let changed: Vec<String> = whole
        .iter()
        .map(|line| String::from_utf8_lossy(line).replace("rollout-complete", "rollout-failed"))
        .collect();
    write_lines(&auditor, "changed", &changed)?;
    let changed = ["reconcile", "--kube-audit", "kube", "--bundle", "changed", "--keys", "keys"];
    let told = auditor.said("table", &changed).await?;
    assert!(told.contains("entry-mismatch"), "{told}");
    Ok(())
}
