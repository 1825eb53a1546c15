//! Watches what a write causes, until it is complete, has failed, or the time to watch is over.

use std::time::Duration;

use aegis_contract::code::OutcomeCode;
use aegis_contract::facts::Rollout;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Kind;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};

use super::worker::{Ending, Stop, Worker};
use crate::action::object::Object;
use crate::action::{State, rollout, state};
use crate::ledger::stories::Acting;
use crate::verify::time::has_passed;

/// Shortest and longest time between two looks at the object. In between it is looked at again after as
/// long as it has taken so far: a quick rollout is answered soon, and many slow ones cost little.
const PAUSE_MIN: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What one look at the object says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// As wanted, or not any more.
    End(Ending),
    /// Not yet.
    NotYet(String),
}

impl Worker<'_> {
    /// Watches the object that was written to at `since`.
    pub(super) async fn watch(&self, acting: &Acting, since: Timestamp) -> Result<Ending, Stop> {
        let until = since + SignedDuration::from_secs(self.act.watch_seconds.into());
        loop {
            let looked_at = clock::now();
            let ending = match self.read().await {
                Ok(object) => match self.verdict(acting, object.as_ref(), looked_at.duration_since(since)) {
                    Verdict::End(ending) => {
                        self.step("watched", ending.message.clone());
                        return Ok(ending);
                    }
                    Verdict::NotYet(message) => failed(OutcomeCode::RolloutTimeout, &message),
                },
                Err(error) => failed(OutcomeCode::ClusterUnavailable, &error.to_string()),
            };
            // A worker that comes late still looks once.
            if has_passed(until, looked_at) {
                self.step("watched", "the time to watch is over");
                return Ok(ending);
            }
            tokio::time::sleep(pause(looked_at.duration_since(since))).await;
        }
    }

    fn verdict(&self, acting: &Acting, object: Option<&Object>, elapsed: SignedDuration) -> Verdict {
        match (state(&self.act, acting, object), object) {
            (State::Other { code, message }, _) => Verdict::End(failed(code, &message)),
            (State::Before, _) => {
                Verdict::End(failed(OutcomeCode::Contested, "somebody else took the change back"))
            }
            (State::After, object) if self.act.target.kind == Kind::Pod => pod_verdict(acting, object),
            (State::After, Some(object)) => rollout_verdict(self.act.target.kind, acting, object, elapsed),
            (State::After, None) => Verdict::NotYet("the object was not found".to_owned()),
        }
    }
}

fn pod_verdict(acting: &Acting, object: Option<&Object>) -> Verdict {
    if object.is_some_and(|object| object.uid() == acting.uid) {
        return Verdict::NotYet("the pod is being deleted".to_owned());
    }
    let message = "the evicted pod is gone";
    Verdict::End(Ending::new(ExecutionStatus::Succeeded, OutcomeCode::PodReplaced, message))
}

fn rollout_verdict(kind: Kind, acting: &Acting, object: &Object, elapsed: SignedDuration) -> Verdict {
    let status = rollout::status(kind, object);
    match status.rollout {
        Rollout::Complete => Verdict::End(Ending::new(
            ExecutionStatus::Succeeded,
            OutcomeCode::RolloutComplete,
            status.message,
        )),
        // The controller leaves an earlier failure standing until it sees progress; only a new
        // failure, or one that outlasts the deadline, is this rollout's.
        Rollout::Failed
            if status.failed_at != acting.failed_before
                || elapsed.as_secs().unsigned_abs() > rollout::progress_deadline_seconds(object) =>
        {
            Verdict::End(failed(OutcomeCode::RolloutFailed, &status.message))
        }
        Rollout::Failed | Rollout::Progressing => Verdict::NotYet(status.message),
    }
}

/// How long to wait for the next look, so long after the write.
pub(super) fn pause(elapsed: SignedDuration) -> Duration {
    elapsed.unsigned_abs().clamp(PAUSE_MIN, PAUSE_MAX)
}

fn failed(code: OutcomeCode, message: &str) -> Ending {
    Ending::new(ExecutionStatus::Failed, code, message)
}

#[cfg(test)]
mod tests {
    use aegis_contract::order::WrittenFields;
    use serde_json::json;

    use super::*;

    fn acting(failed_before: Option<&str>) -> Acting {
        Acting {
            number: 1,
            not_after: None,
            uid: "u1".to_owned(),
            generation: 1,
            before: WrittenFields::Scale { replicas: 1 },
            after: WrittenFields::Scale { replicas: 2 },
            at: Timestamp::UNIX_EPOCH,
            steps: Vec::new(),
            failed_before: failed_before.map(str::to_owned),
        }
    }

    fn failing_since(at: &str) -> Object {
        Object::new(json!({
            "metadata": { "uid": "u1", "generation": 2 },
            "spec": { "replicas": 2, "progressDeadlineSeconds": 10 },
            "status": { "observedGeneration": 2, "conditions": [
                { "type": "Progressing", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": at, "message": "no" },
            ] },
        }))
    }

    #[test]
    fn a_failure_from_before_the_write_counts_only_when_it_outlasts_the_deadline() {
        let code = |failed_before, seconds| {
            let elapsed = SignedDuration::from_secs(seconds);
            match rollout_verdict(Kind::Deployment, &acting(failed_before), &failing_since("t1"), elapsed) {
                Verdict::End(ending) => Some(ending.code),
                Verdict::NotYet(_) => None,
            }
        };
        assert_eq!(code(Some("t1"), 1), None);
        assert_eq!(code(Some("t1"), 11), Some(OutcomeCode::RolloutFailed));
        assert_eq!(code(Some("t0"), 1), Some(OutcomeCode::RolloutFailed));
        assert_eq!(code(None, 1), Some(OutcomeCode::RolloutFailed));
    }

    #[test]
    fn a_pod_is_replaced_once_its_uid_is_gone() {
        let pod = |uid: &str| Object::new(json!({ "metadata": { "uid": uid } }));
        assert!(matches!(pod_verdict(&acting(None), Some(&pod("u1"))), Verdict::NotYet(_)));
        for gone in [None, Some(pod("u2"))] {
            assert!(matches!(pod_verdict(&acting(None), gone.as_ref()), Verdict::End(_)));
        }
    }
}
