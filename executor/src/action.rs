//! The four actions on real objects: which fields they write, when they refuse, what they send, and
//! how their effect is judged. Nothing here decides whether an action may run, and nothing here
//! waits; the fields are the same ones that preconditions, ledger and receipts speak of.

mod bounds;
pub(crate) mod canary;
pub(crate) mod disruption;
pub(crate) mod facts;
pub(crate) mod figures;
pub(crate) mod object;
mod owners;
pub(crate) mod planning;
pub(crate) mod pods;
mod quota;
mod restart;
mod restart_pod;
mod revisions;
mod rollback;
pub(crate) mod rollout;
mod scale;
mod selector;
mod template;
pub(crate) mod unready;

use aegis_contract::action::Change;
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::plan::Obstacle;
use aegis_contract::target::{Kind, Target};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::object::Object;
use self::revisions::Revision;
use crate::cluster::{Caller, Cluster, ReadError, Write, path_of};
use crate::ledger::stories::Acting;
use crate::verdict::{NewPods, Written};

const JSON_PATCH: &str = "application/json-patch+json";
/// Annotation that is written so that no older write's resourceVersion test can pass any more.
const FENCE_ANNOTATION: &str = "aegis.dev/fence";
const ANNOTATIONS: &str = "/metadata/annotations";

/// How a live object relates to an `acting` row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As before the write, untouched.
    Before,
    /// As written.
    After,
    /// Gone, or another object of its name, or changed by somebody else.
    Other {
        /// Which of them.
        code: OutcomeCode,
        /// For people.
        message: String,
    },
}

/// The fields `change` writes, as `object` has them; `None` when it lacks them.
fn fields(change: &Change, object: &Object) -> Option<WrittenFields> {
    match change {
        Change::Restart(_) if change.is_of_unready_pods() => {
            Some(WrittenFields::UnreadyPods { replaced: false })
        }
        Change::Restart(_) => Some(restart::fields(object)),
        Change::RestartPod(_) => Some(restart_pod::fields(object)),
        Change::Scale(_) => scale::fields(object),
        Change::Rollback(_) => rollback::fields(object),
    }
}

/// Why the live object is not the one that the decision saw.
pub(crate) fn refused_by_preconditions(act: &Act, object: &Object) -> Option<Obstacle> {
    if object.uid() != act.preconditions.uid {
        let message = format!("{} is another object now: its uid is {}", act.target, object.uid());
        return Some(obstacle(OutcomeCode::TargetReplaced, message));
    }
    let code = OutcomeCode::PreconditionFailed;
    match fields(&act.change, object) {
        None => Some(lacking()),
        Some(before) if before != act.preconditions.fields => {
            Some(obstacle(code, "a field to be written is not as the decision saw it"))
        }
        Some(_) => None,
    }
}

/// Digest of the pod template of a workload, without what restarts add; `None` where there is none.
pub(crate) fn template_digest(object: &Object) -> Option<Digest> {
    template::digest(object.at("/spec/template")?)
}

/// What is in the way of a change of a field that the object does not have.
pub(crate) fn lacking() -> Obstacle {
    obstacle(OutcomeCode::PreconditionFailed, "the object lacks the field to be written")
}

fn obstacle(code: OutcomeCode, message: impl Into<String>) -> Obstacle {
    Obstacle { code, message: message.into() }
}

/// The object that a write is made to: the target, or one of its pods.
pub(crate) fn addressed(act: &Act, acting: &Acting) -> Target {
    match &acting.evicts {
        Some(evicts) => evicts.pod.target(&act.target),
        None => act.target.clone(),
    }
}

/// How `object` (`None`: there is none) relates to what was about to be written to it.
pub(crate) fn state(act: &Act, acting: &Acting, object: Option<&Object>) -> State {
    if let Some(evicts) = &acting.evicts {
        // One that leaves is as it should be, and so is one that is ready by now, unless it goes as a canary.
        let is_due = |pod: &Object| {
            let stays = pod.uid() == evicts.pod.uid && !pod.is_being_deleted();
            stays && (evicts.is_canary() || pod.ready().is_none())
        };
        return if object.is_some_and(is_due) { State::Before } else { State::After };
    }
    let is_pod = act.target.kind == Kind::Pod;
    let Some(object) = object else {
        return if is_pod { State::After } else { other(OutcomeCode::TargetGone, "the object is gone") };
    };
    if object.uid() != acting.uid {
        return if is_pod {
            State::After
        } else {
            other(OutcomeCode::TargetReplaced, "another object of this name stands in its place")
        };
    }
    let now = fields(&act.change, object);
    if now.as_ref() == Some(&acting.after) && is_ours(act, acting, object) {
        return State::After;
    }
    // The generation of a Deployment rises with its annotations too, hence with a fence of ours.
    let is_untouched = object.generation() == acting.generation || is_fenced(act.action_id, object);
    if now.as_ref() == Some(&acting.before) && is_untouched {
        return State::Before;
    }
    let who = newest_writer(act, object);
    other(OutcomeCode::Contested, &format!("somebody else changed the object{who}"))
}

