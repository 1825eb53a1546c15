//! `rollback`: the template of an earlier revision, from what the cluster keeps of the workload's own revisions.

use aegis_contract::action::RollbackParams;
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::Obstacle;
use aegis_contract::target::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::bounds::template_within_bounds;
use super::object::Object;
use super::revisions::Revision;
use super::{obstacle, restart, template, template_digest};
use crate::ledger::templates::Remembered;

pub(super) fn fields(object: &Object) -> Option<WrittenFields> {
    template_digest(object).map(|template_digest| WrittenFields::Rollback { template_digest })
}

/// What tells good revisions from others.
pub(super) struct Judgement<'a> {
    /// What is remembered of the workload's templates.
    pub(super) remembered: &'a Remembered,
    /// The workload's pods.
    pub(super) pods: &'a [Object],
    /// Since when a pod must have been ready to speak for its revision; `None` where every revision is good enough.
    pub(super) ready_since: Option<Timestamp>,
}

impl Judgement<'_> {
    /// Why this revision must not be returned to.
    fn against(&self, revision: &Revision) -> Option<&'static str> {
        if self.is_bad(revision) {
            return Some(KNOWN_BAD);
        }
        let since = self.ready_since?;
        let is_good =
            self.remembered.good.contains(&revision.digest) || revision.is_ready_since(since, self.pods);
        (!is_good).then_some("was not seen available for the soak time")
    }

    fn is_bad(&self, revision: &Revision) -> bool {
        self.remembered.bad.contains(&revision.digest)
    }
}

const KNOWN_BAD: &str = "failed, or was rolled back from, before";

/// The revision to return to; the present one when it is the one that was named.
pub(super) fn wanted<'a>(
    params: RollbackParams,
    kind: Kind,
    object: &Object,
    present: Digest,
    revisions: &'a [Revision],
    judgement: &Judgement<'_>,
) -> Result<&'a Revision, Obstacle> {
    if let Some(obstacle) = restart::never_replaced(kind, object) {
        return Err(obstacle);
    }
    let missing = |message: String| obstacle(OutcomeCode::NoEarlierRevision, message);
    if let Some(number) = params.to_revision {
        let named = revisions.iter().find(|revision| revision.number == number).ok_or_else(|| {
            let kept: Vec<String> = revisions.iter().map(|revision| revision.number.to_string()).collect();
            missing(format!("the cluster keeps no revision {number}; it keeps {}", kept.join(", ")))
        })?;
        return within_bounds(object, named);
    }
    let mut considered = Vec::new();
    for revision in revisions.iter().filter(|revision| revision.digest != present) {
        match judgement.against(revision) {
            None => return within_bounds(object, revision),
            Some(reason) => considered.push(format!("revision {} {reason}", revision.number)),
        }
    }
    Err(missing(if considered.is_empty() {
        "no earlier revision has another template".to_owned()
    } else {
        format!(
            "no revision is good enough: {}; name one with toRevision to take it all the same",
            considered.join(", ")
        )
    }))
}

/// The revision, if it leaves its pods the rights that they have.
fn within_bounds<'a>(object: &Object, revision: &'a Revision) -> Result<&'a Revision, Obstacle> {
    let live = object.at("/spec/template").unwrap_or(&Value::Null);
    template_within_bounds(live, &revision.template).map(|()| revision).map_err(|changed| {
        let message =
            format!("revision {} would also change {changed}; a person has to do that", revision.number);
        obstacle(OutcomeCode::TemplateOutOfBounds, message)
    })
}

/// Why a revision that was named must not be taken without a person's word.
pub(super) fn needs_a_person(
    params: RollbackParams,
    revision: &Revision,
    judgement: &Judgement<'_>,
) -> Option<Obstacle> {
    let is_named = params.to_revision.is_some();
    (is_named && judgement.is_bad(revision)).then(|| {
        let message = format!("revision {} {KNOWN_BAD}: it needs the approval of a person", revision.number);
        obstacle(OutcomeCode::RevisionKnownBad, message)
    })
}

