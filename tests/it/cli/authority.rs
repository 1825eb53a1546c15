//! `aegisctl ca`: what it issues is what services believe, and nothing is written over.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegis_tests::paths::{RunFolder, binary};
use aegis_tests::process::Launch;
use aegis_tests::stack::StackOptions;
use anyhow::{Result, ensure};
use serde_json::json;

use super::Said;
use crate::actions::scene::Scene;

async fn ca(folder: &Path, args: &[&str]) -> Result<Said> {
    let launch = Launch::new(binary("aegisctl")?).folder(folder).args(["-o", "json", "ca"]).args(args);
    Ok(Said::of(&launch.output_with("").await?))
}

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[tokio::test]
async fn services_meet_with_what_the_authority_issued_and_nothing_is_written_over() -> Result<()> {
    let run = RunFolder::create("authority")?;
    let folder = run.path();
    let made = ca(folder, &["init", "authority"]).await?.expect(0)?;
    assert_eq!(made["certificate"], "authority/ca.crt");
    let authority = std::fs::read(folder.join("authority/ca.key"))?;
    assert_eq!((mode(&folder.join("authority/ca.key"))?, mode(&folder.join("authority"))?), (0o600, 0o700));
    let again = ca(folder, &["init", "authority"]).await?;
    ensure!(again.code == Some(1) && again.stderr.contains("nothing is written over"), "{}", again.stderr);
    ensure!(std::fs::read(folder.join("authority/ca.key"))? == authority, "the key was replaced");

    let mut options = StackOptions { mutual_tls: true, ..Default::default() };
    options.control_plane_settings.push(("SOAK_SECONDS".to_owned(), "0".to_owned()));
    let scene = Scene::open(options).await?;
    let cluster = scene.stack.cluster_name();
    ca(folder, &["issue", "authority", "--control-plane", "--into", "tls"]).await?.expect(0)?;
    let issued =
        ca(folder, &["issue", "authority", "--executor", cluster, "--into", "tls", "--days", "1"]).await?;
    assert_eq!(issued.expect(0)?["key"], json!(format!("tls/executor-{cluster}.key")));
    assert_eq!(mode(&folder.join("tls/control-plane.key"))?, 0o600);
    let again = ca(folder, &["issue", "authority", "--control-plane", "--into", "tls"]).await?;
    ensure!(again.code == Some(1) && again.stderr.contains("control-plane.crt"), "{}", again.stderr);

    let (own, executor) = (folder.join("tls/control-plane"), folder.join(format!("tls/executor-{cluster}")));
    let root = folder.join("authority/ca.crt");
    let names = ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"];
    let files = [executor.with_extension("crt"), executor.with_extension("key"), root.clone()];
    scene.stack.executor(0).restart_with(names.into_iter().zip(files)).await?;
    let names = ["EXECUTOR_CERTIFICATE_FILE", "EXECUTOR_KEY_FILE", "EXECUTOR_CA_FILE"];
    let files = [own.with_extension("crt"), own.with_extension("key"), root.clone()];
    scene.stack.control_plane(0).restart_with(names.into_iter().zip(files)).await?;
    scene.deploy_small(&["web"]).await?;
    scene.carry_out(&scene.restart("web")).await?;

    // A second opinion on what servers get.
    ca(folder, &["issue", "authority", "--server", "db.internal", "--server", "10.0.0.5"])
        .await?
        .expect(0)?;
    let openssl = |args: &[&str]| Launch::new("openssl").folder(folder).args(args);
    for check in [["-verify_hostname", "db.internal"], ["-verify_ip", "10.0.0.5"]] {
        let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "authority/ca.crt"];
        openssl(&[&verify[..], &check, &["db.internal.crt"]].concat()).output().await?;
    }
    for wrong in [
        &["issue", "nowhere", "--control-plane"][..],
        &["issue", "authority"],
        &["issue", "authority", "--control-plane", "--executor", "prod-1"],
        &["issue", "authority", "--executor", "Prod 1"],
        &["issue", "authority", "--server", "Not a name"],
        &["issue", "authority", "--server", "db.internal", "--days", "399"],
    ] {
        let said = ca(folder, wrong).await?;
        ensure!(
            said.code == Some(2) && !said.stderr.is_empty(),
            "{wrong:?}: {:?} {}",
            said.code,
            said.stderr
        );
    }
    Ok(())
}
