//! An executor whose ledger is put back, or moved, under it: it is another ledger then. What was begun in the old
//! one ends in doubt, and what was signed for the old one is not begun.

use std::time::Duration;

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::LedgerId;
use aegis_contract::order::Act;
use aegis_contract::receipt::{ExecutionStatus, Stage};
use aegis_tests::database::{Server, Service};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Matching, Moment};
use anyhow::{Context, Result};
use http::Method;
use sqlx::{Connection, PgConnection, raw_sql};

use super::bench::{Bench, WITHIN, act_order, now};

/// Longest after its new place can be reached that the ledger may be without a name.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

async fn scaling(bench: &Bench, name: &str) -> Result<Act> {
    let target = bench.deploy(name).await?;
    bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await
}

/// Waits until the ledger has a name, which must be another one than `old`.
async fn until_named_anew(bench: &Bench, old: LedgerId) -> Result<()> {
    until("the ledger being named anew", NAMED_WITHIN, async || {
        let page: serde_json::Value = serde_json::from_str(&bench.page(0, "/health/ready").await?)?;
        let id = page["ledger"]["id"].as_str().with_context(|| page.to_string())?;
        assert_ne!(id, old.to_string(), "the old name was served in the new place");
        Ok(true)
    })
    .await
}

/// Whether an action whose order was accepted has ended in doubt, for whoever asks and however.
async fn expect_in_doubt(bench: &Bench, act: &Act, body: &[u8]) -> Result<()> {
    let answer = bench.send(0, body, 0).await?;
    let receipt = bench.receipt(&answer)?;
    assert_ne!(receipt.ledger.id, act.ledger);
    let Stage::Finished { result } = receipt.stage else { panic!("{:?}", receipt.stage) };
    assert_eq!((result.status, result.code), (ExecutionStatus::Unknown, OutcomeCode::WriteInDoubt));
    let resolved = bench.send(0, &bench.resolve(act.action_id, 1)?, 0).await?;
    assert_eq!(resolved.body, answer.body);
    Ok(())
}

/// Whether an order for an earlier ledger is turned down, and leaves no trace.
async fn expect_turned_down(bench: &Bench, act: &Act, body: &[u8]) -> Result<()> {
    let answer = bench.send(0, body, 0).await?;
    assert_eq!((answer.status, answer.code()), (409, "ledger-changed".to_owned()));
    bench.expect_rows(act.action_id, &[]).await?;
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_restored_dump_is_another_ledger_that_repeats_nothing_and_takes_no_order_for_the_old_one()
-> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[]).await?;
    let forgotten = scaling(&bench, "web").await?;
    let late = scaling(&bench, "late").await?;
    let (body, late_body) = (bench.sign(&act_order(&forgotten, 60))?, bench.sign(&act_order(&late, 60))?);
    let reading = Matching::path("/deployments/web").method(Method::GET);
    let mut hold = bench.replicas[0].api_server.hold(reading, Moment::BeforePassingOn);
    bench.send(0, &body, 0).await?;
    hold.reached().await?;
    // The backup knows that the order was accepted, and not that it was carried out.
    bench.expect_rows(forgotten.action_id, &["accepted"]).await?;
    let dump = server.dump(&bench.database).await?;
    hold.release()?;
    assert_eq!(bench.finished(0, &body).await?.code, OutcomeCode::RolloutComplete);
    let namespace = bench.namespace.as_str();
    bench.cluster.kubectl(["-n", namespace, "scale", "deployment/web", "--replicas=3"]).await?;

    server.restore(Service::Executor, &bench.database, &dump).await?;
    until_named_anew(&bench, forgotten.ledger).await?;

    expect_in_doubt(&bench, &forgotten, &body).await?;
    bench.expect_rows(forgotten.action_id, &["accepted", "finished"]).await?;
    assert_eq!(bench.writes(forgotten.action_id)?.len(), 1);
    expect_turned_down(&bench, &late, &late_body).await?;
    // Started again it keeps its name, and what is signed for that is carried out.
    let named = bench.observe(&late.target).await?.ledger.id;
    bench.restart(0).await?;
    let next = bench.act(Change::Scale(ScaleParams { replicas: 5 }), late.target.clone()).await?;
    assert_eq!(next.ledger, named);
    assert_eq!(bench.carry_out(&next).await?.code, OutcomeCode::RolloutComplete);
    expect_turned_down(&bench, &late, &late_body).await
}

