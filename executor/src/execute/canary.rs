//! A canary: of a restart one pod goes before the others, and they follow only when what came in its place is good.
//!
//! ```text
//!  evict one pod ──► judge what comes in its place ──► plan anew ──► restart all
//!                      │ bad, or not good in time         │ not what was agreed to
//!                      └──────────► failed, and nothing else was touched ◄──┘
//! ```
//! The eviction and the restart are two writes of one action, each announced before it is made. So a worker that takes
//! over knows by the ledger which of them is under way, and judges by the live pods.

use aegis_contract::code::OutcomeCode;
use aegis_contract::plan::Obstacle;
use aegis_contract::receipt::ExecutionStatus;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};

use super::evicting::{Eviction, LOOK_INTERVAL_MAX};
use super::prospect::Prospect;
use super::turns::Queue;
use super::watching::{failed, pause};
use super::worker::{Ending, Stop, Worker};
use crate::action::object::Object;
use crate::action::{self, canary, figures, planning};
use crate::ledger::stories::{Acting, Evicts, PodName};
use crate::verdict::{Bad, History, Verdict};
use crate::verify::time::has_passed;

/// A restart whose canary was announced, and nothing else.
struct Canary<'a> {
    first: &'a Acting,
    evicts: &'a Evicts,
    /// The instant after which the others are not restarted any more.
    until: Timestamp,
    eviction: Eviction,
    history: History,
    /// What came in its place, as it was seen last.
    in_its_place: String,
    /// Since when all is as wanted.
    good_since: Option<Timestamp>,
    queue: Queue,
}

/// What one look at it says.
enum Looked {
    End(Ending),
    /// It was good: the others follow, by the write that was announced just now.
    Rest(Box<Acting>, Object),
    /// Another look may say more at once.
    Again,
    NotYet(OutcomeCode, String),
}

type Ended = (Ending, Option<Acting>);

impl Worker<'_> {
    /// Evicts `pod` of the workload's `pods` first, before the write that `acting` was to announce.
    pub(super) async fn begin_canary(
        &self,
        acting: Acting,
        pod: PodName,
        pods: &[Object],
    ) -> Result<Ended, Stop> {
        let among = Some(pods.iter().map(|pod| pod.uid().to_owned()).collect());
        let evicts = Evicts { pod, then: Vec::new(), among };
        // Of the target nothing is written yet.
        let first = Acting { after: acting.before.clone(), evicts: Some(evicts.clone()), ..acting };
        let first = self.announce(first).await?;
        self.follow_canary(&first, &evicts, false).await
    }

    /// Goes on from the writes that the ledger announces: the canary, and perhaps the restart of the others.
    pub(super) async fn go_on_with_canary(
        &self,
        first: &Acting,
        evicts: &Evicts,
        last: &Acting,
    ) -> Result<Ended, Stop> {
        if last.number == first.number {
            return self.follow_canary(first, evicts, true).await;
        }
        self.restart_rest(evicts, last.clone(), None).await
    }

    async fn follow_canary(&self, first: &Acting, evicts: &Evicts, is_resumed: bool) -> Result<Ended, Stop> {
        let eviction = self.eviction(first.clone(), evicts.pod.clone(), is_resumed);
        let mut canary = Canary::new(self, first, evicts, eviction);
        loop {
            let looked_at = clock::now();
            let told = match self.look_at_all().await {
                Ok(Some((object, pods))) => match self.look_at_canary(&mut canary, object, &pods).await? {
                    Looked::End(ending) => {
                        self.step("watched", ending.message.clone());
                        return Ok((ending, Some(first.clone())));
                    }
                    Looked::Rest(rest, object) => {
                        return self.restart_rest(evicts, *rest, Some(object)).await;
                    }
                    Looked::Again => continue,
                    Looked::NotYet(code, message) => failed(code, &message),
                },
                Ok(None) => {
                    let gone = failed(OutcomeCode::TargetGone, "the object is gone");
                    return Ok((canary.only(gone), Some(first.clone())));
                }
                Err(error) => {
                    canary.lose_sight(clock::now());
                    if let Some(ending) = self.unseen(&canary.eviction, &error) {
                        return Ok((ending, Some(first.clone())));
                    }
                    failed(OutcomeCode::ClusterUnavailable, &error.to_string())
                }
            };
            // How long the eviction is tried is the order's to say.
            if has_passed(canary.until, looked_at) && !canary.eviction.is_due() {
                self.step("watched", "the time to watch is over");
                return Ok((canary.only(told), Some(first.clone())));
            }
            tokio::time::sleep(pause(looked_at.duration_since(first.at)).min(LOOK_INTERVAL_MAX)).await;
        }
    }

    async fn look_at_canary(
        &self,
        canary: &mut Canary<'_>,
        object: Object,
        pods: &[Object],
    ) -> Result<Looked, Stop> {
        let opposed = action::refused_by_preconditions(&self.act, &object)
            .or_else(|| planning::another_template(&self.act, &object));
        if canary.eviction.is_due() {
            // Others may have gone down since, and while a budget holds it back.
            let opposed = opposed
                .or_else(|| figures::exceeded(&self.act, &self.act.change, &object, None))
                .or_else(|| canary::refused(self.act.target.kind, &object, pods));
            canary.eviction.oppose(opposed);
            let ending = self.evict(&mut canary.eviction).await?;
            let message = format!("pod {} is being evicted", canary.evicts.pod.name);
            return Ok(match ending {
                Some(ending) => Looked::End(ending),
                None => Looked::NotYet(OutcomeCode::RolloutTimeout, message),
            });
        }
        if let Some(Obstacle { code, message }) = opposed {
            return Ok(Looked::End(canary.only(failed(code, &message))));
        }
        if !self.act.dry_run
            && let Some(looked) = self.judge_canary(canary, &object, pods)
        {
            return Ok(looked);
        }
        self.look_at_rest(canary, object).await
    }

    /// What is to be said of the canary as long as it is not good; `None` when it is, and has been for its time.
    fn judge_canary(&self, canary: &mut Canary<'_>, object: &Object, pods: &[Object]) -> Option<Looked> {
        let now = clock::now();
        if let Some(Bad { code, message }) = canary.see(object, pods, now) {
            self.step("judged", format!("bad: {message}"));
            return Some(Looked::End(canary.only(failed(code, &message))));
        }
        if let Some(message) = canary.history.notice() {
            self.step("noticed", message);
        }
        let kind = self.act.target.kind;
        let ready_before = canary.first.ready_before.unwrap_or_default();
        if let Some(lacking) = canary::lacking(kind, object, pods, canary.evicts, ready_before) {
            canary.good_since = None;
            return Some(Looked::NotYet(OutcomeCode::RolloutTimeout, lacking));
        }
        let since = *canary.good_since.get_or_insert(now);
        let lasts = self.act.soak_seconds.max(object.count("/spec/minReadySeconds"));
        if now.duration_since(since) < SignedDuration::from_secs(lasts.into()) {
            let message = format!("{}, but is not good for long enough", canary.in_its_place);
            return Some(Looked::NotYet(OutcomeCode::RolloutTimeout, message));
        }
        None
    }

    /// Announces the restart of all, if that is still what was agreed to.
    async fn look_at_rest(&self, canary: &mut Canary<'_>, object: Object) -> Result<Looked, Stop> {
        let rest = self.act.change.after_canary();
        Ok(match self.prospect(&rest, &object, &mut canary.queue).await? {
            Ok(Prospect::Write { before, after, .. }) => {
                if !self.act.dry_run {
                    self.step("judged", format!("good: {}; all are restarted", canary.in_its_place));
                }
                let not_after = (!self.act.dry_run).then_some(canary.until);
                let rest = Acting { not_after, ..self.acting(&object, before, after) };
                Looked::Rest(Box::new(self.announce(rest).await?), object)
            }
            Ok(Prospect::Refuse(Obstacle { code, message })) if passes(code) => Looked::NotYet(code, message),
            Ok(Prospect::Refuse(Obstacle { code, message })) => {
                Looked::End(canary.only(failed(code, &message)))
            }
            Ok(Prospect::LookAgain) => Looked::Again,
            Ok(Prospect::Wait) => {
                let message = "another action comes first at a disruption budget";
                Looked::NotYet(OutcomeCode::BudgetBlocked, message.to_owned())
            }
            Err(error) => Looked::NotYet(OutcomeCode::ClusterUnavailable, error.to_string()),
        })
    }

    /// Makes the restart that `rest` announces, and sees it through.
    async fn restart_rest(
        &self,
        evicts: &Evicts,
        rest: Acting,
        fresh: Option<Object>,
    ) -> Result<Ended, Stop> {
        let ending = self.change(&rest, fresh, None).await?;
        let ending = match ending.status {
            ExecutionStatus::Refused | ExecutionStatus::Expired => {
                only(&format!("pod {} was evicted", evicts.pod.name), ending)
            }
            _ => ending,
        };
        Ok((ending, Some(rest)))
    }
}

