//! What the executor does while its ledger or its cluster is away, and what it lets nobody do to the ledger.

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Instruction, Observe};
use aegis_contract::receipt::ExecutionStatus;
use aegis_tests::database::{Server, execute};
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::EXECUTOR_USER;
use aegis_tests::fault_proxy::{Matching, Moment};
use anyhow::Result;
use http::{Method, StatusCode};

use super::bench::{Bench, WITHIN, act_order, order};

#[tokio::test]
async fn without_its_ledger_it_answers_503_and_afterwards_carries_out_the_same_bytes() -> Result<()> {
    let server = Server::start().await?;
    let bench = Bench::start_on(&server, 1, &[]).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
    let body = bench.sign(&act_order(&act, 60))?;

    server.process().kill()?;
    let answer = bench.send(0, &body, 0).await?;
    assert_eq!((answer.status, answer.code()), (503, "ledger-unavailable".to_owned()));
    let page = bench.page(0, "/health/ready").await?;
    assert!(page.contains("ledger-unavailable"), "{page}");
    assert!(bench.page(0, "/health/ping").await?.contains("ok"));

    server.process().start_again()?;
    server.wait_until_ready().await?;
    let result = bench.finished(0, &body).await?;
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_fails_in_the_middle_of_an_action_is_no_reason_to_write_twice() -> Result<()> {
    let server = Server::start().await?;
    let bench = Bench::start_on(&server, 1, &[]).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    let writing = Matching::path("/scale").method(Method::PATCH);
    let mut hold = bench.replicas[0].api_server.hold(writing, Moment::BeforeAnswering);
    bench.send(0, &body, 0).await?;
    hold.reached().await?;

    server.process().kill()?;
    hold.release()?;
    let answer = bench.send(0, &body, 0).await?;
    assert_eq!((answer.status, answer.code()), (503, "ledger-unavailable".to_owned()));
    server.process().start_again()?;
    server.wait_until_ready().await?;

    let result = bench.finished(0, &body).await?;
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn without_the_api_server_observing_answers_503_and_acting_waits_or_expires() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target.clone()).await?;
    let away = bench.replicas[0].api_server.cut_off();

    let observe = order(Instruction::Observe(Observe { target, change: None }), 30);
    let answer = bench.send(0, &bench.sign(&observe)?, 0).await?;
    assert_eq!((answer.status, answer.code()), (503, "cluster-unavailable".to_owned()));
    let result = bench.finished(0, &bench.sign(&act_order(&act, 2))?).await?;
    assert_eq!((result.status, result.code), (ExecutionStatus::Expired, OutcomeCode::DeadlinePassed));

    drop(away);
    assert!(bench.writes(act.action_id)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_504_that_took_effect_is_not_repeated_and_one_that_did_not_is() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let writing = || Matching::path("/scale").method(Method::PATCH);

    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target.clone()).await?;
    let cut = bench.replicas[0].api_server.cut(writing(), Moment::BeforeAnswering);
    let result = bench.carry_out(&act).await?;
    drop(cut);
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert_eq!(bench.writes(act.action_id)?.len(), 1);

    let act = bench.act(Change::Scale(ScaleParams { replicas: 2 }), target).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    let gateway = bench.replicas[0].api_server.answer(writing(), StatusCode::GATEWAY_TIMEOUT, "{}");
    bench.send(0, &body, 1).await?;
    drop(gateway);
    let result = bench.finished(0, &body).await?;
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_the_cluster_does_not_allow_is_not_tried_again() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let unwritable = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target.clone()).await?;
    let unreadable = bench.act(Change::Scale(ScaleParams { replicas: 6 }), target).await?;
    let namespace = bench.namespace.as_str();

    let without_scale = r#"[{ "op": "remove", "path": "/rules/1" }]"#;
    let patch = ["-n", namespace, "patch", "role", "aegis-executor", "--type=json", "-p", without_scale];
    bench.cluster.kubectl(patch).await?;
    until_forbidden(&bench, &["patch", "deployments", "--subresource=scale"]).await?;
    let result = bench.carry_out(&unwritable).await?;
    assert_eq!((result.status, result.code), (ExecutionStatus::Failed, OutcomeCode::ClusterRefused));

    bench.cluster.kubectl(["-n", namespace, "delete", "rolebinding", "aegis-executor"]).await?;
    until_forbidden(&bench, &["get", "deployments"]).await?;
    let result = bench.carry_out(&unreadable).await?;
    assert_eq!((result.status, result.code), (ExecutionStatus::Refused, OutcomeCode::ClusterRefused));
    Ok(())
}

async fn until_forbidden(bench: &Bench, what: &[&str]) -> Result<()> {
    let who = format!("--as={EXECUTOR_USER}");
    until("the executor losing a right", WITHIN, async || {
        let asking = ["-n", &bench.namespace, "auth", "can-i", &who].into_iter().chain(what.iter().copied());
        let answer = bench.cluster.kubectl_launch().args(asking).output_with(Vec::new()).await?;
        Ok(String::from_utf8_lossy(&answer.stdout).trim() == "no")
    })
    .await
}

#[tokio::test]
async fn the_ledger_takes_no_change_from_anybody_and_its_role_can_only_add() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
    bench.carry_out(&act).await?;

    for url in [&bench.database.url, &bench.database.owner_url, &bench.database.superuser_url] {
        for sql in [
            "update ledger.rows set fence = 9",
            "delete from ledger.rows",
            "truncate ledger.rows",
            "update ledger.identities set ledger_id = gen_random_uuid()",
            "delete from ledger.identities",
            "truncate ledger.identities",
        ] {
            assert!(execute(url, sql.to_owned()).await.is_err(), "{sql} was allowed");
        }
    }
    let disable = "alter table ledger.rows disable trigger all";
    assert!(execute(&bench.database.url, disable.to_owned()).await.is_err());
    bench.expect_rows(act.action_id, &["accepted", "acting", "finished"]).await
}
