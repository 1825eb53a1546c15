//! Evicts pods: a [canary](super::canary), and those that are not ready, one at a time, each only when the one before is
//! replaced.
//!
//! Every eviction is a write of its own: announced in the ledger before it is sent, and bound to the pod's uid and to
//! the version in which it was seen. Repeated, or late, it finds no such pod; and a pod that was not ready and is by
//! then is another version. So none needs a fence, and disruption budgets are the API server's to judge.

use std::time::Duration;

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::Obstacle;
use aegis_contract::receipt::ExecutionStatus;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};

use super::watching::{failed, pause};
use super::worker::{Ending, Stop, Worker};
use super::writing::{Next, Writing, Wrote};
use crate::action::object::Object;
use crate::action::pods::Pods;
use crate::action::unready::Replaced;
use crate::action::{self, rollout, unready};
use crate::cluster::ReadError;
use crate::ledger::stories::{Acting, Evicts, PodName};
use crate::verdict::{Bad, History, Verdict};
use crate::verify::time::has_passed;

/// Longest time between two looks at the pods of a restart.
pub(super) const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The eviction that was announced last.
#[derive(Debug)]
pub(super) struct Eviction {
    acting: Acting,
    pod: PodName,
    /// How far it got; absent once there is nothing left to do about the pod.
    writing: Option<Writing>,
}

/// A restart of the pods that are not ready.
struct Round<'a> {
    first: &'a Acting,
    evicts: &'a Evicts,
    eviction: Option<Eviction>,
    history: History,
    /// How many of the pods are gone.
    gone: u32,
    /// Since when all is as wanted.
    good_since: Option<Timestamp>,
}

/// What one look at it says.
enum Looked {
    End(Ending),
    /// Something was announced: it is made at once.
    Again,
    NotYet(String),
}

/// What is done about pods that hold up the StatefulSet that is watched.
pub(super) struct Freeing {
    until: Timestamp,
    eviction: Option<Eviction>,
    /// Why nothing is done any more.
    given_up: Option<String>,
}

