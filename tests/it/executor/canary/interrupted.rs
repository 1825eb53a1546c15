//! The executor killed or stopped with a canary under way: nothing is done twice, and the others still wait for it.

use aegis_contract::code::OutcomeCode;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Kind;
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::EXECUTOR_USER;
use aegis_tests::fault_proxy::Moment;
use aegis_tests::workload::deployment;
use anyhow::Result;

use super::super::bench::{Bench, WITHIN};
use super::super::workloads::{RESTART_WITH_CANARY, expect};
use super::{evicting, expect_done, restarting};

#[tokio::test]
async fn killed_around_either_write_each_is_made_once_and_the_others_still_wait_for_the_canary() -> Result<()>
{
    for moment in [Moment::BeforePassingOn, Moment::BeforeAnswering] {
        for is_of_canary in [true, false] {
            let bench = Bench::start(1).await?;
            let web = bench.deploy("web").await?;
            let act = bench.act(RESTART_WITH_CANARY, web.clone()).await?;
            let call = if is_of_canary { evicting() } else { restarting(&web) };
            let (body, hold) = bench.canary_held(&act, call, moment).await?;
            bench.restart(0).await?;

            let result = bench.finished(0, &body).await?;

            expect_done(&result);
            let made = bench.evicted(&act)?;
            assert_eq!(
                (made.0.len(), made.1, bench.announced(&act).await?),
                (1, 1, 2),
                "{moment:?} {result:?}"
            );
            // The dead process' write, still in flight, finds another pod, or another version.
            if moment == Moment::BeforePassingOn {
                hold.release()?;
                expect_turned_down(&bench).await?;
                assert_eq!(bench.evicted(&act)?, made);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_replica_that_was_stopped_with_its_canary_evicts_and_restarts_nothing_when_it_goes_on() -> Result<()>
{
    let bench = Bench::start(2).await?;
    let web = bench.deploy("web").await?;
    let act = bench.act(RESTART_WITH_CANARY, web).await?;
    let (body, hold) = bench.canary_held(&act, evicting(), Moment::BeforePassingOn).await?;
    bench.replicas[0].process.stop()?;

    let result = bench.finished(1, &body).await?;
    expect_done(&result);
    let pods = bench.pods_of("web").await?;
    hold.release()?;
    bench.replicas[0].process.cont()?;
    expect_turned_down(&bench).await?;

    assert_eq!(bench.finished(0, &body).await?, result);
    let (evicted, others) = bench.evicted(&act)?;
    assert_eq!((evicted.len(), others, bench.pods_of("web").await?), (1, 1, pods));
    Ok(())
}

#[tokio::test]
async fn a_bad_canary_is_called_so_by_the_next_worker_too() -> Result<()> {
    let bench = Bench::start(1).await?;
    let web = bench.about_to_break(Kind::Deployment, deployment("web", "app:1", 3), "crash").await?;
    let before = bench.as_it_is(&web).await?;
    let act = bench.act(RESTART_WITH_CANARY, web).await?;
    let (body, _hold) = bench.canary_held(&act, evicting(), Moment::BeforeAnswering).await?;
    bench.restart(0).await?;

    let result = bench.finished(0, &body).await?;

    expect(&result, ExecutionStatus::Failed, OutcomeCode::CrashLoop);
    assert_eq!(bench.announced(&act).await?, 1);
    bench.expect_untouched(&act, &before).await
}

/// Waits until the API server has turned a late write down.
async fn expect_turned_down(bench: &Bench) -> Result<()> {
    until("the late write being turned down", WITHIN, async || {
        let requests = bench.cluster.audit().requests()?;
        Ok(requests.iter().any(|request| {
            let status = request.response_status.as_ref().map(|status| status.code);
            request.is_in(&bench.namespace)
                && matches!(request.verb.as_str(), "create" | "patch")
                && request.user.username == EXECUTOR_USER
                && matches!(status, Some(404 | 409 | 422))
        }))
    })
    .await
}
