//! One write of an action: made at most once, or certainly not, or said to be in doubt.
//!
//! INVARIANT: read → lease confirmed in the ledger → time checked → write that tests what was read.
//! Whoever takes the lease over writes to the object (the change, or a fence) before it says that
//! nothing was written; so a write that was made up before the takeover finds another
//! resourceVersion, however late it arrives.

use std::time::Duration;

use aegis_contract::action::Change;
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::Act;
use aegis_contract::plan::Obstacle;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::{Kind, Target};
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};

use super::watching;
use super::worker::{Ending, Stop, Worker};
use crate::action::object::Object;
use crate::action::{self, State, WriteError, figures};
use crate::cluster::{ReadError, WriteAnswer};
use crate::ledger::stories::Acting;
use crate::verify::time::has_passed;

/// A write that the API server turns down this often for one and the same version of the object is
/// not in conflict with anybody: the API server does not want it.
const SAME_VERSION_CONFLICTS_MAX: u32 = 3;
/// How the API server names the policy of `k8s/base/executor/account/admission-rollback.yaml` when it denies.
const ROLLBACK_POLICY: &str = "ValidatingAdmissionPolicy 'aegis-executor-rollback'";
/// Shortest span after the order's time in which a write in doubt is still looked into, in seconds.
const DOUBT_SECONDS_MIN: u32 = 60;

/// What became of a write.
pub(super) enum Wrote {
    /// It was made, at about this time; what it causes is to be watched.
    Since(Timestamp),
    /// The action ends like this.
    Ended(Ending),
}

/// What is known about the write so far.
#[derive(Debug)]
pub(super) struct Writing {
    /// The instant after which it may not be made.
    not_after: Timestamp,
    /// Whether a write may have been made, or may still arrive, without our knowing.
    in_doubt: bool,
    /// How the action ends if the object turns out to be untouched.
    withdrawn: Option<Ending>,
    /// What held the write back last, to be told when the time runs out.
    held_back: Option<Ending>,
    /// What speaks against it that the object itself does not tell.
    opposed: Option<Obstacle>,
    /// The version for which the last write was turned down, and how often.
    conflict: Option<(String, u32)>,
}

impl Writing {
    /// Of a write that was just announced, or found announced.
    pub(super) fn new(worker: &Worker<'_>, acting: &Acting, is_resumed: bool) -> Self {
        Self {
            not_after: acting.not_after.unwrap_or(worker.not_after),
            // A dry run leaves nothing behind that could be in doubt.
            in_doubt: is_resumed && !worker.act.dry_run,
            withdrawn: None,
            held_back: None,
            opposed: None,
            conflict: None,
        }
    }

    /// Takes down what speaks against the write by now, if anything does.
    pub(super) fn oppose(&mut self, obstacle: Option<Obstacle>) {
        self.opposed = obstacle;
    }

    /// What held the write back last.
    pub(super) fn held_back(&self) -> Option<&str> {
        self.held_back.as_ref().map(|ending| ending.message.as_str())
    }

    fn is_fenced(&self) -> bool {
        self.withdrawn.is_some() && !self.in_doubt
    }
}

/// What follows from one try.
pub(super) enum Next {
    /// The action ends like this.
    End(Ending),
    /// The object is as wanted, by a write that was made before.
    Stands,
    /// The write took effect at this time.
    Written(Timestamp),
    /// Look again.
    Again,
    /// Look again in a moment.
    Later,
}

