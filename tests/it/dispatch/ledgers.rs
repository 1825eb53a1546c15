//! An executor whose ledger is lost, or put back as it was before.

use std::path::Path;

use aegis_tests::callers::Caller;
use aegis_tests::database::{Database, Service, execute};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{FaultGuard, Moment};
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::lost_orders::cut_acting;
use crate::actions::scene::{Scene, WITHIN, expect, id_of};

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

    /// Puts the ledger back as it was dumped, while its executor runs.
    async fn restore_ledger(&self, dump: &Path) -> Result<()> {
        self.stack.server().restore(Service::Executor, self.ledger(), dump).await
    }

    /// Takes the newest rows from the ledger, as files of the server that are put back do: nothing else changes.
    async fn lose_rows_after(&self, row: i64) -> Result<()> {
        let sql = format!(
            "alter table ledger.rows disable trigger all; delete from ledger.rows where row_number > {row};
             alter table ledger.rows enable trigger all;
             select setval(pg_get_serial_sequence('ledger.rows', 'row_number'), {row} + 1, false);
             delete from worker_leases"
        );
        execute(&self.ledger().superuser_url, sql).await
    }

    /// What the control plane was told of the executor of the stack's cluster, newest first.
    async fn reports(&self) -> Result<Vec<Value>> {
        let mut page = self.admin.get("/api/v1/audit/entries?kind=cluster.reported").await?.expect(200)?.body;
        let Value::Array(entries) = page["items"].take() else { bail!("a page has items") };
        Ok(entries.into_iter().map(|mut entry| entry["data"].take()).collect())
    }

    /// Two people end what nobody can resolve.
    async fn close_by_two(&self, id: &str, second: &Caller) -> Result<()> {
        let close = format!("/api/v1/actions/{id}/close");
        for _ in 0..2 {
            let once = self.admin.post(&close, &json!({})).await?.expect(200)?.body;
            assert_eq!((&once["state"], &once["outcome"]), (&json!("unknown"), &json!(null)));
        }
        expect(&second.post(&close, &json!({})).await?.expect(200)?.body, "failed", "unresolved");
        Ok(())
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
    let empty = scene.stack.server().dump(scene.ledger()).await?;
    scene.deploy_small(&["web"]).await?;
    let (id, cut) = scene.act_unheard("web").await?;
    scene.stack.executor(0).kill()?;
    scene.restore_ledger(&empty).await?;
    scene.stack.executor(0).restart().await?;
    drop(cut);
    scene.expect_left_in_doubt(&id).await?;
    let next = scene.ask(&scene.scale("web", 2)).await?;
    assert_eq!(scene.action(&next).await?["state"], "queued");

    let second = scene.stack.new_person("berta", &["admin"]).await?;
    scene.close_by_two(&id, &second).await?;
    let over = second.post(&format!("/api/v1/actions/{id}/close"), &json!({})).await?.expect(409)?;
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
async fn a_ledger_restored_under_its_executor_is_not_believed_when_it_denies_what_no_receipt_ever_named()
-> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web", "other"]).await?;
    expect(&scene.carry_out(&scene.scale("other", 1)).await?, "succeeded", "already-done");
    let dump = scene.stack.server().dump(scene.ledger()).await?;
    let (id, cut) = scene.act_unheard("web").await?;
    scene.restore_ledger(&dump).await?;
    drop(cut);

    // By its rows it is what it was: nobody ever heard of those that it lacks.
    scene.expect_left_in_doubt(&id).await?;
    // What begins anew is signed for the new ledger, and not in doubt.
    let action = scene.carry_out(&scene.scale("other", 2)).await?;
    expect(&action, "succeeded", "rollout-complete");
    let [newest, first] = &scene.reports().await?[..] else { bail!("two reports") };
    assert_eq!(newest["before"]["ledger"], first["ledger"]);
    assert_eq!(json!(scene.receipt(&action)?.ledger.id), newest["ledger"]);
    let signed = |story: &[Value]| story[3]["data"]["ledger"].clone();
    assert_eq!(signed(&scene.story(&id).await?), first["ledger"]);
    assert_eq!(signed(&scene.story(&id_of(&action)?).await?), newest["ledger"]);
    scene.only_write(&id).map(drop)
}

#[tokio::test]
async fn an_action_that_is_open_in_a_restored_ledger_is_for_two_people_to_close() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let id = scene.occupy("web").await?;
    scene.until_receipt(&id, "running").await?;
    let dump = scene.stack.server().dump(scene.ledger()).await?;
    scene.stack.executor(0).kill()?;
    scene.restore_ledger(&dump).await?;
    scene.stack.executor(0).restart().await?;

    scene.until_state(&id, "unknown").await?;
    // The executor said so itself, and says nothing else of it any more.
    let receipt = scene.until_receipt(&id, "finished").await?;
    let reports = scene.reports().await?;
    assert_ne!(receipt["data"]["ledger"]["id"], reports.last().context("a report")?["ledger"]);
    scene.mend("web").await?;
    let second = scene.stack.new_person("berta", &["admin"]).await?;
    scene.close_by_two(&id, &second).await?;
    expect(&scene.carry_out(&scene.scale("web", 2)).await?, "succeeded", "rollout-complete");
    assert_eq!(scene.action(&id).await?["state"], "failed");
    scene.only_write(&id).map(drop)
}

#[tokio::test]
async fn a_ledger_whose_files_were_put_back_is_not_believed_when_it_denies_what_it_forgot() -> Result<()> {
    let scene = Scene::open(StackOptions { order_proxy: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web", "other"]).await?;
    // The shortest story a ledger can hold after the backup: two rows, and the second is never spoken of.
    expect(&scene.carry_out(&scene.scale("other", 1)).await?, "succeeded", "already-done");
    let (id, cut) = scene.act_unheard("web").await?;
    scene.stack.executor(0).kill()?;
    scene.lose_rows_after(0).await?;
    scene.stack.executor(0).restart().await?;
    // The first denials are lost on the way. What they added to the ledger must not make up for what it lacks.
    let orders = scene.stack.orders()?;
    let asked = orders.seen().len();
    until("a denial being lost", WITHIN, async || Ok(orders.seen().len() > asked + 1)).await?;
    drop(cut);

    scene.expect_left_in_doubt(&id).await?;
    // What begins anew is not in doubt. It is the same ledger, as far as anybody can tell from its place.
    expect(&scene.carry_out(&scene.scale("other", 2)).await?, "succeeded", "rollout-complete");
    assert_eq!(scene.reports().await?.len(), 1);
    scene.only_write(&id).map(drop)
}
