//! `cargo xtask up`: a whole Aegis on this machine, and its main job before your eyes.

mod demonstration;

use std::path::PathBuf;
use std::sync::Arc;

use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::Server;
use aegis_tests::kubernetes::Kubernetes;
use aegis_tests::paths::{RunFolder, binary, checkout, write_private};
use aegis_tests::process::Launch;
use aegis_tests::programs::Programs;
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::{cargo, install};

/// The namespace of the demonstration, as the starter policies name it.
const NAMESPACE: &str = "shop";

/// Starts everything, shows the main job, and stays until Ctrl-C; with `once`, ends after the demonstration.
pub(crate) async fn run(kubeconfig: Option<PathBuf>, once: bool, built: bool) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = start_and_show(kubeconfig, once, built) => result,
        _ = tokio::signal::ctrl_c() => goodbye(),
        _ = terminated.recv() => goodbye(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an arm of the select beside one that can fail")]
fn goodbye() -> Result<()> {
    eprintln!("\nending everything");
    Ok(())
}

async fn start_and_show(kubeconfig: Option<PathBuf>, once: bool, built: bool) -> Result<()> {
    install::postgres().await?;
    let home = RunFolder::create("up")?;
    if !built {
        cargo::build_binaries()?;
    }
    let (kubernetes, cluster) = reach_cluster(kubeconfig, &home).await?;
    if cluster.is_none() {
        demonstration::claim_namespace(&kubernetes, NAMESPACE).await?;
    }
    let server = Arc::new(Server::start().await?);
    let options = StackOptions {
        namespaces: vec![NAMESPACE.to_owned()],
        unique_namespaces: false,
        order_lifetime_seconds: 30,
        ..StackOptions::default()
    };
    let stack = Stack::start_with(kubernetes, cluster, server, options).await?;
    load_policies(&stack).await?;
    demonstration::run(&stack).await?;
    if once {
        return Ok(());
    }
    print_what_to_try(&stack, &home)?;
    std::future::pending().await
}

/// The cluster of the given kubeconfig, or one of our own. An ambient kubeconfig is never looked at.
async fn reach_cluster(
    kubeconfig: Option<PathBuf>,
    home: &RunFolder,
) -> Result<(Kubernetes, Option<Arc<Cluster>>)> {
    let Some(kubeconfig) = kubeconfig else {
        install::programs(&["go"]).await?;
        let cluster = Arc::new(Cluster::start(ClusterOptions::default()).await?);
        return Ok((Kubernetes::clone(&cluster), Some(cluster)));
    };
    let kubeconfig = std::path::absolute(kubeconfig)?;
    ensure!(kubeconfig.is_file(), "{} is not a file", kubeconfig.display());
    let installed = Launch::new("kubectl").inherit_environment().args(["version", "--client"]).output().await;
    let kubectl = match installed {
        Ok(_) => PathBuf::from("kubectl"),
        Err(_) => {
            install::programs(&["go"]).await?;
            Programs::ready().await?.path("kubectl")
        }
    };
    let kubernetes = Kubernetes::new(kubectl, kubeconfig.clone(), home.path().to_owned());
    let version = kubernetes.read("/version").await;
    version.with_context(|| format!("cannot reach the cluster of {}", kubeconfig.display()))?;
    Ok((kubernetes, None))
}

/// Stores and activates the starter policies.
async fn load_policies(stack: &Stack) -> Result<()> {
    let step = progress::step("loading the starter policies");
    let admin = stack.admin()?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(checkout().join("policies"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let policy: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            admin.activate_policy(&policy).await?;
            names.push(policy["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    ensure!(!names.is_empty(), "policies/ holds no policy");
    names.sort();
    step.done_with(&names.join(", "));
    Ok(())
}

fn print_what_to_try(stack: &Stack, home: &RunFolder) -> Result<()> {
    let (admin, client) = (stack.admin_user(), stack.registered_client());
    let url = stack.control_plane(0).url();
    let (secret, password) = (home.path().join("client.secret"), home.path().join("admin.password"));
    write_private(&secret, &client.secret)?;
    write_private(&password, &admin.password)?;
    let aegisctl = binary("aegisctl")?;
    let aegisctl = aegisctl.strip_prefix(checkout()).unwrap_or(&aegisctl).display();
    println!(
        "
Aegis is running.
  address      {url}
  sign-in      {email} / {admin_password}
  cluster      {kubeconfig}

Try, in another terminal:
  export AEGIS_URL={url} AEGIS_KEY_ID={key_id} AEGIS_SECRET_FILE={secret}
  {aegisctl} heal restart {cluster}/{NAMESPACE}/Deployment/web --metadata severity=high --wait
  {aegisctl} heal scale {cluster}/{NAMESPACE}/Deployment/web --replicas 0 --metadata severity=high   # denied by policy
  AEGIS_KEY_ID= AEGIS_SECRET_FILE= AEGIS_TOKEN=$({aegisctl} login --email {email} --password-file {password}) {aegisctl} audit search

Ctrl-C ends everything.",
        email = admin.email,
        admin_password = admin.password,
        kubeconfig = stack.kubernetes().kubeconfig().display(),
        key_id = client.key_id,
        cluster = stack.cluster_name(),
        secret = secret.display(),
        password = password.display(),
    );
    Ok(())
}