impl Worker<'_> {
    /// Makes the write that the ledger announces. `fresh` is the object as it was read before the
    /// `acting` row was written by this worker; without it an earlier worker may have written already.
    pub(super) async fn write(&self, acting: &Acting, fresh: Option<Object>) -> Result<Wrote, Stop> {
        let mut writing = Writing::new(self, acting, fresh.is_none());
        let mut fresh = fresh;
        loop {
            match self.attempt(acting, &mut writing, fresh.take()).await? {
                Next::End(ending) => return Ok(Wrote::Ended(ending)),
                Next::Stands => return Ok(Wrote::Since(acting.at)),
                Next::Written(at) => return Ok(self.after_write(at).await),
                Next::Again => {}
                Next::Later => pause().await,
            }
        }
    }

    /// Tries once to make the write that the ledger announces, on the object as it is.
    pub(super) async fn attempt(
        &self,
        acting: &Acting,
        writing: &mut Writing,
        fresh: Option<Object>,
    ) -> Result<Next, Stop> {
        // Writing the `acting` row has confirmed the lease after `fresh` was read.
        let object = match fresh {
            Some(object) => Some(object),
            None => match self.read_until_known(acting, writing).await {
                Ok(object) => {
                    self.lease.confirm().await?;
                    object
                }
                Err(ending) => return Ok(Next::End(ending)),
            },
        };
        Ok(match (action::state(&self.act, acting, object.as_ref()), object) {
            (State::After, _) => Next::Stands,
            // The fence proved that nothing was written before it; what others did since is theirs.
            (_, _) if writing.is_fenced() => {
                Next::End(writing.withdrawn.clone().unwrap_or_else(Ending::expired))
            }
            (State::Other { code, message }, _) => Next::End(other_ending(writing, code, message)),
            (State::Before, Some(object)) => self.write_once(acting, &object, writing).await,
            (State::Before, None) => Next::Again,
        })
    }

    async fn after_write(&self, at: Timestamp) -> Wrote {
        if self.act.dry_run {
            self.step("written", "the API server accepted the write as a dry run");
            let message = "the API server would accept the change; nothing was written";
            return Wrote::Ended(Ending::new(ExecutionStatus::Succeeded, OutcomeCode::DryRun, message));
        }
        self.step("written", "the API server accepted the change");
        // No controller has dealt with it yet.
        tokio::time::sleep(watching::pause(SignedDuration::ZERO)).await;
        Wrote::Since(at)
    }

    async fn read_until_known(&self, acting: &Acting, writing: &Writing) -> Result<Option<Object>, Ending> {
        let target = action::addressed(&self.act, acting);
        loop {
            match self.read(&target).await {
                Ok(object) => return Ok(object),
                Err(ReadError::Forbidden(message)) if !writing.in_doubt => {
                    return Err(Ending::new(ExecutionStatus::Failed, OutcomeCode::ClusterRefused, message));
                }
                // An API server that starts forbids everything for a moment: what is in doubt is looked into
                // until its time is over.
                Err(ReadError::Forbidden(message) | ReadError::Unavailable(message)) => {
                    if let Some(ending) = self.given_up(writing, &message) {
                        return Err(ending);
                    }
                    tracing::warn!(message, "cannot read the target; trying again");
                    pause().await;
                }
            }
        }
    }

    /// How the action ends when what is written to cannot be read, for this reason, and the time to look is over.
    pub(super) fn given_up(&self, writing: &Writing, message: &str) -> Option<Ending> {
        let now = clock::now();
        if !writing.in_doubt && has_passed(writing.not_after, now) {
            return Some(writing.held_back.clone().unwrap_or_else(Ending::expired));
        }
        has_passed(self.doubt_until(writing), now).then(|| in_doubt(message))
    }

    fn doubt_until(&self, writing: &Writing) -> Timestamp {
        let seconds = self.act.watch_seconds.max(DOUBT_SECONDS_MIN);
        writing.not_after + SignedDuration::from_secs(seconds.into())
    }

    async fn write_once(&self, acting: &Acting, object: &Object, writing: &mut Writing) -> Next {
        let target = action::addressed(&self.act, acting);
        if let Some(ending) = self.reason_to_withdraw(acting, object, writing) {
            return self.withdraw(&target, object, ending, writing).await;
        }
        let write = match action::write(&self.act, acting, object, &self.executor.cluster).await {
            Ok(write) => write,
            Err(WriteError::Read(ReadError::Unavailable(_))) => return Next::Later,
            Err(WriteError::Read(ReadError::Forbidden(message))) => {
                return self.withdraw(&target, object, cluster_refused(message), writing).await;
            }
            Err(WriteError::RevisionGone) => {
                let message = "the revision to return to is not kept any more";
                let code = OutcomeCode::NoEarlierRevision;
                let ending = Ending::new(ExecutionStatus::Refused, code, message);
                return self.withdraw(&target, object, ending, writing).await;
            }
        };
        if has_passed(writing.not_after, clock::now()) {
            return Next::Again;
        }
        // Evictions are the executor's own, also those of a rollback.
        let writer = if target == self.act.target {
            self.executor.writer(&self.act.change)
        } else {
            &self.executor.cluster
        };
        match writer.write(write, self.caller()).await {
            WriteAnswer::Done => Next::Written(clock::now()),
            WriteAnswer::Absent => Next::Later,
            WriteAnswer::Conflict(message) => {
                note_conflict(writing, object, &message);
                Next::Later
            }
            WriteAnswer::Later(message) => {
                if writing.held_back.is_none() {
                    self.step("held-back", message.clone());
                }
                writing.held_back = Some(held_back(target.kind, message));
                Next::Later
            }
            WriteAnswer::Refused(message) => {
                self.withdraw(&target, object, write_refused(&self.act, message), writing).await
            }
            WriteAnswer::InDoubt(message) => {
                tracing::warn!(message, "the write is in doubt; looking");
                writing.in_doubt = !self.act.dry_run;
                Next::Later
            }
        }
    }

    fn reason_to_withdraw(&self, acting: &Acting, object: &Object, writing: &Writing) -> Option<Ending> {
        if let Some(ending) = &writing.withdrawn {
            return Some(ending.clone());
        }
        if has_passed(writing.not_after, clock::now()) {
            return Some(writing.held_back.clone().unwrap_or_else(Ending::expired));
        }
        let Act { target, change, .. } = &self.act;
        if let Err(refusal) = self.executor.allowlist.check_action(&target.namespace, change.action_type()) {
            let code = OutcomeCode::NoLongerAllowed;
            return Some(Ending::new(ExecutionStatus::Refused, code, refusal.message));
        }
        // What is put back was there before, and whoever permitted that bounds nothing but its time. Pods that are
        // evicted as not ready are counted as down already.
        if acting.returns.is_none()
            && acting.evicts.is_none()
            && let Some(obstacle) =
                figures::exceeded(&self.act, &change.after_canary(), object, Some(&acting.after))
        {
            return Some(Ending::refused(obstacle));
        }
        if let Some(obstacle) = &writing.opposed {
            return Some(Ending::refused(obstacle.clone()));
        }
        match &writing.conflict {
            Some((version, times))
                if version == object.resource_version() && *times >= SAME_VERSION_CONFLICTS_MAX =>
            {
                Some(cluster_refused("the API server does not accept the write".to_owned()))
            }
            _ => None,
        }
    }

    /// Ends an action whose object is untouched, after making sure that it stays untouched.
    async fn withdraw(
        &self,
        target: &Target,
        object: &Object,
        ending: Ending,
        writing: &mut Writing,
    ) -> Next {
        if !writing.in_doubt {
            return Next::End(ending);
        }
        if !self.executor.allowlist.allows(&target.namespace) {
            return Next::End(in_doubt("the namespace is not allowed any more"));
        }
        let Some(fence) = action::fence(target, object, self.act.action_id, self.lease.grant.fence) else {
            return Next::End(in_doubt("the executor may not fence a pod"));
        };
        if has_passed(self.doubt_until(writing), clock::now()) {
            return Next::End(in_doubt("the object could not be fenced in time"));
        }
        writing.withdrawn = Some(ending);
        match self.executor.cluster.write(fence, self.caller()).await {
            WriteAnswer::Done => {
                self.step("fenced", "no earlier write can take effect any more");
                writing.in_doubt = false;
                Next::Again
            }
            // Also a refusal may pass: an API server that starts refuses everything for a moment.
            WriteAnswer::Refused(_)
            | WriteAnswer::Absent
            | WriteAnswer::Conflict(_)
            | WriteAnswer::Later(_)
            | WriteAnswer::InDoubt(_) => Next::Later,
        }
    }
}

