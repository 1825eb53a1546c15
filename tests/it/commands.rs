//! The commands a newcomer, and an outside tool, start with.

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::eventually::{eventually, until};
use aegis_tests::paths::{binary, checkout, random_name, state};
use aegis_tests::process::{Launch, is_alive};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// `cargo xtask` as it was built with this test. The tests say `--built`: cargo would wait for its own lock in a test.
fn xtask() -> Result<Launch> {
    Ok(Launch::new(binary("xtask")?).inherit_environment().folder(checkout()))
}

#[tokio::test]
async fn up_shows_the_main_job_and_ends_well_only_if_every_step_happened() -> Result<()> {
    let said = xtask()?.args(["up", "--once", "--built"]).output_with("").await?;
    let steps = String::from_utf8_lossy(&said.stderr).into_owned();

    ensure!(said.status.success(), "up --once ended with {}:\n{steps}", said.status);
    for step in [
        "a workload runs",
        "a new image breaks it",
        "a signed heal request arrives",
        "policy decides",
        "the executor rolls back",
        "the audit log tells the story",
    ] {
        assert!(steps.contains(&format!("✓ {step}")), "`{step}` is not shown:\n{steps}");
    }
    Ok(())
}

#[tokio::test]
async fn up_uses_the_cluster_of_a_given_kubeconfig_and_no_namespace_of_somebody_else() -> Result<()> {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, fsync: false }).await?;
    let up = xtask()?.args(["up", "--once", "--built", "--kubeconfig"]).arg(cluster.kubeconfig());
    cluster.ensure_namespace("shop").await?;

    let refused = up.output_with("").await?;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has a namespace `shop` already"));
    assert!(cluster.get("shop", "deployment/web").await.is_err(), "it touched somebody else's namespace");

    cluster.kubectl(["label", "namespace", "shop", "aegis.dev/demonstration=true"]).await?;
    up.output().await?;
    assert_eq!(cluster.get("shop", "deployment/web").await?["status"]["readyReplicas"], 3);
    Ok(())
}

/// A background stack of this test alone. It is ended when dropped, also by a test that fails.
struct BackgroundStack {
    instance: String,
}

impl BackgroundStack {
    fn command(&self, args: &[&str]) -> Result<Launch> {
        Ok(xtask()?.arg("stack").args(args).args(["--instance", &self.instance]))
    }

    async fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.command(args)?.output().await?)?)
    }
}

impl Drop for BackgroundStack {
    fn drop(&mut self) {
        // The drop of a test that fails may not wait for a runtime.
        let Ok(program) = binary("xtask") else { return };
        let mut stop = std::process::Command::new(program);
        let _ = stop.args(["stack", "stop", "--instance", &self.instance]).output();
        for extension in ["lock", "log"] {
            let left = state().map(|folder| folder.join(&self.instance).with_extension(extension));
            let _ = left.map(std::fs::remove_file);
        }
    }
}

fn pid_of(stack: &Value, part: &str) -> Result<u32> {
    let pid = stack["pids"][part].as_u64().with_context(|| format!("{part} does not run"))?;
    Ok(u32::try_from(pid)?)
}

#[tokio::test]
async fn a_background_stack_serves_outside_tools_until_it_is_stopped() -> Result<()> {
    let background = BackgroundStack { instance: format!("test-{}", random_name(8)) };
    let stack = background.json(&["start", "--built", "--json", "--replicas", "2"]).await?;
    for key in [
        "controlPlane",
        "executor",
        "kubeconfig",
        "databaseUrl",
        "executorDatabaseUrl",
        "admin",
        "client",
        "cluster",
        "namespaces",
        "kubeAudit",
        "logs",
        "pids",
    ] {
        assert!(!stack[key].is_null(), "{key} is missing: {stack}");
    }
    let url = stack["controlPlane"].as_str().context("controlPlane is a URL")?;
    let token = stack["admin"]["accessToken"].as_str().context("the admin has a token")?;
    let policies = Caller::person(url, token)?.get("/api/v1/policies").await?.expect(200)?;
    assert_eq!(
        policies.body["items"].as_array().map(Vec::len),
        Some(0),
        "a policy is active: {}",
        policies.text
    );
    let client = &stack["client"];
    let (key_id, secret) = (client["keyId"].as_str(), client["secret"].as_str());
    let client = Caller::client(url, key_id.context("keyId")?, secret.context("secret")?)?;
    client.get("/api/v1/whoami").await?.expect(200)?;

    let second = background.command(&["start", "--built", "--json"])?.output_with("").await?;
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("running already"));

    for part in ["controlPlane2", "executor", "postgres"] {
        let pid = pid_of(&stack, part)?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        until("the part being gone", Duration::from_secs(20), async || Ok(!is_alive(pid))).await?;
        // PostgreSQL does not start before the last process of the killed one is gone.
        let again = eventually("the part being started again", Duration::from_secs(60), async || {
            Ok(Some(background.json(&["restart", part]).await?))
        })
        .await?;
        assert_ne!(pid_of(&again, part)?, pid);
        assert_eq!(again["controlPlane"], stack["controlPlane"]);
        assert_eq!(again["databaseUrl"], stack["databaseUrl"]);
    }
    until("the old data being served again", Duration::from_secs(90), async || {
        Ok(client.get("/api/v1/whoami").await?.status == 200)
    })
    .await?;

    let last = background.json(&["status"]).await?;
    background.command(&["stop"])?.output().await?;
    let pids: Vec<_> =
        last["pids"].as_object().context("pids")?.keys().map(|part| pid_of(&last, part)).collect();
    for pid in pids {
        assert!(!is_alive(pid?), "a part outlived `stack stop`: {}", last["pids"]);
    }
    Ok(())
}
