//! `rollback`: the template of an earlier revision, taken from the Deployment's own ReplicaSets.

use aegis_contract::action::RollbackParams;
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use aegis_contract::order::WrittenFields;
use aegis_contract::target::Target;
use serde_json::{Value, json};

use super::object::Object;
use super::{Plan, template};
use crate::cluster::{Caller, Cluster, ReadError};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// One revision of a Deployment.
pub(super) struct Revision {
    number: u64,
    digest: Digest,
    template: Value,
}

pub(super) fn fields(object: &Object) -> Option<WrittenFields> {
    let template_digest = template::digest(object.at("/spec/template")?)?;
    Some(WrittenFields::Rollback { template_digest })
}

/// The revisions that the cluster still keeps, newest first.
pub(super) async fn revisions(
    target: &Target,
    deployment: &Object,
    cluster: &Cluster,
    caller: Caller,
) -> Result<Vec<Revision>, ReadError> {
    let selector = selector(deployment.at("/spec/selector").unwrap_or(&Value::Null));
    let sets = cluster.replica_sets(target, &selector, caller).await?;
    Ok(owned_revisions(deployment.uid(), &sets))
}

fn owned_revisions(uid: &str, sets: &[Object]) -> Vec<Revision> {
    let mut revisions: Vec<Revision> = sets
        .iter()
        .filter(|set| set.controller() == Some(uid))
        .filter_map(|set| {
            let number = set.annotation("/metadata/annotations", REVISION)?.parse().ok()?;
            let template = template::without_hash(set.at("/spec/template")?.clone());
            Some(Revision { number, digest: template::digest(&template)?, template })
        })
        .collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    revisions
}

pub(super) fn plan(
    params: RollbackParams,
    object: &Object,
    before: WrittenFields,
    revisions: &[Revision],
) -> Plan {
    let WrittenFields::Rollback { template_digest: present } = before else {
        return Plan::refuse(OutcomeCode::PreconditionFailed, "the order speaks of another field");
    };
    if object.is_paused() {
        return Plan::refuse(OutcomeCode::TargetPaused, "rollouts of the Deployment are paused");
    }
    let (wanted, missing) = match params.to_revision {
        Some(number) => (
            revisions.iter().find(|revision| revision.number == number),
            format!("the cluster keeps no revision {number}"),
        ),
        None => (
            revisions.iter().find(|revision| revision.digest != present),
            "no earlier revision has another template".to_owned(),
        ),
    };
    match wanted {
        None => Plan::refuse(OutcomeCode::NoEarlierRevision, missing),
        Some(revision) if revision.digest == present => Plan::AlreadyDone { fields: before },
        Some(revision) => {
            Plan::Write { before, after: WrittenFields::Rollback { template_digest: revision.digest } }
        }
    }
}

pub(super) fn operations(revisions: &[Revision], wanted: Digest, action_id: ActionId) -> Option<Vec<Value>> {
    let revision = revisions.iter().find(|revision| revision.digest == wanted)?;
    let template = template::marked(revision.template.clone(), action_id);
    Some(vec![json!({ "op": "replace", "path": "/spec/template", "value": template })])
}

// A label selector in the form that queries take.
fn selector(selector: &Value) -> String {
    let mut terms = Vec::new();
    for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        match expression["operator"].as_str() {
            Some("In") => terms.push(format!("{key} in ({values})")),
            Some("NotIn") => terms.push(format!("{key} notin ({values})")),
            Some("Exists") => terms.push(key.to_owned()),
            Some("DoesNotExist") => terms.push(format!("!{key}")),
            // Fewer terms find more ReplicaSets; the owner's uid still decides.
            _ => {}
        }
    }
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "annotations": { REVISION: revision },
                "ownerReferences": [{ "uid": owner, "controller": true }],
            },
            "spec": { "template": template },
        }))
    }

    fn deployment(template: &Value) -> Object {
        Object::new(json!({ "metadata": { "uid": "d" }, "spec": { "template": template } }))
    }

    fn plan_for(present: &Value, sets: &[Object], to_revision: Option<u64>) -> Plan {
        let object = deployment(present);
        let before = fields(&object).unwrap();
        plan(RollbackParams { to_revision }, &object, before, &owned_revisions("d", sets))
    }

    fn digest_written(plan: &Plan) -> Digest {
        match plan {
            Plan::Write { after: WrittenFields::Rollback { template_digest }, .. } => *template_digest,
            plan => panic!("{plan:?}"),
        }
    }

    #[test]
    fn restarts_are_skipped_on_the_way_to_the_newest_other_template() {
        let sets = [
            set("d", "1", template("app:1")),
            set("d", "2", template("app:2")),
            set("d", "3", template("app:3")),
            set("d", "10", restarted("app:3")),
        ];
        let plan = plan_for(&restarted("app:3"), &sets, None);
        assert_eq!(digest_written(&plan), template::digest(&template("app:2")).unwrap());
    }

    #[test]
    fn the_template_written_is_the_revisions_own_with_the_actions_mark_for_the_controllers_label() {
        let sets = [set("d", "1", restarted("app:1")), set("d", "2", template("app:2"))];
        let id = ActionId(uuid::Uuid::from_u128(7));
        for (revision, name) in [(restarted("app:1"), "app:1"), (template("app:2"), "app:2")] {
            let wanted = template::digest(&template(name)).unwrap();
            let operations = operations(&owned_revisions("d", &sets), wanted, id).unwrap();
            let mut marked = revision.clone();
            marked["metadata"]["annotations"][template::ACTION] = json!(id.to_string());
            assert_eq!(operations, [json!({ "op": "replace", "path": "/spec/template", "value": marked })]);
            // Compared as a template it is the revision's own; as a write it is this action's alone.
            assert_eq!(template::digest(&marked), template::digest(&revision));
            assert!(template::is_of(id, &deployment(&marked)));
            assert!(!template::is_of(ActionId(uuid::Uuid::from_u128(8)), &deployment(&marked)));
        }
    }

    #[test]
    fn a_foreign_replica_set_is_never_a_revision() {
        let sets = [set("other", "1", template("app:1")), set("d", "2", template("app:2"))];
        assert!(matches!(
            plan_for(&template("app:2"), &sets, None),
            Plan::Refuse { code: OutcomeCode::NoEarlierRevision, .. }
        ));
    }

    #[test]
    fn a_named_revision_is_taken_found_to_be_present_or_missed() {
        let sets = [
            set("d", "1", template("app:1")),
            set("d", "2", template("app:2")),
            set("d", "3", template("app:3")),
        ];
        let present = template("app:3");
        let first = template::digest(&template("app:1")).unwrap();
        assert_eq!(digest_written(&plan_for(&present, &sets, Some(1))), first);
        assert!(matches!(plan_for(&present, &sets, Some(3)), Plan::AlreadyDone { .. }));
        assert!(matches!(
            plan_for(&present, &sets, Some(9)),
            Plan::Refuse { code: OutcomeCode::NoEarlierRevision, .. }
        ));
    }

    #[test]
    fn a_paused_deployment_is_not_rolled_back() {
        let object = Object::new(json!({ "spec": { "paused": true, "template": template("app:1") } }));
        let plan = plan(RollbackParams::default(), &object, fields(&object).unwrap(), &[]);
        assert!(matches!(plan, Plan::Refuse { code: OutcomeCode::TargetPaused, .. }));
    }

    #[test]
    fn a_selector_is_written_as_queries_take_it() {
        let text = selector(&json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "old", "operator": "DoesNotExist" },
            ],
        }));
        assert_eq!(text, "app=web,tier in (a,b),!old");
    }
}
