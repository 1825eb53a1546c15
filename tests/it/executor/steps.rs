//! The executor killed before and after every one of its steps, for each type of action: every row of its ledger and
//! every call to the API server, up to the beginning of the watch. The action is done once and its end is told once.
//!
//! What is on its way when the executor is killed arrives after it.

use aegis_contract::action::{Change, NoParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, AutomaticReturn};
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus, Stage};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Hold, Matching, Moment};
use aegis_tests::paths::random_name;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::bench::{Bench, WITHIN, act_order, write_intent};
use super::workloads::{RESTART, RESTART_WITH_CANARY, ROLLBACK, expect, scale};

/// The kinds of rows, and which of an action's calls are held beside each. Rows that end an action come when the
/// calls are long over.
const ROUNDS: [(&str, std::ops::Range<usize>); 3] =
    [("accepted", 0..6), ("acting", 6..12), ("finished", 0..0)];
const MOMENTS: [Moment; 2] = [Moment::BeforePassingOn, Moment::BeforeAnswering];
/// Makes rows that are named in `held` wait for a lock that the test has.
const HOLD_ROWS: &str = "
    create table public.held (action_id uuid not null, kind text not null, number integer not null);
    create function public.hold_row() returns trigger language plpgsql security definer as $$
    begin
        if exists (
            select from public.held
            where held.action_id = new.action_id and held.kind = new.kind
                and held.number = coalesce((new.body ->> 'number')::integer, 1)
        ) then
            perform pg_advisory_xact_lock_shared(1);
        end if;
        return new;
    end $$;
    create trigger hold_row before insert on ledger.rows for each row execute function public.hold_row();
";
const WAITING: &str = "select pid from pg_locks where locktype = 'advisory' and not granted
    and database = (select oid from pg_database where datname = current_database())";

/// A row of the ledger that is held on its way.
struct RowHold {
    connection: PgConnection,
}

impl RowHold {
    /// Holds the row of a kind, of an action's write with this number, when it comes.
    async fn set(bench: &Bench, act: &Act, kind: &str, number: u32) -> Result<Self> {
        let mut connection = PgConnection::connect(&bench.database.superuser_url).await?;
        raw_sql("select pg_advisory_lock(1)").execute(&mut connection).await?;
        let held = format!("insert into public.held values ('{}', '{kind}', {number})", act.action_id);
        raw_sql(AssertSqlSafe(held)).execute(&mut connection).await?;
        Ok(Self { connection })
    }

    async fn reached(&mut self) -> Result<()> {
        until("a row being held", WITHIN, async || {
            Ok(!raw_sql(WAITING).fetch_all(&mut self.connection).await?.is_empty())
        })
        .await
    }

    /// Lets the row in, as if the ledger's answer had been lost, or keeps it out.
    async fn release(mut self, moment: Moment) -> Result<()> {
        if moment == Moment::BeforePassingOn {
            let end = format!("select pg_terminate_backend(pid, 5000) from ({WAITING}) as waiting");
            raw_sql(AssertSqlSafe(end)).execute(&mut self.connection).await?;
        }
        raw_sql("delete from public.held").execute(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(())
    }
}

/// An action on its way.
struct Sent {
    act: Act,
    body: Vec<u8>,
}

impl Bench {
    /// A workload, or a pod of it, to which `change` can be done.
    async fn ready_for(&self, change: &Change, name: &str) -> Result<Target> {
        if matches!(change, Change::Rollback(_)) {
            self.cluster.apply_in(&self.namespace, deployment(name, "app:2", 1)).await?;
            self.begun(&self.target(Kind::Deployment, name)).await?;
        }
        let replicas = if change.has_canary() { 2 } else { 1 };
        let target = self.apply_complete(Kind::Deployment, deployment(name, "app:1", replicas)).await?;
        if !matches!(change, Change::RestartPod(_)) {
            return Ok(target);
        }
        let pods = self.cluster.pods(&self.namespace, name).await?;
        let pod = pods[0]["metadata"]["name"].as_str().context("no name")?;
        Ok(self.target(Kind::Pod, pod))
    }

