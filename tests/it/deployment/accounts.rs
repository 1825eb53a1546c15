//! The review of both accounts at start: each with what it lacks and what it has too much.

use aegis_tests::eventually::until;
use anyhow::Result;

use super::start::{ACCOUNT, Lone, ROLLBACKS, WITHIN};

/// A line of the executor's metrics.
async fn metric(lone: &Lone, name: &str, account: &str) -> Result<String> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let text = http.get(format!("{}/metrics", lone.url)).send().await?.text().await?;
    let line = format!("{name}{{account=\"{account}\"}}");
    Ok(text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or("absent").trim().to_owned())
}

#[tokio::test]
async fn what_either_account_lacks_is_told_and_no_reason_not_to_run() -> Result<()> {
    let lone = Lone::prepare().await?;
    let token = lone.make_account_for_rollbacks().await?;
    let launch = lone.launch.clone().env("ROLLBACK_TOKEN_FILE", &token);
    let lacking = lone.start(launch.clone())?;
    lone.until_ready(&lacking).await?;
    assert_eq!(metric(&lone, "aegis_rights_missing", "executor").await?, "0");
    assert_eq!(metric(&lone, "aegis_rights_missing", "rollback").await?, "3");
    assert_eq!(metric(&lone, "aegis_rights_excess", "rollback").await?, "0");
    let said = lacking.log_tail(20);
    for part in ["patch statefulsets.apps", &lone.user(ROLLBACKS), "k8s/allowed-namespace/rollback"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    lacking.kill()?;

    lone.let_roll_back().await?;
    let whole = lone.start(launch)?;
    lone.until_ready(&whole).await?;
    assert_eq!(metric(&lone, "aegis_rights_missing", "rollback").await?, "0");
    assert_eq!(whole.log_tail(20).matches("and no more").count(), 2, "{}", whole.log_tail(20));
    Ok(())
}

#[tokio::test]
async fn an_account_for_rollbacks_that_may_do_more_is_named_and_the_executor_does_not_run() -> Result<()> {
    let lone = Lone::prepare().await?;
    let token = lone.make_account_for_rollbacks().await?;
    lone.let_roll_back().await?;
    // What the other account needs is too much for this one.
    let role = ["-n", &lone.allowed, "create", "role", "evicts", "--verb=create", "--resource=pods/eviction"];
    lone.cluster.kubectl(role).await?;
    let account = format!("--serviceaccount={}:{ROLLBACKS}", lone.home);
    let bind = ["-n", &lone.allowed, "create", "rolebinding", "evicts", "--role=evicts", &account];
    lone.cluster.kubectl(bind).await?;
    lone.until(ROLLBACKS, &lone.allowed, "create", "pods/eviction", true).await?;

    let process = lone.start(lone.launch.clone().env("ROLLBACK_TOKEN_FILE", &token))?;
    until("the executor ending", WITHIN, async || Ok(process.pid().is_none())).await?;
    let said = process.log_tail(3);
    let excess = format!("in namespace {}: create pods/eviction", lone.allowed);
    for part in [excess.as_str(), &lone.user(ROLLBACKS), "DANGEROUS_ALLOW_EXCESS_RIGHTS=true"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn one_account_for_everything_is_refused() -> Result<()> {
    let lone = Lone::prepare().await?;
    let path = lone.folder.path().join("same-token");
    std::fs::write(&path, lone.cluster.token(&lone.home, ACCOUNT).await?)?;
    let process = lone.start(lone.launch.clone().env("ROLLBACK_TOKEN_FILE", &path))?;
    until("the executor ending", WITHIN, async || Ok(process.pid().is_none())).await?;
    let said = process.log_tail(3);
    for part in [lone.user(ACCOUNT).as_str(), "must hold a token of an account of its own"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}
