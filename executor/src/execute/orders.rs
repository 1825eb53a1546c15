//! Answers orders: acting, observing, resolving.

use std::sync::Arc;
use std::time::Duration;

use aegis_contract::code::RefusalCode;
use aegis_contract::facts::Observation;
use aegis_contract::ids::LedgerId;
use aegis_contract::order::{Act, Follow, Instruction, Observe, Resolve};
use aegis_contract::plan::Plan;
use aegis_contract::receipt::{AttemptName, LedgerPosition, Stage, Step};
use aegis_runtime::clock;
use tokio::time::Instant;

use super::Executor;
use super::first_look::FirstLook;
use super::worker::Begun;
use crate::action::facts;
use crate::action::object::Object;
use crate::action::planning::{self, Surroundings};
use crate::cluster::{Caller, ReadError};
use crate::ledger::LedgerError;
use crate::ledger::attempts::{Acceptance, Accepted, Known, KnownAttempt, Resolved};
use crate::ledger::leases::LeaseGrant;
use crate::ledger::stories::Story;
use crate::verify::opening::{OpenedOrder, open};
use crate::verify::{Refusal, check_act, check_freshness};

/// How often a waiting answer asks the ledger about an action that another replica carries out.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often an attempt may turn out to be known meanwhile before the caller is asked to come again;
/// once is enough unless the ledger is being tampered with.
const RACES_MAX: u32 = 3;

/// Steps that follow each other quickly are told together, after so long.
const NEWS_INTERVAL: Duration = Duration::from_millis(300);

/// How long a caller waits for the end of an action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// At most so long.
    pub(crate) time: Duration,
    /// How many steps the caller knows of, if it wants to hear of more before the end.
    pub(crate) steps: Option<usize>,
}

/// The same from now on.
#[derive(Clone, Copy, Debug)]
struct Until {
    deadline: Instant,
    news_from: Instant,
    steps: Option<usize>,
}

impl From<Patience> for Until {
    fn from(Patience { time, steps }: Patience) -> Self {
        let now = Instant::now();
        Self { deadline: now + time, news_from: now + NEWS_INTERVAL, steps }
    }
}

