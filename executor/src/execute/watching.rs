//! Watches what a write causes, until it is good and stays so, bad, or the time to watch is over.

use std::time::Duration;

use aegis_contract::code::OutcomeCode;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Kind;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::evicting::{Eviction, Freeing};
use super::worker::{Ending, Stop, Worker};
use crate::action::object::Object;
use crate::action::{self, State, state};
use crate::cluster::{PodNews, PodsFollowed};
use crate::ledger::stories::Acting;
use crate::verdict::{Bad, History, Verdict};
use crate::verify::time::has_passed;

/// Shortest and longest time between two looks at the object. In between it is looked at again after as
/// long as it has taken so far: a quick rollout is answered soon, and many slow ones cost little. What
/// pods say is heard at once.
const PAUSE_MIN: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often it is asked whether what pods said has lasted for too long.
const ALARM_INTERVAL: Duration = Duration::from_millis(250);

/// How watching ended.
#[derive(Debug)]
pub(super) enum Watched {
    /// With the action.
    Ended(Ending),
    /// The write has turned out bad; what was there before may be put back.
    Bad(Bad),
}

/// What is seen of the workload and its pods.
struct Sight {
    history: History,
    /// Absent before the workload was seen.
    pods: Option<PodsFollowed>,
    /// Since when all is as wanted.
    good_since: Option<Timestamp>,
}

impl Worker<'_> {
    /// Watches the object that was written to at `since`.
    pub(super) async fn watch(
        &self,
        acting: &Acting,
        since: Timestamp,
        eviction: Option<Eviction>,
    ) -> Result<Watched, Stop> {
        let until = since + SignedDuration::from_secs(acting.watch_seconds(&self.act).into());
        let written = action::written(&self.act, acting, since);
        let mut sight = Sight { history: History::new(written), pods: None, good_since: None };
        let mut freeing = Freeing::new(until, eviction);
        loop {
            let looked_at = clock::now();
            let ending = match self.read(&self.act.target).await {
                Ok(object) => match self.judge(acting, object.as_ref(), &mut sight) {
                    Judged::End(ending) => {
                        self.step("watched", ending.message.clone());
                        return Ok(Watched::Ended(ending));
                    }
                    Judged::Bad(bad) => {
                        self.step("judged", format!("bad: {}", bad.message));
                        return Ok(Watched::Bad(bad));
                    }
                    Judged::NotYet(message) => {
                        if let Some(object) = &object {
                            self.free(acting, object, &mut freeing).await?;
                        }
                        failed(OutcomeCode::RolloutTimeout, &freeing.told(message))
                    }
                },
                Err(error) => {
                    sight.history.lose_workload(clock::now());
                    failed(OutcomeCode::ClusterUnavailable, &error.to_string())
                }
            };
            // A worker that comes late still looks once, and what is good may stay so for its time.
            if has_passed(until, looked_at) && sight.good_since.is_none() {
                self.step("watched", "the time to watch is over");
                return Ok(Watched::Ended(ending));
            }
            self.listen(&mut sight, pause(looked_at.duration_since(since))).await;
        }
    }

    fn judge(&self, acting: &Acting, object: Option<&Object>, sight: &mut Sight) -> Judged {
        match (state(&self.act, acting, object), object) {
            (State::Other { code, message }, _) => Judged::End(failed(code, &message)),
            (State::Before, object) => {
                let who = object.map(|object| action::newest_writer(&self.act, object)).unwrap_or_default();
                let message = format!("somebody else took the change back{who}");
                Judged::End(failed(OutcomeCode::Contested, &message))
            }
            (State::After, object) if self.act.target.kind == Kind::Pod => pod_judged(acting, object),
            (State::After, Some(object)) => self.judge_workload(acting, object, sight),
            (State::After, None) => Judged::NotYet("the object was not found".to_owned()),
        }
    }

    fn judge_workload(&self, acting: &Acting, object: &Object, sight: &mut Sight) -> Judged {
        let now = clock::now();
        sight.history.see_workload(object, now);
        sight.pods.get_or_insert_with(|| {
            let selector = action::selector(object);
            self.executor.cluster.follow_pods(&self.act.target, &selector, self.caller())
        });
        sight.hear(now);
        match sight.history.verdict(now) {
            Verdict::Bad(bad) => Judged::Bad(bad),
            Verdict::Unknown(message) => {
                sight.good_since = None;
                Judged::NotYet(message)
            }
            Verdict::Good(message) => {
                let since = *sight.good_since.get_or_insert_with(|| {
                    self.step("complete", message.clone());
                    now
                });
                let soak = if acting.returns.is_some() { 0 } else { self.act.soak_seconds };
                if now.duration_since(since) < SignedDuration::from_secs(soak.into()) {
                    return Judged::NotYet(message);
                }
                let (status, code) = (ExecutionStatus::Succeeded, OutcomeCode::RolloutComplete);
                Judged::End(Ending::new(status, code, message))
            }
        }
    }

    /// Hears what pods say for `time`, or until that is a reason to look at once.
    async fn listen(&self, sight: &mut Sight, time: Duration) {
        let next_look = Instant::now() + time;
        let earliest = Instant::now() + PAUSE_MIN;
        loop {
            let now = Instant::now();
            if now >= next_look || (now >= earliest && sight.history.is_alarming(clock::now())) {
                return;
            }
            let Some(pods) = &mut sight.pods else {
                return tokio::time::sleep_until(next_look).await;
            };
            let wake = next_look.min(now + ALARM_INTERVAL);
            match tokio::time::timeout_at(wake, pods.news()).await {
                Ok(Some(news)) => sight.take(&news, clock::now()),
                Ok(None) => return tokio::time::sleep_until(next_look).await,
                Err(_) => {}
            }
            if let Some(message) = sight.history.notice() {
                self.step("noticed", message);
            }
        }
    }
}

impl Sight {
    fn hear(&mut self, at: Timestamp) {
        while let Some(news) = self.pods.as_mut().and_then(PodsFollowed::news_at_once) {
            self.take(&news, at);
        }
    }

    fn take(&mut self, news: &PodNews, at: Timestamp) {
        match news {
            PodNews::All(pods) => self.history.see_pods(pods, at),
            PodNews::Now(pod) => self.history.see_pod(pod, at),
            PodNews::Gone(pod) => {
                self.history.see_pod(pod, at);
                self.history.lose_pod(pod.uid());
            }
            PodNews::Lost => self.history.lose_pods(at),
        }
    }
}

/// What one look says.
enum Judged {
    End(Ending),
    Bad(Bad),
    NotYet(String),
}

fn pod_judged(acting: &Acting, object: Option<&Object>) -> Judged {
    if object.is_some_and(|object| object.uid() == acting.uid) {
        return Judged::NotYet("the pod is being deleted".to_owned());
    }
    let message = "the evicted pod is gone";
    Judged::End(Ending::new(ExecutionStatus::Succeeded, OutcomeCode::PodReplaced, message))
}

/// How long to wait for the next look, so long after the write.
pub(super) fn pause(elapsed: SignedDuration) -> Duration {
    elapsed.unsigned_abs().clamp(PAUSE_MIN, PAUSE_MAX)
}

pub(super) fn failed(code: OutcomeCode, message: &str) -> Ending {
    Ending::new(ExecutionStatus::Failed, code, message)
}
