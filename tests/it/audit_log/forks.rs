//! A log that was put back behind the executors' backs, and how people go on.

use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::until;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::stored::log_keys;
use super::{WITHIN, settled};
use crate::actions::scene::{Scene, expect};

const ENDS_WITHIN: Duration = Duration::from_secs(20);

async fn metrics(url: &str) -> Result<String> {
    Ok(Caller::anonymous(url)?.get("/metrics").await?.expect(200)?.text)
}

/// Makes the stored log what it was at `size` entries, as a backup of that time would.
async fn put_back(stack: &Stack, size: i64) -> Result<()> {
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let sql = format!(
        "begin; set local session_replication_role = replica; \
         delete from audit.checkpoints where size > {size}; \
         delete from audit.entries where index >= {size}; \
         delete from audit.tiles where level = 0 and index * 256 + start >= {size}; \
         update audit.sequencer set size = {size}; commit"
    );
    raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_put_back_is_found_out_changes_nothing_and_goes_on_under_another_name() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let stack = &scene.stack;
    let [control_plane] = stack.control_planes() else { panic!("one control plane") };
    let [executor] = stack.executors() else { panic!("one executor") };
    scene.deploy_small(&["web"]).await?;
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "rollout-complete");
    let backed_up = settled(stack).await?;
    let size = backed_up.checkpoints.last().context("a checkpoint")?.0;
    let done = scene.carry_out(&scene.scale("web", 3)).await?;
    expect(&done, "succeeded", "rollout-complete");

    // The executor has seen more than the log holds from here on.
    control_plane.process().terminate(ENDS_WITHIN).await?;
    put_back(stack, size).await?;
    control_plane.restart().await?;
    until("the control plane finding out", WITHIN, async || {
        Ok(metrics(control_plane.url()).await?.contains("aegis_audit_log_forked 1"))
    })
    .await?;
    let refused = scene.client.ask(&scene.scale("web", 4), 0).await?.expect(503)?.body;
    assert_eq!(refused["code"], "log-forked");
    for path in ["/health/ready", "/api/v1/actions", "/api/v1/audit/entries", "/api/v1/audit/log/checkpoint"]
    {
        scene.admin.get(path).await?.expect(200).with_context(|| format!("reading goes on: {path}"))?;
    }
    // Nor after it was started again.
    control_plane.restart().await?;
    assert_eq!(scene.client.ask(&scene.scale("web", 4), 0).await?.expect(503)?.body["code"], "log-forked");

    // What people do: another name here, and only then, by its own settings, in the executor.
    let renew = ["renew-log", "--from", "aegis.local/audit", "--to", "aegis.local/audit-2"];
    assert!(control_plane.command(renew).await.is_err(), "not while a control plane runs");
    control_plane.process().terminate(ENDS_WITHIN).await?;
    let renewed: Value = serde_json::from_str(&control_plane.command(renew).await?)?;
    assert!(control_plane.command(renew).await.is_err(), "not twice");
    let text = |member: &str| renewed[member].as_str().map(str::to_owned).context("it is printed");
    control_plane.restart_with([("AUDIT_LOG_ORIGIN", "aegis.local/audit-2")]).await?;
    executor.restart_with([("LOG_KEYS", text("key")?), ("LOG_FIRST_HEAD", text("checkpoint")?)]).await?;
    expect(&scene.carry_out(&scene.scale("web", 5)).await?, "succeeded", "rollout-complete");
    assert!(metrics(executor.url()).await?.contains("aegis_log_forked 0"));
    let entries = scene.admin.get("/api/v1/audit/entries?kind=log.renewed").await?.expect(200)?.body;
    let named = entries["items"][0]["data"]["previous"]["checkpoint"].as_str().context("it is named")?;
    assert!(named.starts_with("aegis.local/audit\n"), "{named}");
    log_keys(stack).await?.open(named.as_bytes())?;
    Ok(())
}

#[tokio::test]
async fn executors_are_given_the_newest_checkpoint_without_any_order() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let client = stack.client()?;
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    let held = async || {
        let page = metrics(stack.executors()[0].url()).await?;
        let line =
            page.lines().find(|line| line.starts_with("aegis_log_head_entries ")).context("a gauge")?;
        Ok::<i64, anyhow::Error>(line.rsplit(' ').next().context("a number")?.parse()?)
    };
    for _ in 0..2 {
        client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
        let size = settled(&stack).await?.checkpoints.last().context("a checkpoint")?.0;
        until("the executor following", WITHIN, async || Ok(held().await? >= size)).await?;
    }
    Ok(())
}