    async fn act_on_new(&self, change: &Change, name: String) -> Result<Act> {
        self.act(change.clone(), self.ready_for(change, &name).await?).await
    }

    /// Has it accepted, one after the other: each is shown the log as it has grown.
    async fn send_to_act(&self, act: Act) -> Result<Sent> {
        let sent = self.sign_to_act(act)?;
        self.stage(0, &sent.body, 0).await?;
        Ok(sent)
    }

    fn sign_to_act(&self, act: Act) -> Result<Sent> {
        let body = self.sign(&act_order(&act, 60))?;
        Ok(Sent { act, body })
    }

    /// Kills the executor while one row and some calls are on their way, each of another action, and starts it again.
    /// Returns the actions, and how many of the calls were caught.
    async fn kill_around(
        &self,
        change: &Change,
        (row, calls): (&str, std::ops::Range<usize>),
        moment: Moment,
    ) -> Result<(Vec<Sent>, usize)> {
        let names = || (0..=calls.len()).map(|_| format!("w-{}", random_name(8)));
        let mut acts = try_join_all(names().map(|name| self.act_on_new(change, name))).await?;
        let recorded = acts.pop().context("there are acts")?;

        let mut sent = Vec::new();
        let mut holds = Vec::new();
        for (act, call) in acts.into_iter().zip(calls) {
            let of_it = Matching::any().agent(&act.action_id.to_string());
            let hold = self.replicas[0].api_server.hold_after(call, of_it, moment);
            sent.push(self.send_to_act(act).await?);
            holds.push(hold);
        }
        for (hold, sent) in holds.iter_mut().zip(&sent) {
            self.until_held_or_over(hold, sent).await?;
        }
        let mut row_hold = RowHold::set(self, &recorded, row, 1).await?;
        let recorded = self.sign_to_act(recorded)?;
        let sending = tokio::spawn(self.sending(0, &recorded.body, 0));
        row_hold.reached().await?;

        self.replicas[0].process.kill()?;
        row_hold.release(moment).await?;
        let caught = holds.into_iter().filter_map(|hold| hold.release().ok()).count();
        // It was answered, or cut off by the kill.
        sending.await?.ok();
        sent.push(recorded);
        self.restart(0).await?;
        Ok((sent, caught))
    }

    /// Kills the executor while a row of an action is on its way, and starts it again.
    async fn kill_at_row(&self, act: Act, row: &str, number: u32, moment: Moment) -> Result<Sent> {
        let mut hold = RowHold::set(self, &act, row, number).await?;
        let sent = self.send_to_act(act).await?;
        hold.reached().await?;
        self.replicas[0].process.kill()?;
        hold.release(moment).await?;
        self.restart(0).await?;
        Ok(sent)
    }

    /// Waits until a call is held, or the action is over and did not make so many.
    async fn until_held_or_over(&self, hold: &mut Hold, sent: &Sent) -> Result<()> {
        let over = async {
            until("the action's end", WITHIN, async || {
                Ok(self.rows(sent.act.action_id).await?.contains_key("finished"))
            })
            .await
        };
        tokio::select! {
            held = hold.reached() => held.map(drop),
            over = over => over,
        }
    }

    async fn expect_done_once(&self, sent: &Sent, done: OutcomeCode) -> Result<()> {
        let result = self.finished(0, &sent.body).await?;
        expect(&result, ExecutionStatus::Succeeded, done);
        let writes = if sent.act.change.has_canary() { 2 } else { 1 };
        self.expect_told_once(sent, &result, writes).await
    }