#[tokio::test]
async fn a_worker_from_before_the_restore_does_not_go_on_though_its_lease_is_in_the_backup() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[]).await?;
    let act = scaling(&bench, "web").await?;
    let order = act_order(&act, 60);
    let body = bench.sign(&order)?;
    let reading = Matching::path("/deployments/web").method(Method::GET);
    let mut hold = bench.replicas[0].api_server.hold(reading, Moment::BeforePassingOn);
    bench.send(0, &body, 0).await?;
    hold.reached().await?;
    let dump = server.dump(&bench.database).await?;
    bench.replicas[0].process.stop()?;
    server.restore(Service::Executor, &bench.database, &dump).await?;
    // As if another replica were about to name the ledger: until it has, nobody may use it.
    let mut naming = PgConnection::connect(&bench.database.superuser_url).await?;
    raw_sql("select pg_advisory_lock(7018129296931645796)").execute(&mut naming).await?;
    bench.replicas[0].process.cont()?;
    let answer = bench.send(0, &body, 0).await?;
    assert_eq!((answer.status, answer.code()), (503, "ledger-unavailable".to_owned()));

    hold.release()?;
    // It stops either way: by what the ledger answers, or by a connection that the restore has cut.
    until("the worker letting go", WITHIN, async || {
        let log = bench.replicas[0].process.log_tail(1000);
        Ok(["the lease is lost", "the ledger failed; the action is resumed later"]
            .iter()
            .any(|line| log.contains(line)))
    })
    .await?;
    naming.close().await?;
    until_named_anew(&bench, act.ledger).await?;

    expect_in_doubt(&bench, &act, &body).await?;
    bench.expect_rows(act.action_id, &["accepted", "finished"]).await?;
    assert!(now() < order.not_after, "it had the time to go on");
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_promoted_standby_is_another_ledger_though_nothing_else_tells_of_what_it_lacks() -> Result<()> {
    let server = Server::start().await?;
    let bench = Bench::start_on(&server, 2, &[]).await?;
    let (forgotten, open) = (scaling(&bench, "web").await?, scaling(&bench, "open").await?);
    // In the order in which they are sent: each proves that the log has grown from the one before.
    let (open_body, body) = (bench.sign(&act_order(&open, 60))?, bench.sign(&act_order(&forgotten, 60))?);
    let watching = Matching::path("/deployments/open/scale").method(Method::PATCH);
    let mut hold = bench.replicas[0].api_server.hold(watching, Moment::BeforeAnswering);
    bench.send(0, &open_body, 0).await?;
    hold.reached().await?;
    let standby = server.base_backup().await?;
    assert_eq!(bench.finished(0, &body).await?.code, OutcomeCode::RolloutComplete);

    server.fail_over_to(&standby).await?;
    until_named_anew(&bench, forgotten.ledger).await?;
    hold.release()?;

    // The standby had not heard of it: the order would be begun anew.
    expect_turned_down_again(&bench, &forgotten, &body).await?;
    expect_in_doubt(&bench, &open, &open_body).await?;
    for act in [&forgotten, &open] {
        assert_eq!(bench.writes(act.action_id)?.len(), 1);
    }
    let next = bench.act(Change::Scale(ScaleParams { replicas: 2 }), forgotten.target.clone()).await?;
    assert_eq!(bench.carry_out(&next).await?.code, OutcomeCode::RolloutComplete);
    let names = bench.query("select ledger_id from ledger.identities").await?;
    assert_eq!(names.len(), 2, "two replicas name the ledger once");
    Ok(())
}

async fn expect_turned_down_again(bench: &Bench, act: &Act, body: &[u8]) -> Result<()> {
    for replica in 0..bench.replicas.len() {
        let answer = bench.send(replica, body, 0).await?;
        assert_eq!((answer.status, answer.code()), (409, "ledger-changed".to_owned()));
    }
    bench.expect_rows(act.action_id, &[]).await
}