/// Who last wrote what `act` writes, other than the executor, as the end of a sentence; empty where the
/// API server does not say.
pub(crate) fn newest_writer(act: &Act, object: &Object) -> String {
    let field = match act.change {
        Change::Scale(_) => "f:replicas",
        Change::Restart(_) | Change::Rollback(_) => "f:template",
        Change::RestartPod(_) => return String::new(),
    };
    object.newest_writer(field).map(|writer| format!("; the newest writer is {writer}")).unwrap_or_default()
}

/// The pods of a workload, as queries select them.
pub(crate) fn selector(object: &Object) -> String {
    selector::query(object.at("/spec/selector"))
}

/// What to watch of the write that `acting` announces and that was made at `at`.
pub(crate) fn written(act: &Act, acting: &Acting, at: Timestamp) -> Written {
    let among = acting.evicts.as_ref().and_then(|evicts| evicts.among.clone());
    let new_pods = match (among, &act.change) {
        (Some(among), _) => NewPods::NotAmong(among),
        (None, Change::Restart(_) | Change::Rollback(_)) if !act.change.is_of_unready_pods() => {
            NewPods::Marked(mark(act, acting))
        }
        // Creation times are in whole seconds.
        (None, _) => NewPods::CreatedSince(acting.at - SignedDuration::from_secs(1)),
    };
    let Acting { ready_before, failed_before, .. } = acting.clone();
    Written { kind: act.target.kind, at, new_pods, ready_before, failed_before }
}

/// What a template bears that this write has made: no other write's looks the same.
fn mark(act: &Act, acting: &Acting) -> String {
    if acting.number == 1 {
        act.action_id.to_string()
    } else {
        format!("{}/{}", act.action_id, acting.number)
    }
}

fn other(code: OutcomeCode, message: &str) -> State {
    State::Other { code, message: message.to_owned() }
}

// Somebody else may have written the same: another restart within the second, another rollback. The
// template bears its action's mark. Replicas and a pod's absence bear none: somebody else's identical
// edit between the `acting` row and the write counts as written, since the object is as wanted.
fn is_ours(act: &Act, acting: &Acting, object: &Object) -> bool {
    match act.change {
        Change::Restart(_) | Change::Rollback(_) => template::is_marked(&mark(act, acting), object),
        Change::RestartPod(_) | Change::Scale(_) => true,
    }
}

/// Why a write of an action could not be made up.
#[derive(Clone, Debug)]
pub(crate) enum WriteError {
    /// What is needed for it could not be read.
    Read(ReadError),
    /// The revision to return to is not there any more.
    RevisionGone,
}

/// A write of an action: it takes effect only on `object` exactly as it was read.
pub(crate) async fn write(
    act: &Act,
    acting: &Acting,
    object: &Object,
    cluster: &Cluster,
) -> Result<Write, WriteError> {
    if let Some(evicts) = &acting.evicts {
        return Ok(restart_pod::write(&evicts.pod.target(&act.target), object, act.dry_run));
    }
    let revisions = match act.change {
        Change::Rollback(_) => {
            let caller = Caller::Action(act.action_id);
            revisions::read(&act.target, object, cluster, caller).await.map_err(WriteError::Read)?
        }
        Change::Restart(_) | Change::RestartPod(_) | Change::Scale(_) => Vec::new(),
    };
    let writing = Writing { target: &act.target, change: &act.change, object, revisions: &revisions };
    let write = writing.write(&acting.after, &mark(act, acting), act.dry_run);
    write.ok_or(WriteError::RevisionGone)
}

/// What a write is made of.
struct Writing<'a> {
    target: &'a Target,
    change: &'a Change,
    object: &'a Object,
    revisions: &'a [Revision],
}

