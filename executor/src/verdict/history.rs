//! What was seen of a workload and its pods since a write, and since when.

use std::collections::{BTreeMap, BTreeSet};

use aegis_contract::code::OutcomeCode;
use aegis_contract::facts::Rollout;
use aegis_contract::target::Kind;
use jiff::{SignedDuration, Timestamp};

use super::signs::{Sign, sign};
use super::{Bad, Verdict};
use crate::action::disruption::unavailable_bound;
use crate::action::object::Object;
use crate::action::pods::Pods;
use crate::action::rollout::{self, RolloutStatus};

/// One pod in so many may be unwell without the write being called bad: a node or a pod of its own kind.
const UNWELL_ONE_IN: usize = 10;
/// How long fewer pods may serve than before, and than the strategy takes away, before that counts.
const READINESS_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long no pod may be created, without any progress, before that counts: a quota may become free as
/// old pods go.
const CREATION_GRACE: SignedDuration = SignedDuration::from_secs(15);
/// For so long after somebody has taken pods away (a drained node, a pod of higher priority), fewer ready
/// pods, and pods without a node, are not the write's doing.
const DISRUPTION_LASTS: SignedDuration = SignedDuration::from_secs(300);
/// How long pods that went out of sight still count as they were: a watch that breaks off is begun anew.
const SIGHT_LASTS: SignedDuration = SignedDuration::from_secs(2);
/// Annotation that names, in a pod, the write that made its template.
const MARK: &str = "aegis.dev/action";

/// The write whose effect is watched.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The workload's kind.
    pub(crate) kind: Kind,
    /// When.
    pub(crate) at: Timestamp,
    /// Which pods it has made.
    pub(crate) new_pods: NewPods,
    /// How many pods were ready before; absent where that does not count.
    pub(crate) ready_before: Option<u32>,
    /// When a rollout had failed before, as Kubernetes says.
    pub(crate) failed_before: Option<String>,
}

/// Which pods a write has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewPods {
    /// Those whose template bears this mark.
    Marked(String),
    /// Those that were created at or after this time. A clock ahead of the API server's hides bad pods,
    /// and one behind it counts a few older ones.
    CreatedSince(Timestamp),
    /// Those whose uid is none of these.
    NotAmong(BTreeSet<String>),
}

/// What was seen since a write.
#[derive(Debug)]
pub(crate) struct History {
    written: Written,
    workload: Option<Workload>,
    /// The write's own pods, as they were seen last.
    pods: BTreeMap<String, Pod>,
    /// Since when they cannot be seen, if they cannot.
    out_of_sight_since: Option<Timestamp>,
    disrupted_at: Option<Timestamp>,
    /// What was told already.
    noticed: Vec<OutcomeCode>,
}

#[derive(Debug)]
struct Workload {
    status: RolloutStatus,
    progress_deadline_seconds: u64,
    lacks: Option<Lack>,
    not_created: Option<NotCreated>,
}

/// Fewer pods serve than before.
#[derive(Clone, Debug)]
struct Lack {
    since: Timestamp,
    message: String,
}

#[derive(Clone, Debug)]
struct NotCreated {
    since: Timestamp,
    updated: u64,
    message: String,
}

#[derive(Clone, Debug)]
struct Pod {
    unwell: Option<(Sign, Timestamp)>,
}

impl History {
    /// Nothing was seen yet.
    pub(crate) fn new(written: Written) -> Self {
        Self {
            written,
            workload: None,
            pods: BTreeMap::new(),
            out_of_sight_since: Some(Timestamp::MIN),
            disrupted_at: None,
            noticed: Vec::new(),
        }
    }