    /// The action has so many writes, in the ledger and in the API server's own log, and one end.
    async fn expect_told_once(&self, sent: &Sent, result: &ExecutionResult, writes: usize) -> Result<()> {
        let id = sent.act.action_id;
        let made = self.writes(id)?;
        assert_eq!(made.len(), writes, "{result:?}: {made:?}");
        let expected = [("accepted", 1), ("acting", i64::try_from(writes)?), ("finished", 1)];
        let expected = expected.map(|(kind, count)| (kind.to_owned(), count)).into();
        assert_eq!(self.rows(id).await?, expected, "{result:?}");
        match self.stage(0, &sent.body, 0).await? {
            Stage::Finished { result: again } => assert_eq!(&again, result),
            stage => bail!("{stage:?}"),
        }
        Ok(())
    }
}

/// Kills the executor around every step of such an action.
async fn expect_done_once_whenever_it_is_killed(change: Change, done: OutcomeCode) -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.query(HOLD_ROWS).await?;
    let mut all_caught = 0;
    for moment in MOMENTS {
        for round in ROUNDS {
            let (sent, caught) = bench.kill_around(&change, round, moment).await?;
            try_join_all(sent.iter().map(|sent| bench.expect_done_once(sent, done))).await?;
            all_caught += caught;
        }
    }
    // Reading, trying and writing take at least three calls, and these rounds hold twelve at either moment.
    assert!(all_caught >= 6, "only {all_caught} calls were caught");
    println!("{}: killed around 6 rows and {all_caught} calls", change.action_type());
    Ok(())
}

#[tokio::test]
async fn a_restart_is_made_once_whichever_step_the_executor_is_killed_at() -> Result<()> {
    expect_done_once_whenever_it_is_killed(RESTART, OutcomeCode::RolloutComplete).await
}

#[tokio::test]
async fn an_eviction_is_made_once_whichever_step_the_executor_is_killed_at() -> Result<()> {
    expect_done_once_whenever_it_is_killed(Change::RestartPod(NoParams {}), OutcomeCode::PodReplaced).await
}

#[tokio::test]
async fn a_scaling_is_made_once_whichever_step_the_executor_is_killed_at() -> Result<()> {
    expect_done_once_whenever_it_is_killed(scale(2), OutcomeCode::RolloutComplete).await
}

#[tokio::test]
async fn a_rollback_is_made_once_whichever_step_the_executor_is_killed_at() -> Result<()> {
    expect_done_once_whenever_it_is_killed(ROLLBACK, OutcomeCode::RolloutComplete).await
}

#[tokio::test]
async fn a_canary_and_its_restart_are_made_once_whichever_step_the_executor_is_killed_at() -> Result<()> {
    expect_done_once_whenever_it_is_killed(RESTART_WITH_CANARY, OutcomeCode::RolloutComplete).await
}

#[tokio::test]
async fn the_restart_after_a_canary_is_made_once_whichever_of_its_rows_the_executor_is_killed_at()
-> Result<()> {
    let bench = Bench::start(1).await?;
    bench.query(HOLD_ROWS).await?;
    for (row, number) in [("acting", 2), ("finished", 1)] {
        for moment in MOMENTS {
            let act = bench.act_on_new(&RESTART_WITH_CANARY, format!("w-{}", random_name(8))).await?;
            let sent = bench.kill_at_row(act, row, number, moment).await?;
            bench.expect_done_once(&sent, OutcomeCode::RolloutComplete).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_return_is_made_once_whichever_of_its_rows_the_executor_is_killed_at() -> Result<()> {
    let bench = Bench::start(1).await?;
    bench.query(HOLD_ROWS).await?;
    for (row, number) in [("acting", 2), ("finished", 1)] {
        for moment in MOMENTS {
            let name = format!("w-{}", random_name(8));
            bench.cluster.apply_in(&bench.namespace, deployment(&name, "app:bad-pull", 1)).await?;
            bench.begun(&bench.target(Kind::Deployment, &name)).await?;
            let target = bench.apply_complete(Kind::Deployment, deployment(&name, "app:1", 1)).await?;
            let mut act = bench.act(ROLLBACK, target).await?;
            act.automatic_return = Some(AutomaticReturn { within_seconds: 60 });
            write_intent(&mut act)?;

            let sent = bench.kill_at_row(act, row, number, moment).await?;
            let result = bench.finished(0, &sent.body).await?;
            expect(&result, ExecutionStatus::Returned, OutcomeCode::ImagePullFailed);
            bench.expect_told_once(&sent, &result, 2).await?;
        }
    }
    Ok(())
}
