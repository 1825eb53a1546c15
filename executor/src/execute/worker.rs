//! Carries out one accepted action, from wherever it stands.

use std::sync::atomic::{AtomicU32, Ordering};

use aegis_contract::code::OutcomeCode;
use aegis_contract::facts::Rollout;
use aegis_contract::order::{Act, Instruction, Order, WrittenFields};
use aegis_contract::plan::Obstacle;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus, LedgerPosition, Stage, Step};
use aegis_contract::strict::{self, Limits};
use aegis_contract::target::{Kind, Target};
use aegis_runtime::clock;
use jiff::Timestamp;
use tokio::sync::watch;

use super::Executor;
use super::evicting::Eviction;
use super::first_look::FirstLook;
use super::lease::Lease;
use super::orders::steps_of;
use super::prospect::Prospect;
use super::turns::Queue;
use super::watching::Watched;
use super::writing::{Wrote, pause};
use crate::action::object::Object;
use crate::action::pods::Pods;
use crate::action::rollout;
use crate::cluster::{Caller, ReadError};
use crate::ledger::LedgerError;
use crate::ledger::stories::{Acting, Story};
use crate::ledger::templates::Verdict;
use crate::verify::time::has_passed;

/// Why a worker stopped before the action ended. Another one goes on.
#[derive(Debug)]
pub(super) enum Stop {
    /// Another worker holds the lease, or the ledger that granted it was restored.
    LeaseLost,
    /// This process ends.
    ShuttingDown,
    /// The ledger cannot be used.
    Ledger(LedgerError),
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// How an action ends, apart from its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) status: ExecutionStatus,
    pub(super) code: OutcomeCode,
    pub(super) message: String,
}

impl Ending {
    pub(super) fn new(status: ExecutionStatus, code: OutcomeCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn refused(Obstacle { code, message }: Obstacle) -> Self {
        Self::new(ExecutionStatus::Refused, code, message)
    }

    pub(super) fn expired() -> Self {
        Self::new(
            ExecutionStatus::Expired,
            OutcomeCode::DeadlinePassed,
            "the time to begin ran out; nothing was written",
        )
    }
}

/// One worker's view of its action.
pub(super) struct Worker<'a> {
    pub(super) executor: &'a Executor,
    pub(super) lease: &'a Lease,
    pub(super) act: Act,
    pub(super) not_after: Timestamp,
    story: Story,
    /// How many writes were announced.
    announced: AtomicU32,
    steps: &'a watch::Sender<Vec<Step>>,
}

/// An action that was accepted just now.
#[derive(Debug)]
pub(crate) struct Begun {
    /// What the ledger holds of it.
    pub(super) story: Box<Story>,
    /// Its target, which is being read since before.
    pub(super) first_look: FirstLook,
}

/// Carries out the action of `lease` until its `finished` row is written, from what has `begun` or else
/// from where the ledger leaves it.
pub(super) async fn run(
    executor: &Executor,
    lease: &Lease,
    begun: Option<Begun>,
    steps: &watch::Sender<Vec<Step>>,
) -> Result<(), Stop> {
    let action_id = lease.grant.action_id;
    let missing = || LedgerError::Unreadable(format!("action {action_id} has a lease but no accepted row"));
    let (story, first_look) = match begun {
        Some(Begun { story, first_look }) => (*story, Some(first_look)),
        None => (executor.ledger.story(action_id).await?.ok_or_else(missing)?, None),
    };
    if story.receipt.is_some() {
        return Ok(());
    }
    if story.ledger.id != lease.grant.ledger {
        return Err(Stop::LeaseLost);
    }
    let (act, not_after) = read_act(&story.order_bytes)?;
    steps.send_replace(steps_of(&story));
    let announced = story.writes.last().map_or(0, |last| last.number);
    let announced = AtomicU32::new(announced);
    Worker { executor, lease, act, not_after, story, announced, steps }.carry_out(first_look).await
}