    /// The workload as it is.
    pub(crate) fn see_workload(&mut self, object: &Object, at: Timestamp) {
        let before = self.workload.take();
        let is_current = object.number("/status/observedGeneration") >= object.generation();
        let (lacks, not_created) = match &before {
            Some(before) => (before.lacks.clone(), before.not_created.clone()),
            None => (None, None),
        };
        self.workload = Some(Workload {
            status: rollout::status(self.written.kind, object),
            progress_deadline_seconds: rollout::progress_deadline_seconds(object),
            lacks: if is_current { self.lack(object, lacks, at) } else { lacks },
            not_created: if is_current { not_created_now(object, not_created, at) } else { not_created },
        });
    }

    /// The workload cannot be seen.
    pub(crate) fn lose_workload(&mut self, at: Timestamp) {
        if let Some(workload) = &mut self.workload {
            workload.status.rollout = Rollout::Progressing;
            workload.status.message = "the workload is out of sight".to_owned();
            workload.lacks = None;
            workload.not_created = None;
        }
        self.lose_pods(at);
    }

    fn lack(&self, object: &Object, before: Option<Lack>, at: Timestamp) -> Option<Lack> {
        let kind = self.written.kind;
        let Pods { wanted, ready, .. } = Pods::of(kind, object);
        let taken = match self.written.new_pods {
            NewPods::Marked(_) => unavailable_bound(kind, object),
            NewPods::CreatedSince(_) | NewPods::NotAmong(_) => 0,
        };
        let least = self.written.ready_before?.min(wanted).saturating_sub(taken);
        let message = format!("{ready} pods are ready, and {least} at least were to stay so");
        let since = before.map_or(at, |before| before.since);
        (ready < least).then_some(Lack { since, message })
    }

    /// All pods of the workload.
    pub(crate) fn see_pods(&mut self, pods: &[Object], at: Timestamp) {
        self.out_of_sight_since = None;
        self.pods.retain(|uid, _| pods.iter().any(|pod| pod.uid() == uid));
        for pod in pods {
            self.see_pod(pod, at);
        }
    }

    /// One pod of the workload, as it is now.
    pub(crate) fn see_pod(&mut self, pod: &Object, at: Timestamp) {
        if pod.condition("DisruptionTarget").is_some_and(|condition| condition["status"] == "True") {
            self.disrupted_at = Some(at);
        }
        // What is being deleted says nothing of what replaces it.
        if pod.is_being_deleted() || !is_new(&self.written.new_pods, pod) {
            self.pods.remove(pod.uid());
            return;
        }
        let before = self.pods.remove(pod.uid()).and_then(|pod| pod.unwell);
        let unwell = sign(pod).map(|sign| lasting(sign, before, at));
        self.pods.insert(pod.uid().to_owned(), Pod { unwell });
    }