impl Writing<'_> {
    /// `None` when no kept revision has the wanted template.
    fn write(&self, after: &WrittenFields, mark: &str, dry_run: bool) -> Option<Write> {
        let Self { target, change, object, revisions } = self;
        let path = path_of(target);
        let write = match (change, after) {
            (Change::RestartPod(_), _) => restart_pod::write(target, object, dry_run),
            (Change::Restart(_), WrittenFields::Restart { restarted_at: Some(restarted_at) }) => {
                patch(path, object, restart::operations(object, restarted_at, mark))
            }
            (Change::Scale(_), WrittenFields::Scale { replicas }) => {
                patch(format!("{path}/scale"), object, scale::operations(*replicas))
            }
            (Change::Rollback(_), WrittenFields::Rollback { template_digest }) => {
                patch(path, object, rollback::operations(object, revisions, *template_digest, mark)?)
            }
            // Fields of another change cannot come from this program.
            (Change::Restart(_) | Change::Scale(_) | Change::Rollback(_), _) => return None,
        };
        Some(Write { dry_run, ..write })
    }
}

/// A write to the object's own annotation after which no write that was made up earlier can pass its
/// resourceVersion test; `None` where the executor may not write to the object itself.
pub(crate) fn fence(target: &Target, object: &Object, action_id: ActionId, fence: i64) -> Option<Write> {
    if target.kind == Kind::Pod {
        return None;
    }
    let value = format!("{action_id}/{fence}");
    let operations = object.annotate(ANNOTATIONS, &[(FENCE_ANNOTATION, value)]);
    Some(patch(path_of(target), object, operations))
}

fn is_fenced(action_id: ActionId, object: &Object) -> bool {
    let holder = object.annotation(ANNOTATIONS, FENCE_ANNOTATION).and_then(|value| value.split_once('/'));
    holder.is_some_and(|(fenced_by, _)| fenced_by == action_id.to_string())
}

fn patch(path: String, object: &Object, operations: Vec<Value>) -> Write {
    let mut body = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": object.uid() }),
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": object.resource_version() }),
    ];
    body.extend(operations);
    Write { method: Method::PATCH, path, content_type: JSON_PATCH, body: Value::Array(body), dry_run: false }
}

#[cfg(test)]
pub(crate) mod tests {
    use aegis_contract::action::{NoParams, RestartParams, RestartedPods, ScaleParams};
    use aegis_contract::order::Preconditions;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::ledger::stories::{Evicts, PodName};

    /// An act on `local/shop/Deployment/web` of uid `u1`.
    pub(crate) fn act(change: Change, kind: Kind, fields: WrittenFields) -> Act {
        Act {
            action_id: ActionId(Uuid::from_u128(7)),
            attempt: 1,
            ledger: Uuid::from_u128(9).into(),
            target: Target::parse(&format!("shop/{kind}/web"), "local").unwrap(),
            change,
            preconditions: Preconditions { uid: "u1".to_owned(), fields, planned: None },
            watch_seconds: 60,
            soak_seconds: 0,
            automatic_return: None,
            bounds: None,
            dry_run: false,
            decision_id: Uuid::from_u128(8).into(),
            policy_digest: Digest::of(b"policies"),
            approvals: Vec::new(),
            intent: String::new(),
        }
    }

    fn scale_to(replicas: u32) -> Act {
        act(Change::Scale(ScaleParams { replicas }), Kind::Deployment, WrittenFields::Scale { replicas: 3 })
    }

    fn acting(before: WrittenFields, after: WrittenFields) -> Acting {
        Acting {
            number: 1,
            not_after: None,
            returns: None,
            evicts: None,
            ready_before: None,
            uid: "u1".to_owned(),
            generation: 4,
            before,
            after,
            at: Timestamp::UNIX_EPOCH,
            steps: Vec::new(),
            failed_before: None,
        }
    }

    fn deployment(uid: &str, generation: u64, replicas: u32) -> Object {
        Object::new(json!({
            "metadata": { "uid": uid, "generation": generation, "resourceVersion": "100" },
            "spec": { "replicas": replicas, "template": { "metadata": {}, "spec": {} } },
        }))
    }

    #[test]
    fn an_object_counts_as_untouched_only_with_uid_fields_and_generation_as_before() {
        let act = scale_to(5);
        let acting = acting(WrittenFields::Scale { replicas: 3 }, WrittenFields::Scale { replicas: 5 });
        let contested = |object: &Object| match state(&act, &acting, Some(object)) {
            State::Other { code, .. } => code,
            state => panic!("{state:?}"),
        };
        assert_eq!(state(&act, &acting, Some(&deployment("u1", 4, 3))), State::Before);
        assert_eq!(state(&act, &acting, Some(&deployment("u1", 5, 5))), State::After);
        assert_eq!(contested(&deployment("u1", 5, 3)), OutcomeCode::Contested);
        assert_eq!(contested(&deployment("u1", 5, 4)), OutcomeCode::Contested);
        assert_eq!(contested(&deployment("u2", 4, 3)), OutcomeCode::TargetReplaced);
        assert!(matches!(state(&act, &acting, None), State::Other { code: OutcomeCode::TargetGone, .. }));
    }

