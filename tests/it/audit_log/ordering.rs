//! Two replicas under load, and the one that sequences dies or freezes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_tests::callers::Caller;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;

use super::stored::{StoredLog, log_keys};
use super::{WITHIN, is_sequencing, sequencer_and_other, settled};

/// Callers at work at the same time, half of them at each of two replicas.
const CALLERS: usize = 16;
/// Pause of a caller while its replica is away.
const AWAY: Duration = Duration::from_millis(20);
/// How often whoever sequences is killed.
const KILLS: usize = 5;
/// Entries that come between two kills.
const BETWEEN: i64 = 100;

/// Callers that ask bare questions until they are told to end, and remember the decisions they were told of.
pub(super) struct Load {
    end: Arc<AtomicBool>,
    callers: JoinSet<Result<Vec<String>>>,
}

impl Load {
    pub(super) fn start(stack: &Stack, callers: usize) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let numbers = 0..callers;
        let mut callers = JoinSet::new();
        for number in numbers {
            let replica = &stack.control_planes()[number % stack.control_planes().len()];
            let (caller, end) = (stack.client()?.at(replica.url()), end.clone());
            callers.spawn(async move {
                let mut told = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    match asked(&caller).await {
                        Some(decision) => told.push(decision),
                        None => tokio::time::sleep(AWAY).await,
                    }
                }
                Ok(told)
            });
        }
        Ok(Self { end, callers })
    }

    /// The decisions that somebody was told of.
    pub(super) async fn end(self) -> Result<BTreeSet<String>> {
        self.end.store(true, Ordering::Relaxed);
        let told = self.callers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(told.into_iter().flatten().collect())
    }
}

/// The decision that answers a bare question; none while the replica is away.
async fn asked(caller: &Caller) -> Option<String> {
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    let answer = caller.post("/api/v1/policy/evaluate", &question).await.ok()?;
    if answer.status != 200 {
        return None;
    }
    answer.body["decisionId"].as_str().map(str::to_owned)
}

async fn two_replicas() -> Result<Stack> {
    let stack = Stack::start(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    stack.allow_everything().await?;
    Ok(stack)
}

pub(super) async fn until_grown(stack: &Stack, by: i64) -> Result<()> {
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let mut size = async || -> Result<i64> {
        let row = raw_sql("select size from audit.sequencer").fetch_one(&mut conn).await?;
        Ok(row.try_get(0)?)
    };
    let before = size().await?;
    until("the log growing", WITHIN, async || Ok(size().await? >= before + by)).await
}

/// Every decision that was told is in the log once, and nothing in it is there twice.
pub(super) fn expect_all(log: &StoredLog, told: &BTreeSet<String>) -> Result<()> {
    let recorded = log.said("decision.made", "decisionId")?;
    ensure!(told.len() > 1, "nobody was answered");
    for decision in told {
        let times = recorded.get(decision).copied().unwrap_or_default();
        ensure!(times == 1, "decision {decision} was told and stands {times} times in the log");
    }
    Ok(())
}

#[tokio::test]
async fn killing_whoever_sequences_loses_doubles_and_reorders_nothing() -> Result<()> {
    let stack = two_replicas().await?;
    let keys = log_keys(&stack).await?;
    let load = Load::start(&stack, CALLERS)?;
    for _ in 0..KILLS {
        until_grown(&stack, BETWEEN).await?;
        let (sequencer, other) = sequencer_and_other(&stack).await?;
        sequencer.kill()?;
        until("the other replica sequencing", WITHIN, async || is_sequencing(other).await).await?;
        sequencer.restart().await?;
    }
    until_grown(&stack, BETWEEN).await?;
    let told = load.end().await?;
    let log = settled(&stack).await?;
    log.verify(&keys)?;
    expect_all(&log, &told)?;
    let turns: BTreeSet<i64> = log.checkpoints.iter().map(|(_, epoch, _)| *epoch).collect();
    assert!(turns.len() > KILLS, "each kill made another replica sequence: {turns:?}");
    Ok(())
}

#[tokio::test]
async fn a_frozen_sequencer_is_replaced_and_adds_nothing_when_it_wakes() -> Result<()> {
    let stack = two_replicas().await?;
    let keys = log_keys(&stack).await?;
    let load = Load::start(&stack, CALLERS)?;
    until_grown(&stack, BETWEEN).await?;
    let (frozen, other) = sequencer_and_other(&stack).await?;
    frozen.stop()?;
    until("the other replica sequencing", WITHIN, async || is_sequencing(other).await).await?;
    until_grown(&stack, BETWEEN).await?;
    let replaced = StoredLog::of(&stack).await?.checkpoints.last().context("a checkpoint")?.1;
    frozen.cont()?;
    eventually("the frozen one knowing that its turn is over", WITHIN, async || {
        Ok((!is_sequencing(frozen).await?).then_some(()))
    })
    .await?;
    until_grown(&stack, BETWEEN).await?;
    let told = load.end().await?;
    let log = settled(&stack).await?;
    log.verify(&keys)?;
    expect_all(&log, &told)?;
    assert!(log.checkpoints.is_sorted_by_key(|(_, epoch, _)| *epoch), "an earlier turn went on");
    assert!(log.checkpoints.last().is_some_and(|(_, epoch, _)| *epoch >= replaced));
    Ok(())
}

#[tokio::test]
async fn the_log_begins_again_where_it_ended() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let keys = log_keys(&stack).await?;
    let before = settled(&stack).await?;
    before.verify(&keys)?;
    stack.control_plane(0).restart().await?;
    let told = asked(&stack.client()?).await.context("an answer")?;
    let after = settled(&stack).await?;
    after.verify(&keys)?;
    assert!(after.entries.starts_with(&before.entries) && after.checkpoints.starts_with(&before.checkpoints));
    assert_eq!(after.said("decision.made", "decisionId")?.get(&told), Some(&1));
    let first: Value = serde_json::from_slice(&after.entries[0].2)?;
    assert_eq!(first["kind"], "user.created", "what the binary's commands record is in the log too");
    Ok(())
}
