//! A ledger's database that is silent, also in the middle of a commit: told in time, and nothing done twice.

use std::time::{Duration, Instant};

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_tests::database::{Server, execute};
use aegis_tests::eventually::eventually;
use anyhow::Result;

use crate::executor::bench::{Bench, WITHIN, act_order};

/// Longest any answer may take while the database does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Makes every commit of an accepted attempt take a second.
const SLOW_COMMIT: &str = "
    create function slow_commit() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$;
    create constraint trigger slow_commit after insert on ledger.rows
        deferrable initially deferred for each row execute function slow_commit()";
/// Fails unless a commit is under way.
const IS_COMMITTING: &str = "
    do $$ begin
        if not exists (select from pg_stat_activity where usename = 'aegis_executor'
                       and datname = current_database() and wait_event = 'PgSleep')
        then raise exception 'no commit is under way'; end if;
    end $$";

async fn is_told_in_time(bench: &Bench, body: &[u8]) -> Result<()> {
    let started = Instant::now();
    let answer = bench.send(0, body, 0).await?;
    assert_eq!((answer.status, answer.code()), (503, "ledger-unavailable".to_owned()));
    assert!(started.elapsed() < ANSWER_WITHIN, "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_silent_ledger_is_told_in_time_and_the_same_bytes_are_carried_out_afterwards() -> Result<()> {
    let server = Server::start().await?;
    let bench = Bench::start_on(&server, 1, &[]).await?;
    let target = bench.deploy("web").await?;
    let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    server.process().stop()?;
    is_told_in_time(&bench, &body).await?;
    assert!(bench.page(0, "/health/ready").await?.contains("ledger-unavailable"));
    server.process().cont()?;
    assert!(bench.writes(act.action_id)?.is_empty(), "nothing acts without its record");
    assert_eq!(bench.finished(0, &body).await?.code, OutcomeCode::RolloutComplete);
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_acceptance_whose_commit_is_in_doubt_is_told_in_time_and_written_once() -> Result<()> {
    for is_cut in [false, true] {
        let server = Server::start().await?;
        let bench = Bench::start_on(&server, 1, &[]).await?;
        let target = bench.deploy("web").await?;
        let act = bench.act(Change::Scale(ScaleParams { replicas: 5 }), target).await?;
        let body = bench.sign(&act_order(&act, 60))?;
        let database = &bench.database.superuser_url;
        execute(database, SLOW_COMMIT.to_owned()).await?;
        let silenced = async {
            eventually("a commit under way", WITHIN, async || {
                execute(database, IS_COMMITTING.to_owned()).await.map(Some)
            })
            .await?;
            if is_cut { server.process().kill() } else { server.process().stop() }
        };
        let (told, silenced) = tokio::join!(is_told_in_time(&bench, &body), silenced);
        silenced?;
        told?;
        assert!(bench.writes(act.action_id)?.is_empty(), "nothing acts without its record");
        if is_cut {
            server.restart().await?;
        } else {
            server.process().cont()?;
        }
        execute(database, "drop trigger slow_commit on ledger.rows".to_owned()).await?;
        assert_eq!(bench.finished(0, &body).await?.code, OutcomeCode::RolloutComplete);
        assert_eq!(bench.writes(act.action_id)?.len(), 1);
    }
    Ok(())
}