pub(super) fn read_act(order_bytes: &[u8]) -> Result<(Act, Timestamp), LedgerError> {
    let order: Order = strict::from_slice(order_bytes, Limits::WIRE)
        .map_err(|error| LedgerError::Unreadable(error.to_string()))?;
    match order.instruction {
        Instruction::Act(act) => Ok((*act, order.not_after)),
        Instruction::Observe(_) | Instruction::Resolve(_) | Instruction::Follow(_) => {
            Err(LedgerError::Unreadable("an accepted order does not act".to_owned()))
        }
    }
}

impl Worker<'_> {
    async fn carry_out(self, first_look: Option<FirstLook>) -> Result<(), Stop> {
        if self.lease.grant.fence > 1 {
            self.step("resumed", "another worker had begun");
        }
        let (ending, acting) = match (self.story.writes.first(), self.story.writes.last()) {
            (Some(first), Some(last)) => match &first.evicts {
                Some(evicts) if evicts.is_canary() => self.go_on_with_canary(first, evicts, last).await?,
                _ => (self.go_on(first, last).await?, Some(first.clone())),
            },
            _ => self.begin(first_look).await?,
        };
        self.finish(ending, acting).await
    }

    /// Goes on from the writes that the ledger announces.
    async fn go_on(&self, first: &Acting, last: &Acting) -> Result<Ending, Stop> {
        if let Some(evicts) = &first.evicts {
            return self.replace_unready(first, evicts, self.found_eviction(last)).await;
        }
        // Evictions are made while the write before them is watched.
        let write = self.story.writes.iter().rfind(|acting| acting.evicts.is_none()).unwrap_or(first);
        let eviction = self.found_eviction(last);
        match &write.returns {
            Some(cause) => self.go_on_returning(cause, write, None, eviction).await,
            None => self.change(write, None, eviction).await,
        }
    }

    /// Makes the change, and puts back what was there before if it turns out bad.
    pub(super) async fn change(
        &self,
        acting: &Acting,
        fresh: Option<Object>,
        eviction: Option<Eviction>,
    ) -> Result<Ending, Stop> {
        let at = match self.write(acting, fresh).await? {
            Wrote::Ended(ending) => return Ok(ending),
            Wrote::Since(at) => at,
        };
        match self.watch(acting, at, eviction).await? {
            Watched::Ended(ending) => Ok(ending),
            Watched::Bad(bad) => self.put_back(acting, bad).await,
        }
    }

    /// Puts a write into the ledger before it is made, as the next one of the action.
    pub(super) async fn announce(&self, acting: Acting) -> Result<Acting, Stop> {
        let Story { name, order_digest, .. } = self.story;
        let number = self.announced.load(Ordering::Relaxed) + 1;
        let acting = Acting { number, steps: self.steps_so_far(), ..acting };
        let announced =
            self.executor.ledger.begin_acting(name, order_digest, self.lease.grant, &acting).await?;
        if !announced {
            return Err(Stop::LeaseLost);
        }
        self.announced.store(number, Ordering::Relaxed);
        Ok(acting)
    }

    pub(super) fn step(&self, name: &str, message: impl Into<String>) {
        let step = Step { name: name.to_owned(), at: clock::now(), message: message.into() };
        tracing::debug!(step = step.name, message = step.message, "step");
        self.steps.send_modify(|steps| steps.push(step));
    }

    pub(super) fn steps_so_far(&self) -> Vec<Step> {
        self.steps.borrow().clone()
    }

    pub(super) fn caller(&self) -> Caller {
        Caller::Action(self.act.action_id)
    }

    pub(super) async fn read(&self, target: &Target) -> Result<Option<Object>, ReadError> {
        self.executor.cluster.read(target, self.caller()).await
    }

    /// Compares the live object with the order, announces the write in the ledger, and makes it.
    async fn begin(&self, mut first_look: Option<FirstLook>) -> Result<(Ending, Option<Acting>), Stop> {
        let mut queue = Queue::default();
        let (object, before, after, pods, canary) = loop {
            if has_passed(self.not_after, clock::now()) {
                return Ok((queue.ending().unwrap_or_else(Ending::expired), None));
            }
            match self.look_and_plan(first_look.take(), &mut queue).await? {
                Ok(Some((object, Prospect::Write { before, after, pods, canary }))) => {
                    break (object, before, after, pods, canary);
                }
                Ok(Some((_, Prospect::Refuse(obstacle)))) => return Ok((Ending::refused(obstacle), None)),
                Ok(Some((_, Prospect::LookAgain))) => {}
                Ok(Some((_, Prospect::Wait))) => pause().await,
                Ok(None) => {
                    let message = "there is no such object".to_owned();
                    return Ok((Ending::refused(Obstacle { code: OutcomeCode::TargetGone, message }), None));
                }
                Err(ReadError::Forbidden(message)) => {
                    let code = OutcomeCode::ClusterRefused;
                    return Ok((Ending::refused(Obstacle { code, message }), None));
                }
                Err(error @ ReadError::Unavailable(_)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot read the target; trying again"
                    );
                    pause().await;
                }
            }
        };
        let acting = self.acting(&object, before, after);
        if acting.before == acting.after {
            let message = "the object already was as wanted; nothing was written";
            let ending = Ending::new(ExecutionStatus::Succeeded, OutcomeCode::AlreadyDone, message);
            return Ok((ending, Some(acting)));
        }
        self.step("checked", "the object is as the decision saw it");
        if self.act.change.is_of_unready_pods() {
            return self.begin_evicting(acting, &pods).await;
        }
        if let Some(pod) = canary {
            return self.begin_canary(acting, pod, &pods).await;
        }
        let acting = self.announce(acting).await?;
        let ending = self.change(&acting, Some(object), None).await?;
        Ok((ending, Some(acting)))
    }

    pub(super) fn acting(&self, object: &Object, before: WrittenFields, after: WrittenFields) -> Acting {
        let (failed_before, ready_before) = match self.act.target.kind {
            Kind::Pod => (None, None),
            kind => {
                let status = rollout::status(kind, object);
                let failed_at = status.failed_at.filter(|_| status.rollout == Rollout::Failed);
                (failed_at, Some(Pods::of(kind, object).ready))
            }
        };
        Acting {
            number: 1,
            not_after: None,
            returns: None,
            evicts: None,
            ready_before,
            uid: object.uid().to_owned(),
            generation: object.generation(),
            before,
            after,
            at: clock::now(),
            steps: self.steps_so_far(),
            failed_before,
        }
    }

    /// What a workload was rolled back from, and what it failed to roll out, is not returned to again.
    async fn remember(
        &self,
        status: ExecutionStatus,
        code: OutcomeCode,
        acting: &Acting,
    ) -> Result<(), Stop> {
        let failed = match (status, code) {
            (ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete) => &acting.before,
            (ExecutionStatus::Returned, _)
            | (
                ExecutionStatus::Failed,
                OutcomeCode::RolloutFailed
                | OutcomeCode::ImagePullFailed
                | OutcomeCode::ContainerConfigFailed
                | OutcomeCode::CrashLoop
                | OutcomeCode::ReadinessWorse,
            ) => &acting.after,
            _ => return Ok(()),
        };
        if let WrittenFields::Rollback { template_digest } = failed {
            self.executor.ledger.remember(&acting.uid, *template_digest, Verdict::Bad).await?;
        }
        Ok(())
    }

    /// Signs the final receipt and stores it; from then on it is the answer.
    async fn finish(&self, ending: Ending, acting: Option<Acting>) -> Result<(), Stop> {
        let Ending { status, code, message } = ending;
        self.step("finished", message.clone());
        if let Some(acting) = &acting {
            self.remember(status, code, acting).await?;
        }
        let (before, after) = acting.map(|acting| (acting.before, acting.after)).unzip();
        let steps = self.steps_so_far();
        let result = ExecutionResult { status, code, message: message.clone(), steps, before, after };
        let Story { name, order_digest, .. } = self.story;
        let ledger = &self.executor.ledger;
        let position = LedgerPosition { id: self.lease.grant.ledger, ..ledger.position().await? };
        let stage = Stage::Finished { result };
        let receipt = self.executor.receipts.sign(order_digest, Some(name), position, stage);
        if !ledger.finish(name, order_digest, self.lease.grant, &receipt).await? {
            return Err(Stop::LeaseLost);
        }
        self.executor.metrics.count_ended(self.act.change.action_type(), code);
        tracing::info!(attempt = name.attempt, target = %self.act.target, status = ?status, %code, message, "action ended");
        Ok(())
    }
}
