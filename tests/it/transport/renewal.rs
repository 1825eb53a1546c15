//! Certificates, keys and authorities that are replaced while requests run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aegis_contract::peer::Peer;
use aegis_tests::certificates::{Authority, End};
use aegis_tests::eventually::until;
use aegis_tests::paths::{RunFolder, write_private};
use aegis_tests::stack::Stack;
use anyhow::{Result, ensure};
use serde_json::json;

use super::mutual::{is_let_in, options, showing};
use super::{WITHIN, metric, until_metric};
use crate::actions::scene::Scene;

/// Puts what another authority has made where the stack reads it.
fn replace(ours: &Authority, by: &Authority, names: &[&str]) -> Result<()> {
    for name in names {
        write_private(&ours.path(name), std::fs::read(by.path(name))?)?;
    }
    Ok(())
}

/// Waits until the executor lets the one control plane in and not the other.
async fn until_let_in(stack: &Stack, who: &Authority, is_in: bool) -> Result<()> {
    let what = if is_in { "being let in" } else { "being let in no more" };
    until(what, WITHIN, async || Ok(is_let_in(stack, showing(who, "control-plane")?).await? == is_in)).await
}

/// Rehearses one heal after the other until told to stop; each must go well.
async fn rehearse(scene: &Scene, is_over: &AtomicBool, done: &AtomicUsize) -> Result<()> {
    let mut rehearsal = scene.restart("web");
    rehearsal["dryRun"] = json!(true);
    while !is_over.load(Ordering::Relaxed) {
        let action = scene.client.ask(&rehearsal, 60).await?.expect(202)?.body;
        ensure!(action["state"] == "succeeded", "{action}");
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn until_rehearsed_again(done: &AtomicUsize) -> Result<()> {
    let wanted = done.load(Ordering::Relaxed) + 3;
    until("three more heals being rehearsed", WITHIN, async || Ok(done.load(Ordering::Relaxed) >= wanted))
        .await
}

/// Waits until both services have taken new files so many times.
async fn until_reloaded(stack: &Stack, times: usize) -> Result<()> {
    for service in ["control-plane", "executor"] {
        let log = stack.logs().join(format!("{service}.log"));
        until(&format!("{service} going on with new files"), WITHIN, async || {
            Ok(std::fs::read_to_string(&log)?.matches("TLS goes on with new files").count() >= times)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn another_authority_takes_over_while_requests_run_and_none_fails() -> Result<()> {
    let scene = Scene::open(options()).await?;
    scene.deploy_small(&["web"]).await?;
    let (stack, folder) = (&scene.stack, RunFolder::create("next-authority")?);
    let (ours, old, next) = (
        stack.authority()?,
        Authority::create(&folder.path().join("old"))?,
        Authority::create(&folder.path().join("next"))?,
    );
    // What is in the stack's folder will be replaced: these are the ones from before.
    replace(&old, ours, &["ca.crt", "control-plane.crt", "control-plane.key"])?;
    let executor = Peer::Executor { cluster: stack.cluster_name().to_owned() };
    next.issue_service("control-plane", &Peer::ControlPlane.to_string(), End::Client)?;
    next.issue_service("executor", &executor.to_string(), End::Server)?;

    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let taking_over = async {
        until_rehearsed_again(&done).await?;
        assert!(!is_let_in(stack, showing(&next, "control-plane")?).await?);
        // Both are believed, then both show the new ones, then only those are believed.
        let both = format!("{}{}", std::fs::read_to_string(old.path("ca.crt"))?, next.pem());
        write_private(&ours.path("ca.crt"), both)?;
        until_let_in(stack, &next, true).await?;
        assert!(is_let_in(stack, showing(&old, "control-plane")?).await?);
        until_reloaded(stack, 1).await?;
        replace(ours, &next, &["executor.crt", "executor.key", "control-plane.crt", "control-plane.key"])?;
        until_reloaded(stack, 2).await?;
        until_rehearsed_again(&done).await?;
        replace(ours, &next, &["ca.crt"])?;
        until_let_in(stack, &old, false).await?;
        until_reloaded(stack, 3).await?;
        until_rehearsed_again(&done).await?;
        is_over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(taking_over, rehearse(&scene, &is_over, &done), rehearse(&scene, &is_over, &done))?;
    assert!(is_let_in(stack, showing(&next, "control-plane")?).await?);
    Ok(())
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_and_raise_an_alarm() -> Result<()> {
    let scene = Scene::open(options()).await?;
    scene.deploy_small(&["web"]).await?;
    let (stack, folder) = (&scene.stack, RunFolder::create("kept-authority")?);
    let (ours, kept) = (stack.authority()?, Authority::create(&folder.path().join("kept"))?);
    let files = ["executor.crt", "executor.key", "ca.crt"];
    replace(&kept, ours, &files)?;
    replace(&kept, ours, &["control-plane.crt", "control-plane.key"])?;
    kept.issue_service("other", &Peer::ControlPlane.to_string(), End::Server)?;
    let alarm = "aegis_tls_files_unusable{purpose=\"orders\"}";
    assert_eq!(metric(stack.executor(0), alarm).await?, 0.0);

    let other_key = std::fs::read(kept.path("other.key"))?;
    for (file, broken) in [
        ("executor.key", &b"-----BEGIN PRIVATE KEY-----\nAAAA"[..]),
        ("executor.key", &other_key[..]),
        ("executor.crt", &b""[..]),
        ("ca.crt", &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"[..]),
    ] {
        write_private(&ours.path(file), broken)?;
        until_metric(stack.executor(0), alarm, 1.0).await?;
        // New connections as well as those that are open.
        assert!(is_let_in(stack, showing(&kept, "control-plane")?).await?, "{file}");
        scene.carry_out(&scene.restart("web")).await?;
        replace(ours, &kept, &files)?;
        until_metric(stack.executor(0), alarm, 0.0).await?;
    }
    std::fs::remove_file(ours.path("ca.crt"))?;
    until_metric(stack.executor(0), alarm, 1.0).await?;
    until_metric(stack.control_plane(0), "aegis_tls_files_unusable{purpose=\"executors\"}", 1.0).await?;
    scene.carry_out(&scene.restart("web")).await?;
    let log = std::fs::read_to_string(stack.logs().join("executor.log"))?;
    assert!(log.contains("executor.key holds no private key in PEM") && !log.contains("AAAA"), "{log}");
    Ok(())
}
