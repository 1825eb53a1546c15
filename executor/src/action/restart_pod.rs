//! `restart-pod`: the eviction of one pod, which respects disruption budgets.

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::Obstacle;
use aegis_contract::target::Target;
use http::Method;
use serde_json::json;

use super::object::Object;
use super::obstacle;
use crate::cluster::{Write, path_of};

pub(super) fn fields(object: &Object) -> WrittenFields {
    WrittenFields::RestartPod { present: !object.is_being_deleted() }
}

/// Why the pod must not be evicted.
pub(super) fn refused(object: &Object) -> Option<Obstacle> {
    let nobody = object.controller().is_none();
    nobody.then(|| obstacle(OutcomeCode::NoController, "no controller would replace the pod"))
}

pub(super) fn write(target: &Target, object: &Object, dry_run: bool) -> Write {
    let mut options = json!({
        "preconditions": { "uid": object.uid(), "resourceVersion": object.resource_version() },
    });
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    Write {
        method: Method::POST,
        path: format!("{}/eviction", path_of(target)),
        content_type: "application/json",
        body: json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "namespace": target.namespace, "name": target.name },
            "deleteOptions": options,
        }),
        dry_run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_nobody_would_replace_is_not_evicted() {
        let bare = Object::new(json!({ "metadata": { "uid": "u1" } }));
        let owned = Object::new(
            json!({ "metadata": { "uid": "u1", "ownerReferences": [{ "uid": "r", "controller": true }] } }),
        );
        let merely_owned =
            Object::new(json!({ "metadata": { "uid": "u1", "ownerReferences": [{ "uid": "r" }] } }));
        assert_eq!(refused(&bare).unwrap().code, OutcomeCode::NoController);
        assert!(refused(&merely_owned).is_some());
        assert!(refused(&owned).is_none());
    }

    #[test]
    fn an_eviction_names_the_pod_by_uid_and_resource_version() {
        let target = Target::parse("shop/Pod/web-1", "local").unwrap();
        let pod = Object::new(json!({ "metadata": { "uid": "u1", "resourceVersion": "9" } }));
        let write = write(&target, &pod, true);
        assert_eq!(write.path, "/api/v1/namespaces/shop/pods/web-1/eviction");
        assert_eq!(
            write.body["deleteOptions"]["preconditions"],
            json!({ "uid": "u1", "resourceVersion": "9" })
        );
        assert_eq!(write.body["deleteOptions"]["dryRun"], json!(["All"]));
    }
}
