//! What became of an attempt, and that a closed one never begins.

use std::sync::Arc;

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::order::{Act, Order};
use aegis_contract::receipt::Stage;
use aegis_tests::fault_proxy::{Matching, Moment};
use anyhow::Result;
use http::Method;
use tokio::task::{JoinSet, LocalSet};

use super::bench::{Bench, act_order, new_action_id, write_intent};

async fn scaling(bench: &Bench) -> Result<(Act, Order)> {
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
    let order = act_order(&act, 30);
    Ok((act, order))
}

#[tokio::test]
async fn an_attempt_that_was_closed_before_its_order_came_never_begins() -> Result<()> {
    let bench = Bench::start(1).await?;
    let (first, order) = scaling(&bench).await?;
    let mut third = Act { attempt: 3, ..first.clone() };
    write_intent(&mut third)?;

    assert_eq!(bench.stage(0, &bench.resolve(first.action_id, 3)?, 0).await?, Stage::Closed);
    assert_eq!(bench.stage(0, &bench.resolve(first.action_id, 3)?, 0).await?, Stage::Closed);
    assert_eq!(bench.stage(0, &bench.sign(&order)?, 0).await?, Stage::Closed);
    assert_eq!(bench.stage(0, &bench.sign(&act_order(&third, 30))?, 0).await?, Stage::Closed);
    assert_eq!(bench.rows(first.action_id).await?["closed"], 3);
    assert!(bench.writes(first.action_id)?.is_empty());

    let mut fourth = Act { attempt: 4, ..first.clone() };
    write_intent(&mut fourth)?;
    bench.carry_out(&fourth).await?;
    assert_eq!(bench.writes(first.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn resolving_an_accepted_attempt_answers_running_and_then_the_stored_final_receipt() -> Result<()> {
    let bench = Bench::start(1).await?;
    let (act, order) = scaling(&bench).await?;
    let body = bench.sign(&order)?;
    let writing = Matching::path("/scale").method(Method::PATCH);
    let mut hold = bench.replicas[0].api_server.hold(writing, Moment::BeforePassingOn);
    bench.send(0, &body, 0).await?;
    hold.reached().await?;

    let running = bench.stage(0, &bench.resolve(act.action_id, 1)?, 0).await?;
    let Stage::Running { steps } = running else { panic!("{running:?}") };
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["accepted", "checked"]);

    hold.release()?;
    bench.finished(0, &body).await?;
    let polled = bench.send(0, &body, 0).await?;
    let resolved = bench.send(0, &bench.resolve(act.action_id, 1)?, 0).await?;
    let resolved_later = bench.send(0, &bench.resolve(act.action_id, 7)?, 0).await?;
    assert_eq!((&resolved.body, &resolved_later.body), (&polled.body, &polled.body));
    // Attempts 2 to 7 were closed; the accepted one stays what it is.
    let rows = bench.rows(act.action_id).await?;
    assert_eq!((rows["accepted"], rows["finished"], rows["closed"]), (1, 1, 6));
    Ok(())
}

#[tokio::test]
async fn every_receipt_names_the_order_the_attempt_and_a_growing_ledger() -> Result<()> {
    let bench = Bench::start(1).await?;
    let (act, order) = scaling(&bench).await?;
    let body = bench.sign(&order)?;

    let accepted = bench.receipt(&bench.send(0, &body, 0).await?)?;
    bench.finished(0, &body).await?;
    let finished = bench.receipt(&bench.send(0, &body, 0).await?)?;
    let closed = bench.receipt(&bench.send(0, &bench.resolve(new_action_id(), 1)?, 0).await?)?;

    let digest = Digest::of(&canonical::to_bytes(&order)?);
    for receipt in [&accepted, &finished] {
        assert_eq!(receipt.order_digest, digest);
        assert_eq!(receipt.attempt.map(|name| (name.action_id, name.attempt)), Some((act.action_id, 1)));
    }
    assert_eq!((accepted.ledger.id, finished.ledger.id), (closed.ledger.id, closed.ledger.id));
    assert!(accepted.ledger.row >= 1 && finished.ledger.row >= accepted.ledger.row);
    assert!(closed.ledger.row > finished.ledger.row);
    Ok(())
}

#[tokio::test]
async fn twenty_copies_of_one_order_over_two_replicas_are_accepted_and_written_once() -> Result<()> {
    let bench = Arc::new(Bench::start(2).await?);
    let (act, order) = scaling(&bench).await?;
    let body = bench.sign(&order)?;

    let answers = LocalSet::new().run_until(send_copies(&bench, &body)).await?;

    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the answers differ");
    bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await?;
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

async fn send_copies(bench: &Arc<Bench>, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut copies = JoinSet::new();
    for index in 0..20 {
        let (bench, body) = (Arc::clone(bench), body.to_owned());
        copies.spawn_local(async move {
            bench.finished(index % 2, &body).await?;
            anyhow::Ok(bench.send(index % 2, &body, 0).await?.body)
        });
    }
    copies.join_all().await.into_iter().collect()
}