/// Why an order was not answered with a receipt. Nothing was written because of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The order is refused before a receipt could be bound to it.
    #[error("the order is refused")]
    Refused(#[from] Refusal),
    /// The ledger cannot be used; the same bytes may be sent again.
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    /// The cluster cannot be asked; the same bytes may be sent again.
    #[error("the cluster cannot be asked")]
    Cluster(#[from] ReadError),
}

impl Executor {
    /// Answers the body of `POST /v1/orders` with a signed receipt, as soon as `patience` has an end.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        body: &[u8],
        patience: Patience,
    ) -> Result<Vec<u8>, AnswerError> {
        let opened = open(body, &self.order_keys.get(), &self.cluster_name)?;
        match &opened.order.instruction {
            Instruction::Act(act) => self.act(&opened, act, patience).await,
            Instruction::Observe(observe) => self.observe(&opened, observe).await,
            Instruction::Resolve(resolve) => self.resolve(&opened, resolve, patience).await,
            Instruction::Follow(follow) => self.follow(&opened, follow).await,
        }
    }

    async fn act(
        self: &Arc<Self>,
        opened: &OpenedOrder,
        act: &Act,
        patience: Patience,
    ) -> Result<Vec<u8>, AnswerError> {
        let name = AttemptName { action_id: act.action_id, attempt: act.attempt };
        for _ in 0..RACES_MAX {
            let Known { ledger, attempt, nonce_used } =
                self.ledger.look_up(name, Some(&opened.order.nonce)).await?;
            if let Some(known) = attempt {
                return self.answer_known(opened, name, known, patience).await;
            }
            check_ledger(act, ledger)?;
            let refusal = match self.admit(opened, act, nonce_used) {
                Err(refusal) => refusal,
                Ok(entry) => {
                    // Another proof may come with the same order: nothing is written of a refusal.
                    self.history.require_entry(&entry, opened.evidence.as_ref()).await?;
                    let first_look = FirstLook::begin(self, act);
                    match self.accept(opened, act).await? {
                        Accepted::Now { fence, story } => {
                            tracing::info!(actionId = %name.action_id, attempt = name.attempt, "order accepted");
                            let owner = self.workers.owner();
                            let lease = LeaseGrant { action_id: name.action_id, owner, fence, ledger };
                            self.workers.start(self, lease, Some(Begun { story, first_look }));
                            // Until its worker has ended, the ledger has nothing to answer.
                            let until = Until::from(patience);
                            self.end_of(name, until).await;
                            return self.latest(opened, name, until).await;
                        }
                        Accepted::AttemptKnown | Accepted::OtherLedger => continue,
                        Accepted::OtherAttempt => Refusal::new(
                            RefusalCode::ActionAccepted,
                            "another attempt of this action was accepted",
                        ),
                        Accepted::NonceUsed => used_nonce(),
                    }
                }
            };
            if let Some(receipt) = self.refuse(opened, act, refusal).await? {
                return Ok(receipt);
            }
        }
        Err(LedgerError::Unreadable("an attempt is known and unknown".to_owned()).into())
    }

    /// The bytes of the intent's entry, when all but the evidence is as it should be.
    fn admit(&self, opened: &OpenedOrder, act: &Act, nonce_used: bool) -> Result<Vec<u8>, Refusal> {
        check_freshness(&opened.order, clock::now())?;
        if nonce_used {
            return Err(used_nonce());
        }
        check_act(act, &self.allowlist)
    }

    async fn accept(&self, opened: &OpenedOrder, act: &Act) -> Result<Accepted, LedgerError> {
        let acceptance = Acceptance {
            name: AttemptName { action_id: act.action_id, attempt: act.attempt },
            order_digest: opened.digest,
            order_bytes: &opened.payload,
            nonce: &opened.order.nonce,
            ledger: act.ledger,
        };
        self.ledger.accept(acceptance, self.workers.owner()).await
    }

    // `None` when the attempt is known meanwhile, or the ledger another one.
    async fn refuse(
        &self,
        opened: &OpenedOrder,
        act: &Act,
        refusal: Refusal,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let Refusal { code, message, .. } = refusal;
        let name = AttemptName { action_id: act.action_id, attempt: act.attempt };
        let stage = Stage::Refused { code, message: message.clone() };
        let position = LedgerPosition { id: act.ledger, ..self.ledger.position().await? };
        let receipt = self.receipts.sign(opened.digest, Some(name), position, stage);
        if !self.ledger.close_refused(name, opened.digest, act.ledger, &receipt).await? {
            return Ok(None);
        }
        self.metrics.count_refused(code);
        tracing::warn!(actionId = %name.action_id, attempt = name.attempt, %code, message, "order refused");
        Ok(Some(receipt))
    }

    async fn answer_known(
        &self,
        opened: &OpenedOrder,
        name: AttemptName,
        known: KnownAttempt,
        patience: Patience,
    ) -> Result<Vec<u8>, AnswerError> {
        match known {
            KnownAttempt::Closed { before } => Ok(self.closed(opened, name, before)),
            KnownAttempt::Refused { order_digest, receipt } if order_digest == opened.digest => Ok(receipt),
            KnownAttempt::Accepted { order_digest } if order_digest == opened.digest => {
                self.latest(opened, name, patience.into()).await
            }
            KnownAttempt::Refused { .. } | KnownAttempt::Accepted { .. } => Err(Refusal::new(
                RefusalCode::AttemptMismatch,
                "other bytes were already received for this attempt",
            )
            .into()),
        }
    }

    // Where the ledger stood before the closing, however late it is told: what was added since would
    // make up for rows that a ledger put back from a backup has lost.
    fn closed(&self, opened: &OpenedOrder, name: AttemptName, before: LedgerPosition) -> Vec<u8> {
        self.receipts.sign(opened.digest, Some(name), before, Stage::Closed)
    }

    /// The final receipt of an accepted action, or one that says how far it got when there is news of
    /// that, and at the deadline.
    async fn latest(
        &self,
        opened: &OpenedOrder,
        name: AttemptName,
        until: Until,
    ) -> Result<Vec<u8>, AnswerError> {
        loop {
            let missing =
                || LedgerError::Unreadable(format!("action {} has no accepted row", name.action_id));
            let story = self.ledger.story(name.action_id).await?.ok_or_else(missing)?;
            if let Some(receipt) = story.receipt {
                return Ok(receipt);
            }
            let steps = self.workers.steps(name.action_id).unwrap_or_else(|| steps_of(&story));
            let now = Instant::now();
            let is_news = now >= until.news_from && until.steps.is_some_and(|known| steps.len() > known);
            if is_news || now >= until.deadline || self.shutdown.is_triggered() {
                let stage = Stage::Running { steps };
                return Ok(self.receipts.sign(opened.digest, Some(story.name), story.ledger, stage));
            }
            self.end_of(name, until).await;
        }
    }

    /// Returns when an accepted action may have ended, when there may be news of it, and at the deadline
    /// at the latest.
    async fn end_of(&self, name: AttemptName, until: Until) {
        let news = async {
            tokio::time::sleep_until(until.news_from).await;
            match until.steps {
                Some(known) => self.workers.more_steps(name.action_id, known, POLL_INTERVAL).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.workers.ended(name.action_id, POLL_INTERVAL) => {}
            () = news => {}
            () = tokio::time::sleep_until(until.deadline) => {}
            () = self.shutdown.wait() => {}
        }
    }

    async fn observe(&self, opened: &OpenedOrder, observe: &Observe) -> Result<Vec<u8>, AnswerError> {
        let position = async { Ok(self.ledger.position().await?) };
        let (stage, position) = tokio::try_join!(self.look(opened, observe), position)?;
        Ok(self.receipts.sign(opened.digest, None, position, stage))
    }

    async fn look(&self, opened: &OpenedOrder, observe: &Observe) -> Result<Stage, AnswerError> {
        let checked = check_freshness(&opened.order, clock::now())
            .and_then(|()| self.allowlist.check(&observe.target.namespace))
            .and_then(|()| match &observe.change {
                Some(change) => self.allowlist.check_action(&observe.target.namespace, change.action_type()),
                None => Ok(()),
            });
        if let Err(refusal) = checked {
            return Ok(self.observation_refused(refusal));
        }
        match self.cluster.read(&observe.target, Caller::Observe).await {
            Ok(Some(object)) => {
                let facts = facts::facts(observe.target.kind, &object, clock::now());
                let facts = match self.plan(observe, &object).await {
                    Ok(Some(plan)) => facts.with_plan(plan),
                    Ok(None) => facts,
                    Err(AnswerError::Cluster(ReadError::Forbidden(message))) => {
                        let refusal = Refusal::new(RefusalCode::NamespaceNotAllowed, message);
                        return Ok(self.observation_refused(refusal));
                    }
                    Err(error) => return Err(error),
                };
                Ok(self.observed(Observation::Present { facts }))
            }
            Ok(None) => Ok(self.observed(Observation::Absent)),
            Err(ReadError::Forbidden(message)) => {
                Ok(self.observation_refused(Refusal::new(RefusalCode::NamespaceNotAllowed, message)))
            }
            Err(error @ ReadError::Unavailable(_)) => Err(error.into()),
        }
    }

    /// The plan of the change that was named, rehearsed.
    async fn plan(&self, observe: &Observe, object: &Object) -> Result<Option<Plan>, AnswerError> {
        let Observe { target, change: Some(change) } = observe else { return Ok(None) };
        let good = self.good_templates(change, object).await?;
        let around = Surroundings::read(target, change, object, good, &self.cluster, Caller::Observe).await?;
        let ahead = self.ledger.turn_at(&around.contended(target, change, object)).await?;
        let around = if ahead.is_some() { around.before_its_turn() } else { around };
        let Some(mut plan) = planning::plan(target, change, object, &around, None, clock::now()) else {
            return Ok(None);
        };
        if let Some(ahead) = ahead {
            let warning =
                format!("it waits for the end of action {ahead}, which shares a disruption budget with it");
            plan.warnings.push(warning);
        }
        Ok(Some(planning::rehearse(target, change, object, &around, self.writer(change), plan).await))
    }

    fn observed(&self, observation: Observation) -> Stage {
        Stage::Observed { observation, allowed_namespaces: self.allowlist.allowed() }
    }

    fn observation_refused(&self, Refusal { code, message, .. }: Refusal) -> Stage {
        self.metrics.count_refused(code);
        tracing::warn!(%code, message, "observation refused");
        Stage::ObservationRefused { code, message, allowed_namespaces: self.allowlist.allowed() }
    }

    async fn follow(&self, opened: &OpenedOrder, follow: &Follow) -> Result<Vec<u8>, AnswerError> {
        check_freshness(&opened.order, clock::now())?;
        self.history.follow(follow).await?;
        let position = self.ledger.position().await?;
        Ok(self.receipts.sign(opened.digest, None, position, Stage::Followed))
    }

    async fn resolve(
        &self,
        opened: &OpenedOrder,
        resolve: &Resolve,
        patience: Patience,
    ) -> Result<Vec<u8>, AnswerError> {
        check_freshness(&opened.order, clock::now())?;
        let name = AttemptName { action_id: resolve.action_id, attempt: resolve.attempt };
        match self.ledger.resolve(name).await? {
            Resolved::Accepted => self.latest(opened, name, patience.into()).await,
            Resolved::Refused(receipt) => Ok(receipt),
            Resolved::Closed { before } => {
                tracing::info!(actionId = %name.action_id, attempt = name.attempt, "attempt closed");
                Ok(self.closed(opened, name, before))
            }
        }
    }
}

/// Refuses, without a row and therefore not for good, what another ledger may hold already.
fn check_ledger(act: &Act, ledger: LedgerId) -> Result<(), Refusal> {
    if act.ledger == ledger {
        return Ok(());
    }
    let message = format!("the order was signed for the ledger {}, and this is {ledger}", act.ledger);
    Err(Refusal::new(RefusalCode::LedgerChanged, message))
}

fn used_nonce() -> Refusal {
    Refusal::new(RefusalCode::NonceReplayed, "another order used this nonce")
}

/// What the ledger alone tells of an unfinished action.
pub(super) fn steps_of(story: &Story) -> Vec<Step> {
    match story.writes.last() {
        Some(acting) => acting.steps.clone(),
        None => vec![Step {
            name: "accepted".to_owned(),
            at: story.accepted_at,
            message: "the order passed every check".to_owned(),
        }],
    }
}