impl Worker<'_> {
    /// The eviction that an earlier worker announced and may have made; `None` where it was another write.
    pub(super) fn found_eviction(&self, last: &Acting) -> Option<Eviction> {
        let pod = last.evicts.as_ref()?.pod.clone();
        Some(self.eviction(last.clone(), pod, true))
    }

    /// The eviction of `pod` that `acting` announces, just now or by an earlier worker.
    pub(super) fn eviction(&self, acting: Acting, pod: PodName, is_resumed: bool) -> Eviction {
        let writing = Some(Writing::new(self, &acting, is_resumed));
        Eviction { acting, pod, writing }
    }

    /// Announces the next eviction of an action whose earlier write is `before`.
    async fn announce_eviction(
        &self,
        before: &Acting,
        pod: PodName,
        not_after: Timestamp,
    ) -> Result<Eviction, Stop> {
        let acting = Acting {
            at: clock::now(),
            not_after: Some(not_after),
            returns: None,
            evicts: Some(Evicts { pod: pod.clone(), then: Vec::new(), among: None }),
            ..before.clone()
        };
        Ok(self.eviction(self.announce(acting).await?, pod, false))
    }

    /// Tries once to make the eviction that was announced, and says how it ended if it will not be made.
    pub(super) async fn evict(&self, eviction: &mut Eviction) -> Result<Option<Ending>, Stop> {
        let Eviction { acting, pod, writing } = eviction;
        let Some(tried) = writing else { return Ok(None) };
        match self.attempt(acting, tried, None).await? {
            Next::End(ending) => return Ok(Some(ending)),
            Next::Written(_) => {
                if self.act.dry_run {
                    self.step("written", "the API server accepted the eviction as a dry run");
                } else {
                    self.step("evicted", format!("pod {}", pod.name));
                }
                *writing = None;
            }
            Next::Stands => *writing = None,
            Next::Again | Next::Later => {}
        }
        Ok(None)
    }

    /// Begins to replace those of the workload's `pods` that are not ready.
    pub(super) async fn begin_evicting(
        &self,
        acting: Acting,
        pods: &[Object],
    ) -> Result<(Ending, Option<Acting>), Stop> {
        let mut names = unready::of(pods).into_iter().map(unready::name);
        let Some(pod) = names.next() else { return Ok((nothing_left(), Some(acting))) };
        let evicts = Evicts { pod: pod.clone(), then: names.collect(), among: None };
        let ready_before = Some(unready::ready(pods));
        let acting = Acting { evicts: Some(evicts.clone()), ready_before, ..acting };
        let acting = self.announce(acting).await?;
        let ending = if self.act.dry_run {
            match self.write(&acting, None).await? {
                Wrote::Ended(ending) => ending,
                Wrote::Since(_) => nothing_left(),
            }
        } else {
            let eviction = self.eviction(acting.clone(), pod, false);
            self.replace_unready(&acting, &evicts, Some(eviction)).await?
        };
        Ok((ending, Some(acting)))
    }

    /// Goes on replacing the pods that the `first` row names, after the eviction that was announced last.
    pub(super) async fn replace_unready(
        &self,
        first: &Acting,
        evicts: &Evicts,
        eviction: Option<Eviction>,
    ) -> Result<Ending, Stop> {
        let history = History::new(action::written(&self.act, first, first.at));
        let mut round = Round { first, evicts, eviction, history, gone: 0, good_since: None };
        loop {
            let looked_at = clock::now();
            let told = match self.look_at_pods(first).await {
                Ok(Ok((object, pods))) => match self.replace_next(&mut round, &object, &pods).await? {
                    Looked::End(ending) => {
                        self.step("watched", ending.message.clone());
                        return Ok(ending);
                    }
                    Looked::Again => continue,
                    Looked::NotYet(message) => failed(OutcomeCode::RolloutTimeout, &message),
                },
                Ok(Err(ending)) => return Ok(round.partly(ending)),
                Err(error) => {
                    round.history.lose_workload(clock::now());
                    if let Some(ending) = round.eviction.as_ref().and_then(|due| self.unseen(due, &error)) {
                        return Ok(round.partly(ending));
                    }
                    failed(OutcomeCode::ClusterUnavailable, &error.to_string())
                }
            };
            let is_under_way = round.eviction.as_ref().is_some_and(Eviction::is_due);
            if has_passed(round.until(self), looked_at) && !is_under_way && round.good_since.is_none() {
                self.step("watched", "the time to watch is over");
                return Ok(round.partly(told));
            }
            tokio::time::sleep(pause(looked_at.duration_since(first.at)).min(LOOK_INTERVAL_MAX)).await;
        }
    }

    /// How the action ends when nobody can say for too long whether the eviction is due, or was made.
    pub(super) fn unseen(&self, eviction: &Eviction, error: &ReadError) -> Option<Ending> {
        self.given_up(eviction.writing.as_ref()?, &error.to_string())
    }

    /// The workload and its pods; `None` when it is gone.
    pub(super) async fn look_at_all(&self) -> Result<Option<(Object, Vec<Object>)>, ReadError> {
        let target = &self.act.target;
        let Some(object) = self.read(target).await? else { return Ok(None) };
        let pods = unready::pods_of(target, &object, &self.executor.cluster, self.caller()).await?;
        Ok(Some((object, pods)))
    }

    /// The same, if it is still what was decided on.
    async fn look_at_pods(&self, first: &Acting) -> Result<Result<(Object, Vec<Object>), Ending>, ReadError> {
        let Some((object, pods)) = self.look_at_all().await? else {
            return Ok(Err(failed(OutcomeCode::TargetGone, "the object is gone")));
        };
        if object.uid() != first.uid {
            let message = "another object of this name stands in its place";
            return Ok(Err(failed(OutcomeCode::TargetReplaced, message)));
        }
        let template_digest = action::template_digest(&object);
        let planned = self.act.preconditions.planned.as_ref();
        if planned.is_some_and(|planned| planned.template_digest != template_digest) {
            let who = action::newest_writer(&self.act, &object);
            let message = format!("somebody else changed the pod template{who}");
            return Ok(Err(failed(OutcomeCode::Contested, &message)));
        }
        Ok(Ok((object, pods)))
    }

    async fn replace_next(
        &self,
        round: &mut Round<'_>,
        object: &Object,
        pods: &[Object],
    ) -> Result<Looked, Stop> {
        if let Some(eviction) = round.eviction.as_mut().filter(|eviction| eviction.is_due()) {
            let ending = self.evict(eviction).await?;
            let message = format!("pod {} is being evicted", eviction.pod.name);
            return Ok(match ending {
                Some(ending) => Looked::End(round.partly(ending)),
                None => Looked::NotYet(message),
            });
        }
        let now = clock::now();
        if let Some(Bad { code, message }) = round.see(object, pods, now) {
            self.step("judged", format!("bad: {message}"));
            return Ok(Looked::End(round.partly(failed(code, &message))));
        }
        let announced = round.announced().clone();
        let wanted = Pods::of(self.act.target.kind, object).wanted;
        let ready_before = round.first.ready_before.unwrap_or_default();
        let Replaced { gone, is_settled, next } =
            unready::replaced(pods, round.evicts, &announced, ready_before, wanted);
        round.gone = gone;
        if !is_settled {
            round.good_since = None;
            return Ok(Looked::NotYet("not every pod in the place of one that is gone is ready".to_owned()));
        }
        if let Some(pod) = next {
            round.good_since = None;
            round.eviction = Some(self.announce_eviction(round.first, pod, round.until(self)).await?);
            return Ok(Looked::Again);
        }
        let since = *round.good_since.get_or_insert(now);
        if now.duration_since(since) < SignedDuration::from_secs(self.act.soak_seconds.into()) {
            return Ok(Looked::NotYet("every pod is ready, but not for long enough".to_owned()));
        }
        Ok(Looked::End(round.done()))
    }

    /// Evicts the pod that holds up a StatefulSet with the template that `acting` has replaced, when there is one.
    /// Pods that are ready, or of another template, are left to their controller.
    pub(super) async fn free(
        &self,
        acting: &Acting,
        object: &Object,
        freeing: &mut Freeing,
    ) -> Result<(), Stop> {
        let WrittenFields::Rollback { template_digest: failed } = acting.before else { return Ok(()) };
        let target = &self.act.target;
        // A controller that has not seen the new template would make the same pod again.
        let is_due = unready::is_ordered(target.kind, object) && rollout::is_observed(object);
        if !is_due || freeing.given_up.is_some() {
            return Ok(());
        }
        if !freeing.eviction.as_ref().is_some_and(Eviction::is_due) {
            let (cluster, caller) = (&self.executor.cluster, self.caller());
            let Ok(pods) = unready::pods_of(target, object, cluster, caller).await else { return Ok(()) };
            let is_settled = |last: &Eviction| unready::stands_again(&pods, &last.pod);
            if !freeing.eviction.as_ref().is_none_or(is_settled) {
                return Ok(());
            }
            let Ok(Some(pod)) = unready::held_up_by(target, object, failed, &pods, cluster, caller).await
            else {
                return Ok(());
            };
            freeing.eviction = Some(self.announce_eviction(acting, pod, freeing.until).await?);
        }
        let Some(eviction) = &mut freeing.eviction else { return Ok(()) };
        if let Some(ending) = self.evict(eviction).await? {
            let why = format!("pod {} holds it up: {}", eviction.pod.name, ending.message);
            self.step("not-evicted", why.clone());
            freeing.given_up = Some(why);
        }
        Ok(())
    }
}