impl<'a> Canary<'a> {
    fn new(worker: &Worker<'_>, first: &'a Acting, evicts: &'a Evicts, eviction: Eviction) -> Self {
        let seconds = i64::from(worker.act.watch_seconds) + i64::from(worker.act.soak_seconds);
        Self {
            first,
            evicts,
            until: first.at + SignedDuration::from_secs(seconds),
            eviction,
            history: History::new(action::written(&worker.act, first, first.at)),
            in_its_place: format!("pod {} was evicted", evicts.pod.name),
            good_since: None,
            queue: Queue::default(),
        }
    }

    /// Why what came in the place of the canary will not get well.
    fn see(&mut self, object: &Object, pods: &[Object], now: Timestamp) -> Option<Bad> {
        self.in_its_place = canary::in_its_place(pods, self.evicts);
        // The canary itself says of itself that it was taken away, which would excuse what follows.
        let is_canary = |pod: &&Object| pod.uid() == self.evicts.pod.uid;
        let others: Vec<Object> = pods.iter().filter(|pod| !is_canary(pod)).cloned().collect();
        self.history.see_workload(object, now);
        self.history.see_pods(&others, now);
        match self.history.verdict(now) {
            Verdict::Bad(bad) => Some(bad),
            // What is good of one pod the workload as a whole does not tell.
            Verdict::Good(_) | Verdict::Unknown(_) => None,
        }
    }

    /// What was good has to be seen to stay so.
    fn lose_sight(&mut self, at: Timestamp) {
        self.history.lose_workload(at);
        self.good_since = None;
    }

    /// How the action ends when the others do not follow.
    fn only(&self, ending: Ending) -> Ending {
        if self.eviction.is_due() { ending } else { only(&self.in_its_place, ending) }
    }
}

/// How an action ends of which the canary was all that was done. That is not nothing, so it was not refused.
fn only(done: &str, Ending { status, code, message }: Ending) -> Ending {
    let status = match status {
        ExecutionStatus::Refused | ExecutionStatus::Expired => ExecutionStatus::Failed,
        other => other,
    };
    let message = format!(
        "{message}; {done}, as the canary: no other pod is restarted, and there is nothing to put back"
    );
    Ending::new(status, code, message)
}

/// Whether it may be what is left of the canary's own eviction: its controller and those of budgets count a moment later.
fn passes(code: OutcomeCode) -> bool {
    matches!(code, OutcomeCode::BudgetBlocked | OutcomeCode::RolloutInProgress)
}