    #[test]
    fn an_own_fence_does_not_make_an_object_contested_but_a_foreign_one_does() {
        let act = scale_to(5);
        let acting = acting(WrittenFields::Scale { replicas: 3 }, WrittenFields::Scale { replicas: 5 });
        let fenced_by = |id: &str| {
            Object::new(json!({
                "metadata": { "uid": "u1", "generation": 5, "annotations": { FENCE_ANNOTATION: format!("{id}/2") } },
                "spec": { "replicas": 3 },
            }))
        };
        assert_eq!(state(&act, &acting, Some(&fenced_by(&act.action_id.to_string()))), State::Before);
        assert!(matches!(state(&act, &acting, Some(&fenced_by("another"))), State::Other { .. }));
    }

    #[test]
    fn an_evicted_pod_that_is_gone_or_replaced_counts_as_written() {
        let act =
            act(Change::RestartPod(NoParams {}), Kind::Pod, WrittenFields::RestartPod { present: true });
        let acting =
            acting(WrittenFields::RestartPod { present: true }, WrittenFields::RestartPod { present: false });
        let pod = |uid: &str, deleted: bool| {
            let deletion = if deleted { json!("2026-11-20T12:00:00Z") } else { Value::Null };
            Object::new(json!({ "metadata": { "uid": uid, "generation": 4, "deletionTimestamp": deletion } }))
        };
        assert_eq!(state(&act, &acting, Some(&pod("u1", false))), State::Before);
        assert_eq!(state(&act, &acting, Some(&pod("u1", true))), State::After);
        assert_eq!(state(&act, &acting, Some(&pod("u2", false))), State::After);
        assert_eq!(state(&act, &acting, None), State::After);
    }

    #[test]
    fn a_pod_is_evicted_only_while_it_is_the_one_that_was_named_and_not_ready_unless_it_is_a_canary() {
        let act = act(
            Change::Restart(RestartParams { pods: RestartedPods::Unhealthy, ..RestartParams::default() }),
            Kind::Deployment,
            WrittenFields::UnreadyPods { replaced: false },
        );
        let fields = |replaced| WrittenFields::UnreadyPods { replaced };
        let pod = PodName { name: "web-1".to_owned(), uid: "p1".to_owned() };
        let evicts = |among| Some(Evicts { pod: pod.clone(), then: Vec::new(), among });
        let broken = Acting { evicts: evicts(None), ..acting(fields(false), fields(true)) };
        let canary =
            Acting { evicts: evicts(Some(["p1".to_owned()].into())), ..acting(fields(false), fields(true)) };
        let seen = |uid: &str, ready: &str, deleted: Option<&str>| {
            Object::new(json!({
                "metadata": { "name": "web-1", "uid": uid, "resourceVersion": "9", "deletionTimestamp": deleted },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
        };
        for (object, expected, of_canary) in [
            (Some(seen("p1", "False", None)), State::Before, State::Before),
            (Some(seen("p1", "True", None)), State::After, State::Before),
            (Some(seen("p1", "True", Some("2026-11-20T12:00:00Z"))), State::After, State::After),
            (Some(seen("p2", "False", None)), State::After, State::After),
            (None, State::After, State::After),
        ] {
            assert_eq!(state(&act, &broken, object.as_ref()), expected);
            assert_eq!(state(&act, &canary, object.as_ref()), of_canary);
        }
        assert_eq!(addressed(&act, &broken).to_string(), "local/shop/Pod/web-1");
    }

    #[test]
    fn every_patch_tests_uid_and_resource_version_first() {
        let object = deployment("u1", 4, 3);
        let act = scale_to(5);
        let fence = fence(&act.target, &object, act.action_id, 2).unwrap();
        let scale = patch(path_of(&act.target), &object, scale::operations(5));
        for write in [fence, scale] {
            assert_eq!(write.body[0], json!({ "op": "test", "path": "/metadata/uid", "value": "u1" }));
            assert_eq!(
                write.body[1],
                json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "100" })
            );
        }
    }

    #[test]
    fn a_pod_cannot_be_fenced() {
        let pod = Target::parse("shop/Pod/web", "local").unwrap();
        assert!(fence(&pod, &deployment("u1", 4, 3), ActionId(Uuid::nil()), 1).is_none());
    }
}