fn other_ending(writing: &Writing, code: OutcomeCode, message: String) -> Ending {
    if writing.in_doubt {
        return Ending::new(ExecutionStatus::Failed, code, message);
    }
    // Nothing was written: the object merely is not as the decision saw it any more.
    let code = if code == OutcomeCode::Contested { OutcomeCode::PreconditionFailed } else { code };
    Ending::new(ExecutionStatus::Refused, code, message)
}

fn note_conflict(writing: &mut Writing, object: &Object, message: &str) {
    tracing::debug!(message, "the write met another version");
    let version = object.resource_version();
    let times = match &writing.conflict {
        Some((known, times)) if known == version => times + 1,
        _ => 1,
    };
    writing.conflict = Some((version.to_owned(), times));
}

fn held_back(kind: Kind, message: String) -> Ending {
    let code = if kind == Kind::Pod { OutcomeCode::BudgetBlocked } else { OutcomeCode::ClusterUnavailable };
    Ending::new(ExecutionStatus::Failed, code, message)
}

/// A write that the API server turned down. One that the policy for rollbacks denies was never going to be made.
fn write_refused(act: &Act, message: String) -> Ending {
    if matches!(act.change, Change::Rollback(_)) && message.contains(ROLLBACK_POLICY) {
        return Ending::new(ExecutionStatus::Refused, OutcomeCode::TemplateOutOfBounds, message);
    }
    cluster_refused(message)
}

fn cluster_refused(message: String) -> Ending {
    Ending::new(ExecutionStatus::Failed, OutcomeCode::ClusterRefused, message)
}

pub(super) fn in_doubt(message: &str) -> Ending {
    Ending::new(
        ExecutionStatus::Unknown,
        OutcomeCode::WriteInDoubt,
        format!("whether the write happened cannot be known: {message}"),
    )
}

/// A short wait of random length, so that writers in conflict do not stay in step.
pub(super) async fn pause() {
    let [random] = clock::random_bytes::<1>();
    tokio::time::sleep(Duration::from_millis(100 + u64::from(random))).await;
}
