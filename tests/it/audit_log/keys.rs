//! The log's key is rotated while everything goes on, and those who know the old one come to believe the new one.

use aegis_evidence::LogKeys;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::auditor::{Auditor, codes};
use super::stored::log_keys;
use super::{WITHIN, settled};
use crate::actions::scene::{Scene, expect};

async fn command(stack: &Stack, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&stack.command(args).await?)?)
}

fn text(printed: &Value, member: &str) -> Result<String> {
    printed[member].as_str().map(str::to_owned).with_context(|| format!("{member} is printed"))
}

/// Whether the newest checkpoint is signed by a key.
async fn is_signed_by(stack: &Stack, key: &str) -> Result<bool> {
    let newest = settled(stack).await?.checkpoints.pop().context("a checkpoint")?.2;
    Ok(LogKeys::new(vec![key.parse()?])?.open(newest.as_bytes()).is_ok())
}

#[tokio::test]
async fn a_new_key_signs_beside_the_old_one_until_everybody_knows_it_and_then_alone() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let stack = &scene.stack;
    scene.deploy_small(&["web"]).await?;
    let old = command(stack, &["log-key"]).await?;
    let auditor = Auditor::of(stack).await?;
    let remembered = settled(stack).await?.checkpoints.pop().context("a checkpoint")?.2;
    std::fs::write(auditor.at("remembered"), remembered)?;
    let retire_old = ["retire-log-key", "--fingerprint", &text(&old, "fingerprint")?];
    assert!(stack.command(retire_old).await.is_err(), "the only key stays");

    let new = command(stack, &["add-log-key"]).await?;
    assert_eq!(command(stack, &["log-key"]).await?, new, "it is the one to compare from here on");
    let (old_key, new_key) = (text(&old, "key")?, text(&new, "key")?);
    until("a checkpoint under both keys", WITHIN, async || {
        Ok(is_signed_by(stack, &old_key).await? && is_signed_by(stack, &new_key).await?)
    })
    .await?;
    // The executor knows the old key alone.
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "rollout-complete");

    scene.stack.executors()[0].restart_with([("LOG_KEYS", format!("{old_key},{new_key}"))]).await?;
    eventually("the old key being retired", WITHIN, async || command(stack, &retire_old).await.map(Some))
        .await?;
    // The entry that says so is the first that only the new key signs.
    until("a checkpoint under the new key alone", WITHIN, async || {
        Ok(is_signed_by(stack, &new_key).await? && !is_signed_by(stack, &old_key).await?)
    })
    .await?;
    expect(&scene.carry_out(&scene.scale("web", 3)).await?, "succeeded", "rollout-complete");
    let retire_new = ["retire-log-key", "--fingerprint", &text(&new, "fingerprint")?];
    assert!(stack.command(retire_new).await.is_err(), "the only live key stays");
    stack.control_plane(0).restart().await?;
    expect(&scene.carry_out(&scene.scale("web", 4)).await?, "succeeded", "rollout-complete");

    // Who knows the old key only is shown how it handed over.
    auditor.export("bundle", &[]).await?;
    let (code, said) = auditor.verify(&["bundle", "--remember", "remembered"]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(codes(&said, "proven").contains(&"keys-endorsed".to_owned()), "{said}");
    let (code, said) = auditor.verify_live(&["--remember", "remembered"]).await?;
    assert_eq!(code, 0, "{said}");
    let keys = LogKeys::new(vec![old_key.parse()?, new_key.parse()?])?;
    let log = settled(stack).await?;
    log.verify(&keys)?;
    ensure!(log_keys(stack).await?.keys()[0].to_string() == new_key, "the old key is printed");
    for (kind, key) in [("log.key-added", &new_key), ("log.key-retired", &old_key)] {
        assert_eq!(log.said(kind, "key")?.get(key), Some(&1), "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_somebody_else_put_into_the_database_signs_nothing() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let keys = log_keys(&stack).await?;
    let foreign = "insert into audit.log_keys (origin, key, sealed_seed, endorsement, entry_id) \
        values ('aegis.local/audit', 'aegis.local/audit+00000000+AQ==', sha256('mine'), '', gen_random_uuid())";
    let superuser = &stack.control_plane_database().superuser_url;
    aegis_tests::database::execute(superuser, foreign.to_owned()).await?;
    assert!(stack.command(["log-key"]).await.is_err(), "it does not open");
    let before = settled(&stack).await?.checkpoints.len();
    stack.control_plane(0).process().restart()?;
    let log = eventually("the log after a restart", WITHIN, async || {
        let told = stack.control_plane(0).process().log_tail(400);
        let refused = told.contains("cannot be sequenced");
        Ok(if refused { Some(super::stored::StoredLog::of(&stack).await?) } else { None })
    })
    .await?;
    log.verify(&keys)?;
    assert_eq!(log.checkpoints.len(), before, "nothing is signed any more");
    Ok(())
}
