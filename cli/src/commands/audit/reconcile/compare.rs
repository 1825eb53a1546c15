//! Writes and actions held against each other.

use std::collections::BTreeMap;

use aegis_contract::action::{ActionType, Change};
use aegis_contract::ids::ActionId;
use aegis_contract::target::{Kind, Target};
use jiff::{SignedDuration, Timestamp};

use super::kube::{KubeLog, Write};
use crate::commands::audit::courses::{Course, Courses};
use crate::commands::audit::source::Taken;

/// How far the clocks of API server, executor and control plane may lie apart.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// What the audit log says.
pub(super) struct Known<'c> {
    pub(super) courses: &'c Courses,
    pub(super) cluster: &'c str,
    pub(super) taken: &'c Taken,
    /// Entries of a form that is not known here.
    pub(super) unreadable: u64,
}

impl Known<'_> {
    /// Whether the entries tell everything that was recorded then.
    fn covers(&self, at: Timestamp) -> bool {
        let Taken { is_gapless, from_the_first, since, until, .. } = *self.taken;
        is_gapless && (from_the_first || at >= since) && at <= until
    }
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Compared<'c> {
    /// Writes that the log explains.
    pub(super) explained: u64,
    /// Questions to the API server, of which nothing is stored.
    pub(super) questions: u64,
    /// Writes that nothing explains, each with why not.
    pub(super) unexplained: Vec<(&'c Write, String)>,
    /// Actions that wrote, as the log says, with their write.
    pub(super) written: u64,
    /// Actions that wrote, as the log says, and of which no write was recorded.
    pub(super) unwritten: Vec<(ActionId, &'c Course)>,
    /// What is missing for the comparison to be whole.
    pub(super) missing: Vec<(&'static str, String)>,
}

/// What an action has written, as far as the writes were looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Changes of its target.
    changes: usize,
    /// Pods of its target that it has evicted.
    evictions: usize,
}

/// Whether an action has written, by its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Yes,
    No,
    Unknown,
}

impl<'c> Compared<'c> {
    /// Compares the writes, and the actions that may have written, of a span of time.
    pub(super) fn of(log: &'c KubeLog, known: &Known<'c>, (from, to): (Timestamp, Timestamp)) -> Self {
        let mut compared = Self { questions: log.questions, ..Self::default() };
        compared.note_gaps(log, known, (from, to));
        let mut written: BTreeMap<ActionId, Written> = BTreeMap::new();
        for write in log.writes.iter().filter(|write| write.at >= from && write.at <= to) {
            match explain(write, known, &written) {
                Ok((id, kind)) => {
                    compared.explained += 1;
                    match kind {
                        WriteKind::Fence => {}
                        WriteKind::Change => written.entry(id).or_default().changes += 1,
                        WriteKind::Eviction => written.entry(id).or_default().evictions += 1,
                    }
                }
                Err(reason) if write.action_id.is_some() && !known.covers(write.at) => {
                    let message =
                        format!("{} at {}: {reason}, as far as the entries go", write.audit_id, write.at);
                    compared.missing.push(("write-outside-entries", message));
                }
                Err(reason) => compared.unexplained.push((write, reason)),
            }
        }
        for (id, course) in known.courses.0.iter().filter(|(_, course)| is_in(course, known.cluster)) {
            let Some((start, end)) = ordered_and_over(course).filter(|_| wrote(course) == Wrote::Yes) else {
                continue;
            };
            if written.contains_key(id) || log.in_doubt.contains(id) {
                compared.written += 1;
            } else if start >= from && end <= to {
                compared.unwritten.push((*id, course));
            } else if end >= from && start <= to {
                let message = format!(
                    "action {id} wrote between {start} and {end}, which the compared time covers in part only"
                );
                compared.missing.push(("action-in-part", message));
            }
        }
        compared
    }

    fn note_gaps(&mut self, log: &KubeLog, known: &Known<'_>, (from, to): (Timestamp, Timestamp)) {
        let mut missing = |code, message: String| self.missing.push((code, message));
        if let Some((first, last)) = log.span
            && (first > from || last < to)
        {
            let covers = format!("the API server's audit log goes from {first} to {last}");
            missing("kube-audit-in-part", format!("{covers}, and {from} to {to} is asked for"));
        }
        if !known.taken.is_gapless {
            let message =
                "the bundle holds a selection of entries: those that explain a write may not be in it";
            missing("entries-selected", message.to_owned());
        }
        if known.unreadable > 0 {
            let message =
                format!("{} entries are of a form that this aegisctl does not know", known.unreadable);
            missing("entries-unreadable", message);
        }
    }
}

/// What a write is of the action that explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteKind {
    /// Nothing but a fence.
    Fence,
    /// Its change, or the return of that.
    Change,
    /// Of a pod of its target.
    Eviction,
}