    /// A pod is gone.
    pub(crate) fn lose_pod(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// The pods cannot be seen any more; in a moment what they said last is not held against them.
    pub(crate) fn lose_pods(&mut self, at: Timestamp) {
        self.out_of_sight_since.get_or_insert(at);
    }

    /// What a pod says that was not told yet.
    pub(crate) fn notice(&mut self) -> Option<String> {
        let mut signs = self.pods.values().filter_map(|pod| Some(&pod.unwell.as_ref()?.0));
        let sign = signs.find(|sign| !self.noticed.contains(&sign.code))?;
        self.noticed.push(sign.code);
        Some(sign.message.clone())
    }

    /// Whether the pods alone say that the write is bad: time to look at the workload.
    pub(crate) fn is_alarming(&self, at: Timestamp) -> bool {
        self.bad_pods(at).is_some()
    }

    /// What is known at `at`.
    pub(crate) fn verdict(&self, at: Timestamp) -> Verdict {
        let Some(workload) = &self.workload else {
            return Verdict::Unknown("the workload was not seen yet".to_owned());
        };
        if let Some(bad) = self.bad_pods(at).or_else(|| self.bad_workload(workload, at)) {
            return Verdict::Bad(bad);
        }
        let RolloutStatus { rollout, message, failed_at } = &workload.status;
        let elapsed = at.duration_since(self.written.at).as_secs().unsigned_abs();
        match rollout {
            Rollout::Complete => Verdict::Good(message.clone()),
            // The controller leaves an earlier failure standing until it sees progress; only a new
            // failure, or one that outlasts the deadline, is this rollout's.
            Rollout::Failed
                if *failed_at != self.written.failed_before
                    || elapsed > workload.progress_deadline_seconds =>
            {
                Verdict::Bad(Bad::new(OutcomeCode::RolloutFailed, message))
            }
            Rollout::Failed | Rollout::Progressing => Verdict::Unknown(message.clone()),
        }
    }

    fn bad_pods(&self, at: Timestamp) -> Option<Bad> {
        if self.out_of_sight_since.is_some_and(|since| at.duration_since(since) >= SIGHT_LASTS) {
            return None;
        }
        let counts = |(sign, since): &&(Sign, Timestamp)| {
            let grace = SignedDuration::from_secs(sign.grace_seconds.into());
            let is_excused = sign.code == OutcomeCode::PodUnschedulable && self.is_disrupted(at);
            at.duration_since(*since) >= grace && !is_excused
        };
        let unwell: Vec<_> =
            self.pods.values().filter_map(|pod| pod.unwell.as_ref()).filter(counts).collect();
        let (sign, _) = unwell.first()?;
        let count = unwell.len();
        if count * UNWELL_ONE_IN <= self.pods.len() {
            return None;
        }
        let message = format!("{} ({count} of {} new pods are unwell)", sign.message, self.pods.len());
        Some(Bad::new(sign.code, message))
    }

    fn bad_workload(&self, workload: &Workload, at: Timestamp) -> Option<Bad> {
        let lasts = |since: Timestamp, grace| at.duration_since(since) >= grace;
        if let Some(NotCreated { since, message, .. }) = &workload.not_created
            && lasts(*since, CREATION_GRACE)
        {
            return Some(Bad::new(OutcomeCode::PodsNotCreated, message));
        }
        match &workload.lacks {
            Some(Lack { since, message }) if lasts(*since, READINESS_GRACE) && !self.is_disrupted(at) => {
                Some(Bad::new(OutcomeCode::ReadinessWorse, message))
            }
            _ => None,
        }
    }

    fn is_disrupted(&self, at: Timestamp) -> bool {
        self.disrupted_at.is_some_and(|disrupted| at.duration_since(disrupted) < DISRUPTION_LASTS)
    }
}

fn is_new(new_pods: &NewPods, pod: &Object) -> bool {
    match new_pods {
        NewPods::Marked(mark) => pod.annotation("/metadata/annotations", MARK) == Some(mark),
        NewPods::CreatedSince(since) => {
            let created: Option<Timestamp> = pod.text("/metadata/creationTimestamp").parse().ok();
            created.is_some_and(|created| created >= *since)
        }
        NewPods::NotAmong(uids) => !uids.contains(pod.uid()),
    }
}

// A sign goes on from when it was first seen; one that does not say why is as urgent as the one before.
fn lasting(sign: Sign, before: Option<(Sign, Timestamp)>, at: Timestamp) -> (Sign, Timestamp) {
    match before {
        Some((before, since)) if before.code == sign.code => {
            let grace_seconds = if sign.says_why { sign.grace_seconds } else { before.grace_seconds };
            (Sign { grace_seconds, ..sign }, since)
        }
        _ => (sign, at),
    }
}

fn not_created_now(object: &Object, before: Option<NotCreated>, at: Timestamp) -> Option<NotCreated> {
    let condition = object.condition("ReplicaFailure").filter(|condition| condition["status"] == "True")?;
    let updated = object.number("/status/updatedReplicas");
    let since = before.filter(|before| before.updated == updated).map_or(at, |before| before.since);
    let message = condition["message"].as_str().unwrap_or("pods cannot be created").to_owned();
    Some(NotCreated { since, updated, message })
}
