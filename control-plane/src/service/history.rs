//! What was decided, looked at again: replay under other policies, and which rules were used.

use std::sync::Arc;
use std::time::Duration;

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::ids::EntryId;
use aegis_policy::{CompiledSet, Replay, ReplayReport, RuleName, Usage, Use};
use futures_util::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::Services;
use super::policies::activation::{Replayed, replayed_set};
use super::proposals::Proposal;
use super::{policy_set, spend_nonce};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::{ANSWER_WITHIN, commit, decisions, within};

/// Longest look at the past; whoever wants more asks for a shorter span.
const LOOK_WITHIN: Duration = Duration::from_secs(120);
/// Stored decisions that are handed over at once.
type Batch = Vec<Vec<u8>>;
/// How many.
const BATCH: usize = 256;
/// Batches that wait to be looked at: what bounds the memory of a replay.
const BATCHES_WAITING: usize = 8;

/// A span of time; the first instant is in it, the last is not.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its first instant.
    pub since: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
}

/// What came of a replay.
pub struct ReplayDone {
    /// The entry that holds it; an activation can name it.
    pub entry_id: EntryId,
    /// The report.
    pub report: ReplayReport,
}

/// Takes every decision of a span again by other policies, and records what came of it.
///
/// # Errors
/// Those of [`Proposal::of_active`]; `Busy`; `TooMuch` when it takes too long.
pub async fn replay(
    services: &Services,
    caller: &Caller,
    span: Span,
    proposal: &Proposal,
) -> Result<ReplayDone, Error> {
    caller.require(Permission::ReadPolicies)?;
    caller.require(Permission::ReadActions)?;
    services.safeguards.require_recordable()?;
    let turn = services.heavy_work.turn().await?;
    let proposed = within(ANSWER_WITHIN, async {
        Ok(proposal.of_active(&mut *services.store.acquire().await?).await?.1)
    })
    .await?;
    let members = replayed_set(&proposed);
    let compile = tokio::task::spawn_blocking(move || Arc::new(CompiledSet::compile(proposed)));
    let set = compile.await.map_err(Error::internal)?;
    let start = |mut batches: Receiver<Batch>| {
        let set = set.clone();
        tokio::task::spawn_blocking(move || {
            let mut replay = Replay::new(&set);
            while let Some(batch) = batches.blocking_recv() {
                batch.iter().for_each(|body| replay.look_at(body));
            }
            replay.finish()
        })
    };
    let reports = look(services, span, start).await?;
    drop(turn);
    let report = reports.into_iter().fold(ReplayReport::default(), ReplayReport::and);
    let entry_id = record(services, caller, span, members, &report).await?;
    Ok(ReplayDone { entry_id, report })
}

/// How a rule of the active set was used in a span.
pub struct RuleUse {
    /// The rule.
    pub rule: RuleName,
    /// Its policy's version.
    pub version: u32,
    /// How often, and when last; nothing when it never decided.
    pub used: Option<Use>,
}

/// Says of every rule that is active how often it decided in a span, and when last.
///
/// # Errors
/// `Busy`; `TooMuch`.
pub async fn usage(services: &Services, caller: &Caller, span: Span) -> Result<Vec<RuleUse>, Error> {
    caller.require(Permission::ReadPolicies)?;
    let turn = services.heavy_work.turn().await?;
    let set = within(ANSWER_WITHIN, async { policy_set::load(&mut *services.store.acquire().await?).await })
        .await?;
    let start = |mut batches: Receiver<Batch>| {
        tokio::task::spawn_blocking(move || {
            let mut usage = Usage::default();
            while let Some(batch) = batches.blocking_recv() {
                batch.iter().for_each(|body| usage.look_at(body));
            }
            usage
        })
    };
    let counted = look(services, span, start).await?.into_iter().fold(Usage::default(), Usage::and);
    drop(turn);
    let mut uses = Vec::new();
    for (version, policy) in set.policies() {
        for (id, _) in policy.rules() {
            let rule = RuleName { policy: policy.name().to_owned(), rule: id.to_owned() };
            uses.push(RuleUse { version, used: counted.of(&rule, policy.mode()), rule });
        }
    }
    Ok(uses)
}

/// Streams the decisions of a span to workers, which are as many as there are processors for them.
async fn look<T: Send + 'static>(
    services: &Services,
    span: Span,
    start: impl Fn(Receiver<Batch>) -> JoinHandle<T>,
) -> Result<Vec<T>, Error> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (senders, workers): (Vec<Sender<Batch>>, Vec<JoinHandle<T>>) = (0..processors.clamp(1, 4))
        .map(|_| {
            let (sender, receiver) = channel(BATCHES_WAITING);
            (sender, start(receiver))
        })
        .unzip();
    let streamed = tokio::time::timeout(LOOK_WITHIN, stream(services, span, &senders)).await;
    // Without senders the workers end, whatever happened.
    drop(senders);
    let mut done = Vec::new();
    for worker in workers {
        done.push(worker.await.map_err(Error::internal)?);
    }
    streamed.map_err(|_| Error::TooMuch)??;
    Ok(done)
}

async fn stream(services: &Services, span: Span, senders: &[Sender<Batch>]) -> Result<(), Error> {
    let mut tx = services.store.begin().await?;
    decisions::take_time(&mut tx, LOOK_WITHIN).await?;
    {
        let bodies = decisions::bodies(&mut tx, span.since, span.until).chunks(BATCH);
        pin_mut!(bodies);
        let mut next = 0;
        while let Some(batch) = bodies.next().await {
            let batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            // Each in turn: whoever has no room makes the stream wait, and nothing piles up.
            let sender = &senders[next % senders.len()];
            sender.send(batch).await.map_err(Error::internal)?;
            next += 1;
        }
    }
    tx.rollback().await?;
    Ok(())
}

async fn record(
    services: &Services,
    caller: &Caller,
    span: Span,
    policy_set: Vec<super::policies::activation::Member>,
    report: &ReplayReport,
) -> Result<EntryId, Error> {
    let whole = canonical::to_bytes(report).map_err(Error::internal)?;
    // Samples are questions of people about workloads; the entry holds the digest of all, and the counts.
    let mut counts = serde_json::to_value(report).map_err(Error::internal)?;
    if let Value::Object(members) = &mut counts {
        members.remove("samples");
    }
    let Span { since, until } = span;
    let data = Replayed { policy_set, since, until, digest: Digest::of(&whole), report: counts };
    let (tx, entry_id) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        spend_nonce(&mut tx, caller).await?;
        let record = Record {
            kind: Kind::PolicyReplayed,
            principal: &caller.name,
            action_id: None,
            request_id: Some(&caller.request_id),
            data,
        };
        let entry_id = audit::append(&mut tx, record).await?.id;
        Ok((tx, entry_id))
    })
    .await?;
    commit(tx, None).await?;
    Ok(entry_id)
}
