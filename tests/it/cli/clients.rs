//! `aegisctl client`: a client is made, changes over to a key pair, and is ended, on the command line alone.

use std::os::unix::fs::PermissionsExt as _;

use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Terminal;

#[tokio::test]
async fn a_client_is_made_bounded_changed_over_to_a_key_pair_and_ended_without_a_secret_on_the_terminal()
-> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = Terminal::of_admin(&stack)?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (secret, owner) = (place("bot.secret"), stack.admin_user().email.clone());
    let create = ["client", "create", "bot", "--owner", &owner, "--action", "restart", "--out", &secret];
    let made = admin.run(&create).await?.expect(0)?;
    assert_eq!(made["scope"], json!({ "actions": ["restart"] }));
    assert_eq!(made["keys"][0]["secret"], Value::Null, "the secret is in the file alone: {made}");
    assert_eq!(std::fs::metadata(&secret)?.permissions().mode() & 0o777, 0o600);
    // Neither a file that is there is written over, nor is one left behind by what failed.
    ensure!(admin.run(&create).await?.stderr.contains("bot.secret"), "says which file");
    let taken = ["client", "create", "bot", "--owner", &owner, "--out", &place("other")];
    ensure!(admin.run(&taken).await?.code != Some(0) && !folder.path().join("other").exists(), "left behind");

    let whoami = async |key: &Value, file: &str| {
        let key_id = key["id"].as_str().context("an id")?;
        Terminal::new(&stack)?.run(&["--key-id", key_id, "--secret-file", file, "whoami"]).await
    };
    let said = whoami(&made["keys"][0], &secret).await?.expect(0)?;
    assert_eq!((&said["principal"], &said["scope"]), (&json!("client:bot"), &made["scope"]));

    let (private, public) = (place("bot.pem"), place("bot.pub"));
    let openssl = |args: &[&str]| Launch::new("openssl").args(args);
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]).output().await?;
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]).output().await?;
    let rotated = admin.run(&["client", "rotate", "bot", "--public-key-file", &public]).await?.expect(0)?;
    assert_eq!(rotated["keys"][0]["algorithm"], "ed25519");
    whoami(&rotated["keys"][0], &private).await?.expect(0)?;
    let old = made["keys"][0]["id"].as_str().context("an id")?;
    assert_eq!(admin.run(&["client", "revoke", "bot", old]).await?.code, Some(0));
    ensure!(whoami(&made["keys"][0], &secret).await?.code != Some(0), "the old key is revoked");

    let change = ["client", "change", "bot", "--namespace", "prod-*/shop", "--requests-per-minute", "30"];
    let changed = admin.run(&change).await?.expect(0)?;
    assert_eq!(changed["scope"], json!({ "actions": ["restart"], "namespaces": ["prod-*/shop"] }));
    let freed = admin.run(&["client", "change", "bot", "--any-action", "--no-rate"]).await?.expect(0)?;
    assert_eq!(freed["scope"], json!({ "namespaces": ["prod-*/shop"] }));
    assert_eq!(freed["requestsPerMinute"], Value::Null);

    let disabled = admin.run(&["client", "disable", "bot"]).await?.expect(0)?;
    ensure!(disabled["disabledAt"].is_string(), "{disabled}");
    ensure!(whoami(&rotated["keys"][0], &private).await?.code != Some(0), "a disabled client is nobody");
    admin.run(&["client", "enable", "bot"]).await?.expect(0)?;
    whoami(&rotated["keys"][0], &private).await?.expect(0)?;
    let listed = admin.run(&["client", "list"]).await?.expect(0)?;
    assert_eq!(listed["items"][0], admin.run(&["client", "show", "bot"]).await?.expect(0)?);

    // Where no file is named the secret is printed, once.
    let printed = admin.run(&["client", "rotate", "bot"]).await?;
    ensure!(printed.stderr.contains("not shown again"), "{}", printed.stderr);
    ensure!(printed.expect(0)?["keys"][0]["secret"].is_string(), "{}", printed.stdout);
    Ok(())
}

#[tokio::test]
async fn an_alert_source_is_made_tried_changed_over_and_removed() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (admin, anybody) = (Terminal::of_admin(&stack)?, Terminal::new(&stack)?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token").display().to_string();
    let create = ["alert-source", "create", "alertmanager", "--kind", "bearer", "--out", &file];
    let made = admin.run(&create).await?.expect(0)?;
    assert_eq!(made["credentials"][0]["secret"], Value::Null, "the secret is in the file alone: {made}");
    let token = std::fs::read_to_string(&file)?;
    let tried = anybody.run(&["--token", token.trim(), "whoami"]).await?.expect(0)?;
    assert_eq!(tried["principal"], "alert-source:alertmanager");

    let said = admin.run(&["alert-source", "rotate", "alertmanager", "--kind", "basic"]).await?;
    assert!(said.stderr.contains("not shown again"), "{}", said.stderr);
    ensure!(said.expect(0)?["credentials"][0]["secret"].is_string(), "no password: {}", said.stdout);
    let first = made["credentials"][0]["id"].as_str().context("an id")?;
    admin.run(&["alert-source", "revoke", "alertmanager", first]).await?.expect(0)?;
    assert_ne!(anybody.run(&["--token", token.trim(), "whoami"]).await?.code, Some(0));
    let disabled = admin.run(&["alert-source", "disable", "alertmanager"]).await?.expect(0)?;
    assert!(disabled["disabledAt"].is_string(), "{disabled}");
    admin.run(&["alert-source", "enable", "alertmanager"]).await?.expect(0)?;
    admin.run(&["alert-source", "delete", "alertmanager"]).await?.expect(0)?;
    assert_eq!(admin.run(&["alert-source", "list"]).await?.expect(0)?["items"], json!([]));
    Ok(())
}