pub(super) fn operations(
    object: &Object,
    revisions: &[Revision],
    wanted: Digest,
    mark: &str,
) -> Option<Vec<Value>> {
    let revision = revisions.iter().find(|revision| revision.digest == wanted)?;
    let template = template::marked(revision.template.clone(), mark);
    let mut operations = vec![json!({ "op": "replace", "path": "/spec/template", "value": template })];
    if object.is_paused() {
        operations.push(json!({ "op": "replace", "path": "/spec/paused", "value": false }));
    }
    Some(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::revisions;

    fn template(image: &str) -> Value {
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "image": image }] } })
    }

    fn restarted(image: &str) -> Value {
        let mut template = template(image);
        template["metadata"]["annotations"] = json!({ template::RESTARTED_AT: "2026-11-20T12:00:00Z" });
        template
    }

    fn set(owner: &str, revision: &str, mut template: Value) -> Object {
        template["metadata"]["labels"]["pod-template-hash"] = json!(revision);
        Object::new(json!({
            "metadata": {
                "name": format!("web-{revision}"),
                "annotations": { "deployment.kubernetes.io/revision": revision },
                "ownerReferences": [{ "uid": owner, "controller": true }],
            },
            "spec": { "template": template },
        }))
    }

    fn controller_revision(owner: &str, revision: u64, mut template: Value) -> Object {
        template["$patch"] = json!("replace");
        Object::new(json!({
            "metadata": { "ownerReferences": [{ "uid": owner, "controller": true }] },
            "data": { "spec": { "template": template } },
            "revision": revision,
        }))
    }

    fn workload(template: &Value) -> Object {
        Object::new(json!({ "metadata": { "uid": "d" }, "spec": { "template": template } }))
    }

    fn chosen(present: &Value, kept: &[Object], to_revision: Option<u64>) -> Result<u64, OutcomeCode> {
        let remembered = Remembered::default();
        let judgement = Judgement { remembered: &remembered, pods: &[], ready_since: None };
        judged(present, kept, to_revision, &judgement).map_err(|obstacle| obstacle.code)
    }

    fn judged(
        present: &Value,
        kept: &[Object],
        to_revision: Option<u64>,
        judgement: &Judgement<'_>,
    ) -> Result<u64, Obstacle> {
        let (object, digest) = (workload(present), template::digest(present).unwrap());
        let revisions = revisions::of("d", kept);
        let params = RollbackParams { to_revision };
        wanted(params, Kind::Deployment, &object, digest, &revisions, judgement)
            .map(|revision| revision.number)
    }

    fn pod(hash: &str, ready_at: &str) -> Object {
        Object::new(json!({
            "metadata": { "labels": { "pod-template-hash": hash } },
            "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": ready_at }] },
        }))
    }

    #[test]
    fn only_a_revision_that_soaked_and_did_not_fail_is_returned_to_and_a_refusal_tells_what_was_considered() {
        let sets: Vec<Object> = (1..=4)
            .map(|number: u64| set("d", &number.to_string(), template(&format!("app:{number}"))))
            .collect();
        let digest = |number: u64| template::digest(&template(&format!("app:{number}"))).unwrap();
        let noon = "2026-11-20T12:00:00Z".parse().unwrap();
        let chosen = |good: &[u64], bad: &[u64], pods: &[Object]| {
            let of = |numbers: &[u64]| numbers.iter().map(|number| digest(*number)).collect();
            let remembered = Remembered { good: of(good), bad: of(bad) };
            let judgement = Judgement { remembered: &remembered, pods, ready_since: Some(noon) };
            judged(&template("app:4"), &sets, None, &judgement)
        };
        assert_eq!(chosen(&[1, 2, 3], &[], &[]), Ok(3));
        assert_eq!(chosen(&[1, 2, 3], &[3], &[]), Ok(2));
        assert_eq!(chosen(&[1], &[], &[]), Ok(1));
        // Pods that are ready for long speak for their revision, others do not.
        assert_eq!(chosen(&[1], &[], &[pod("2", "2026-11-20T11:00:00Z")]), Ok(2));
        assert_eq!(chosen(&[1], &[], &[pod("2", "2026-11-20T12:00:01Z")]), Ok(1));
        let refused = chosen(&[3], &[3], &[]).unwrap_err();
        assert_eq!(refused.code, OutcomeCode::NoEarlierRevision);
        assert!(
            refused.message.contains("revision 3 failed")
                && refused.message.contains("revision 2 was not seen"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn restarts_are_skipped_on_the_way_to_the_newest_other_template() {
        let sets = [
            set("d", "1", template("app:1")),
            set("d", "2", template("app:2")),
            set("d", "3", template("app:3")),
            set("d", "10", restarted("app:3")),
        ];
        assert_eq!(chosen(&restarted("app:3"), &sets, None), Ok(2));
    }

    #[test]
    fn controller_revisions_are_revisions_like_replica_sets() {
        let kept = [
            controller_revision("d", 2, template("app:2")),
            controller_revision("d", 10, template("app:3")),
            controller_revision("d", 1, template("app:1")),
        ];
        assert_eq!(chosen(&template("app:3"), &kept, None), Ok(2));
        assert_eq!(revisions::of("d", &kept)[0].template, template("app:3"));
    }

    #[test]
    fn the_template_written_is_the_revisions_own_with_the_actions_mark_for_the_controllers_label() {
        let sets = [set("d", "1", restarted("app:1")), set("d", "2", template("app:2"))];
        let present = workload(&template("app:3"));
        for (revision, name) in [(restarted("app:1"), "app:1"), (template("app:2"), "app:2")] {
            let wanted = template::digest(&template(name)).unwrap();
            let operations = operations(&present, &revisions::of("d", &sets), wanted, "seven").unwrap();
            let mut marked = revision.clone();
            marked["metadata"]["annotations"][template::ACTION] = json!("seven");
            assert_eq!(operations, [json!({ "op": "replace", "path": "/spec/template", "value": marked })]);
            // Compared as a template it is the revision's own; as a write it is this action's alone.
            assert_eq!(template::digest(&marked), template::digest(&revision));
            assert!(template::is_marked("seven", &workload(&marked)));
            assert!(!template::is_marked("eight", &workload(&marked)));
        }
    }

    #[test]
    fn a_foreign_replica_set_is_never_a_revision() {
        let sets = [set("other", "1", template("app:1")), set("d", "2", template("app:2"))];
        assert_eq!(chosen(&template("app:2"), &sets, None), Err(OutcomeCode::NoEarlierRevision));
    }

    #[test]
    fn a_named_revision_is_taken_found_to_be_present_or_missed() {
        let sets = [
            set("d", "1", template("app:1")),
            set("d", "2", template("app:2")),
            set("d", "3", template("app:3")),
        ];
        let present = template("app:3");
        assert_eq!(chosen(&present, &sets, Some(1)), Ok(1));
        assert_eq!(chosen(&present, &sets, Some(3)), Ok(3));
        assert_eq!(chosen(&present, &sets, Some(9)), Err(OutcomeCode::NoEarlierRevision));
    }

    #[test]
    fn a_paused_deployment_is_resumed_by_the_write_that_restores_it() {
        let object = Object::new(json!({ "spec": { "paused": true, "template": template("app:2") } }));
        let sets = [set("d", "1", template("app:1"))];
        let wanted = template::digest(&template("app:1")).unwrap();
        let operations = operations(&object, &revisions::of("d", &sets), wanted, "seven").unwrap();
        assert_eq!(operations[1], json!({ "op": "replace", "path": "/spec/paused", "value": false }));
    }
}