impl Eviction {
    /// Whether something is left to do about the pod.
    pub(super) fn is_due(&self) -> bool {
        self.writing.is_some()
    }

    /// Takes down what speaks against it by now, if anything does: it is not made while that stands.
    pub(super) fn oppose(&mut self, obstacle: Option<Obstacle>) {
        if let Some(writing) = &mut self.writing {
            writing.oppose(obstacle);
        }
    }
}

impl Round<'_> {
    /// The instant after which nothing more is evicted.
    fn until(&self, worker: &Worker<'_>) -> Timestamp {
        self.first.at + SignedDuration::from_secs(worker.act.watch_seconds.into())
    }

    fn announced(&self) -> &PodName {
        self.eviction.as_ref().map_or(&self.evicts.pod, |eviction| &eviction.pod)
    }

    /// Why the pods that stand in the place of others will not get ready.
    fn see(&mut self, object: &Object, pods: &[Object], now: Timestamp) -> Option<Bad> {
        let Evicts { pod, then, .. } = self.evicts;
        let is_listed =
            |seen: &&Object| seen.uid() == pod.uid || then.iter().any(|pod| seen.uid() == pod.uid);
        let others: Vec<Object> = pods.iter().filter(|pod| !is_listed(pod)).cloned().collect();
        self.history.see_workload(object, now);
        self.history.see_pods(&others, now);
        match self.history.verdict(now) {
            Verdict::Bad(bad) => Some(bad),
            Verdict::Good(_) | Verdict::Unknown(_) => None,
        }
    }

    fn done(&self) -> Ending {
        if self.gone == 0 {
            return nothing_left();
        }
        let message = format!("{} pods were evicted, and others are ready in their place", self.gone);
        Ending::new(ExecutionStatus::Succeeded, OutcomeCode::PodReplaced, message)
    }

    /// How the action ends when not all was done. Where something was, it was not refused.
    fn partly(&self, ending: Ending) -> Ending {
        let Ending { status, code, message } = ending;
        if self.gone == 0 {
            return Ending { status, code, message };
        }
        let status = match status {
            ExecutionStatus::Refused | ExecutionStatus::Expired => ExecutionStatus::Failed,
            other => other,
        };
        let all = self.evicts.then.len() + 1;
        Ending::new(status, code, format!("{} of {all} pods were evicted; {message}", self.gone))
    }
}

impl Freeing {
    /// Until then, from the eviction that was announced before, if there is one.
    pub(super) fn new(until: Timestamp, eviction: Option<Eviction>) -> Self {
        Self { until, eviction, given_up: None }
    }

    /// How the workload stands, with what is in the way.
    pub(super) fn told(&self, message: String) -> String {
        let held_back = self
            .eviction
            .as_ref()
            .and_then(|eviction| Some((eviction, eviction.writing.as_ref()?.held_back()?)));
        match (&self.given_up, held_back) {
            (Some(why), _) => format!("{message}; {why}"),
            (None, Some((eviction, why))) => {
                format!("{message}; pod {} holds it up: {why}", eviction.pod.name)
            }
            (None, None) => message,
        }
    }
}

fn nothing_left() -> Ending {
    let message = "every pod became ready by itself; none was evicted";
    Ending::new(ExecutionStatus::Succeeded, OutcomeCode::AlreadyDone, message)
}