/// The action that explains a write, or why none does.
fn explain(
    write: &Write,
    known: &Known<'_>,
    written: &BTreeMap<ActionId, Written>,
) -> Result<(ActionId, WriteKind), String> {
    let id = write.action_id.ok_or("it names no action")?;
    let course = known.courses.0.get(&id).ok_or_else(|| format!("no entry speaks of action {id}"))?;
    if !is_in(course, known.cluster) {
        return Err(format!("action {id} is not one of cluster {}", known.cluster));
    }
    let (start, end) = window(course).ok_or_else(|| format!("action {id} was never ordered"))?;
    if write.at < start || write.at > end {
        return Err(format!("action {id} was ordered and over between {start} and {end}"));
    }
    let target = course.target.as_ref().ok_or_else(|| format!("the target of action {id} is not known"))?;
    let before = written.get(&id).copied().unwrap_or_default();
    if is_eviction_below(write, target) && wrote(course) != Wrote::No {
        let most = course.change.as_ref().map_or(0, |change| evictions_max(change, target.kind));
        if before.evictions >= most {
            return Err(format!("action {id} evicts no more than {most} pods of its target"));
        }
        return Ok((id, WriteKind::Eviction));
    }
    if (&write.namespace, &write.name) != (&target.namespace, &target.name) {
        return Err(format!("action {id} is for {target}"));
    }
    if write.is_fence && is(write, "patch", resource(target.kind)) {
        return Ok((id, WriteKind::Fence));
    }
    let (verb, expected) = course.action_type.map(|action| makes(action, target.kind)).unwrap_or_default();
    if !is(write, verb, &expected) {
        return Err(format!("action {id} makes {verb} {expected}"));
    }
    if wrote(course) == Wrote::No {
        return Err(format!("the log says that action {id} wrote nothing"));
    }
    let allowed = if may_have_returned(course) { 2 } else { 1 };
    if before.changes >= allowed {
        return Err(format!("action {id} has made its one change already, and its return if it has one"));
    }
    Ok((id, WriteKind::Change))
}

/// Whether a write is the eviction of a pod that bears the name of the workload `target`.
fn is_eviction_below(write: &Write, target: &Target) -> bool {
    let is_named = write.name.strip_prefix(&target.name).is_some_and(|rest| rest.starts_with('-'));
    is(write, "create", "pods/eviction")
        && target.kind != Kind::Pod
        && is_named
        && write.namespace == target.namespace
}

/// Most pods of a workload of this kind that a change evicts.
fn evictions_max(change: &Change, kind: Kind) -> usize {
    match change {
        Change::Restart(_) if change.is_of_unready_pods() => usize::MAX,
        Change::Restart(_) if change.has_canary() => 1,
        // Those that hold the set up.
        Change::Rollback(_) if kind == Kind::StatefulSet => usize::MAX,
        Change::Restart(_) | Change::RestartPod(_) | Change::Scale(_) | Change::Rollback(_) => 0,
    }
}

fn is(write: &Write, verb: &str, resource: &str) -> bool {
    let group = if resource.starts_with("pods") { "" } else { "apps" };
    // The group of an eviction is that of its body.
    let is_group = write.group == group || resource == "pods/eviction";
    write.verb == verb && write.resource == resource && is_group
}

/// The verb and the resource of the one change that an action makes.
fn makes(action: ActionType, kind: Kind) -> (&'static str, String) {
    match action {
        ActionType::Restart | ActionType::Rollback => ("patch", resource(kind).to_owned()),
        ActionType::RestartPod => ("create", "pods/eviction".to_owned()),
        ActionType::Scale => ("patch", format!("{}/scale", resource(kind))),
    }
}

fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Deployment => "deployments",
        Kind::StatefulSet => "statefulsets",
        Kind::DaemonSet => "daemonsets",
        Kind::Pod => "pods",
    }
}

fn is_in(course: &Course, cluster: &str) -> bool {
    course.target.as_ref().is_some_and(|target| target.cluster == cluster)
}

/// From when to when an action may write: from its first order to its outcome.
fn ordered_and_over(course: &Course) -> Option<(Timestamp, Timestamp)> {
    let ordered = course.orders.iter().map(|(at, _)| *at).min()?;
    Some((ordered, course.ended.as_ref().map_or(Timestamp::MAX, |ended| ended.at)))
}

/// The same by the clock of any API server.
fn window(course: &Course) -> Option<(Timestamp, Timestamp)> {
    let (start, end) = ordered_and_over(course)?;
    Some((
        start.saturating_sub(SKEW).unwrap_or(Timestamp::MIN),
        end.saturating_add(SKEW).unwrap_or(Timestamp::MAX),
    ))
}

/// Whether an action has put its change back, or may have.
fn may_have_returned(course: &Course) -> bool {
    course.ended.as_ref().is_none_or(|ended| ended.state == "returned" || ended.code == "unresolved")
}

fn wrote(course: &Course) -> Wrote {
    let Some(ended) = &course.ended else { return Wrote::Unknown };
    match (&*ended.state, &*ended.code) {
        _ if course.dry_run => Wrote::No,
        ("succeeded", "already-done" | "dry-run") => Wrote::No,
        ("succeeded" | "returned", _) => Wrote::Yes,
        ("failed", "rollout-failed" | "rollout-timeout" | "crash-loop" | "image-pull-failed") => Wrote::Yes,
        ("denied" | "refused" | "cancelled" | "expired", _) => Wrote::No,
        _ => Wrote::Unknown,
    }
}
