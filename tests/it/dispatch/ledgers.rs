//! An executor whose ledger is lost, or put back as it was before.

use aegis_tests::database::{Database, Service, execute};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{FaultGuard, Moment};
use aegis_tests::paths::random_name;
use aegis_tests::stack::StackOptions;
use anyhow::Result;
use serde_json::json;

use super::lost_orders::cut_acting;
use crate::actions::scene::{Scene, WITHIN, expect};

/// What is told of an action whose executor does not know it any more.
const FORGOTTEN: [&str; 6] = [
    "action.requested",
    "decision.made",
    "action.intent",
    "order.signed",
    "action.unknown",
    "receipt.received",
];

impl Scene {
    fn ledger(&self) -> &Database {
        self.stack.executor_database()
    }

    /// Runs a statement beside the ledger's database, while nobody is connected to it.
    async fn with_ledger_unused(&self, sql: &str) -> Result<()> {
        let name = &self.ledger().name;
        self.stack.executor(0).kill()?;
        let elsewhere = self.ledger().superuser_url.replacen(&format!("/{name}"), "/postgres", 1);
        // The server may take a moment to notice that the executor is gone.
        let drop_connections =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
        until("the ledger's database being unused", WITHIN, async || {
            execute(&elsewhere, drop_connections.clone()).await?;
            execute(&elsewhere, sql.to_owned()).await?;
            Ok(true)
        })
        .await?;
        self.stack.executor(0).restart().await
    }

    /// A copy of the ledger's database as it is now; returns its name.
    async fn back_up_ledger(&self) -> Result<String> {
        let copy = format!("backup_{}", random_name(8));
        let (owner, name) = (Service::Executor.owner_role(), &self.ledger().name);
        self.with_ledger_unused(&format!("create database {copy} template {name} owner {owner}")).await?;
        Ok(copy)
    }

    /// Puts another database in the place of the ledger's.
    async fn replace_ledger(&self, by: &str) -> Result<()> {
        let name = &self.ledger().name;
        self.with_ledger_unused(&format!(
            "do $$ begin alter database {name} rename to {name}_lost; alter database {by} rename to {name}; end $$"
        ))
        .await
    }

    /// An action that was carried out, and whose every answer is lost as long as the guard lives.
    async fn act_unheard(&self, name: &str) -> Result<(String, FaultGuard)> {
        let cut = cut_acting(self, Moment::BeforeAnswering)?;
        let id = self.ask(&self.restart(name)).await?;
        self.until_state(&id, "unknown").await?;
        until("the write", WITHIN, async || Ok(!self.writes(&id)?.is_empty())).await?;
        Ok((id, cut))
    }

    /// Whether the executor said `closed` and was not believed.
    async fn expect_left_in_doubt(&self, id: &str) -> Result<()> {
        self.until_receipt(id, "closed").await?;
        self.expect_story(id, &FORGOTTEN).await?;
        assert_eq!(self.action(id).await?["state"], "unknown");
        self.only_write(id).map(drop)
    }
}

#[tokio::test]
async fn a_lost_ledger_leaves_the_action_unknown_until_two_people_close_it() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web"]).await?;
    let (id, cut) = scene.act_unheard("web").await?;
    let empty = scene.stack.server().fresh(Service::Executor).await?;
    scene.replace_ledger(&empty.name).await?;
    drop(cut);
    scene.expect_left_in_doubt(&id).await?;
    let next = scene.ask(&scene.scale("web", 2)).await?;
    assert_eq!(scene.action(&next).await?["state"], "queued");

    let close = format!("/api/v1/actions/{id}/close");
    for _ in 0..2 {
        let once = scene.admin.post(&close, &json!({})).await?.expect(200)?.body;
        assert_eq!((&once["state"], &once["outcome"]), (&json!("unknown"), &json!(null)));
    }
    let second = scene.stack.new_person("berta", &["admin"]).await?;
    expect(&second.post(&close, &json!({})).await?.expect(200)?.body, "failed", "unresolved");
    let over = second.post(&close, &json!({})).await?.expect(409)?;
    assert_eq!((over.code(), &over.body["state"]), ("not-closable", &json!("failed")));

    let closing = ["action.close-requested", "action.close-requested", "action.ended"];
    let story = scene.expect_story(&id, &[&FORGOTTEN[..], &closing].concat()).await?;
    assert_ne!(story[6]["principal"], story[7]["principal"]);
    assert_eq!(story[8]["principal"], story[7]["principal"]);
    // The target is free again, also for the executor's new ledger.
    expect(&scene.ended(&next).await?, "succeeded", "rollout-complete");
    for id in [&id, &next] {
        scene.only_write(id)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_put_back_from_a_backup_is_not_believed_when_it_denies_what_it_forgot() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web", "other"]).await?;
    let backup = scene.back_up_ledger().await?;
    // The shortest story a ledger can hold after the backup: two rows, and the second is never spoken of.
    expect(&scene.carry_out(&scene.scale("other", 1)).await?, "succeeded", "already-done");
    let (id, cut) = scene.act_unheard("web").await?;
    scene.replace_ledger(&backup).await?;
    // The first denials are lost on the way. What they added to the ledger must not make up for what it lacks.
    let orders = scene.stack.orders()?;
    let asked = orders.seen().len();
    until("a denial being lost", WITHIN, async || Ok(orders.seen().len() > asked + 1)).await?;
    drop(cut);

    scene.expect_left_in_doubt(&id).await?;
    // What begins anew is not in doubt.
    expect(&scene.carry_out(&scene.scale("other", 2)).await?, "succeeded", "rollout-complete");
    scene.only_write(&id).map(drop)
}
