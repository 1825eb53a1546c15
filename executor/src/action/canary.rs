//! The canary of a restart: which pod goes before the others, why none does, and when what came in its place is good.

use aegis_contract::code::OutcomeCode;
use aegis_contract::plan::Obstacle;
use aegis_contract::target::Kind;

use super::object::Object;
use super::pods::Pods;
use super::revisions::Revision;
use super::{obstacle, rollout, template_digest, unready};
use crate::ledger::stories::Evicts;

/// Most pods in the place of a canary that are named.
const NAMED_MAX: usize = 3;

/// Why no pod of the workload may go before the others, whichever it is.
pub(crate) fn refused(kind: Kind, object: &Object, pods: &[Object]) -> Option<Obstacle> {
    let message = if Pods::of(kind, object).wanted < 2 {
        "one pod is wanted, so that a canary would be all of it, and down until another is there: restart it without"
    } else if unready::ready(pods) == 1 {
        "a canary would take the only pod that is ready: restart those that are not (pods unhealthy), or without canary"
    } else {
        return None;
    };
    Some(obstacle(OutcomeCode::NoCanary, message))
}

/// The pod that goes before the others, of the workload's own `pods`: of the present template, and ready where one is.
///
/// What comes in the place of a pod that serves tells whether a restart takes something away. In the place of one that
/// does not, a bad one may tell of its node or its volume alone. Of those that fit it is the highest of a StatefulSet,
/// which its controller would take first, and otherwise the newest, which has served for the shortest time.
pub(super) fn chosen<'a>(
    kind: Kind,
    object: &Object,
    pods: &'a [Object],
    revisions: &[Revision],
) -> Result<&'a Object, Obstacle> {
    if let Some(obstacle) = refused(kind, object, pods) {
        return Err(obstacle);
    }
    let mut all: Vec<&Object> = pods.iter().filter(|pod| !pod.is_being_deleted()).collect();
    if kind == Kind::StatefulSet {
        all.sort_by_key(|pod| unready::order(pod));
    } else {
        // RFC 3339 in whole seconds and UTC: later is greater.
        all.sort_by_key(|pod| (pod.text("/metadata/creationTimestamp"), pod.text("/metadata/name")));
    }
    if unready::is_ordered(kind, object) {
        // Behind one that is not ready no other is made.
        let first = all.iter().position(|pod| pod.ready().is_none());
        all.truncate(first.map_or(all.len(), |first| first + 1));
    }
    let digest = template_digest(object);
    let present = revisions.iter().find(|revision| Some(revision.digest) == digest);
    all.retain(|pod| present.is_some_and(|present| present.made(pod)));
    let serves = unready::ready(pods) > 0;
    all.retain(|pod| pod.ready().is_some() == serves);
    let message = "no ready pod of the present template would be made anew at once: restart those that are not ready \
                   first (pods unhealthy), or restart without canary";
    all.pop().ok_or_else(|| obstacle(OutcomeCode::NoCanary, message))
}

/// What a restart with this canary does, for people.
pub(super) fn told(pod: &Object, wanted: u32) -> Vec<String> {
    let name = pod.text("/metadata/name");
    let ready = if pod.ready().is_some() { "ready" } else { "not ready, as no pod is" };
    vec![
        format!("pod {name}, which is {ready}, is evicted and made anew, as the canary"),
        format!(
            "if the pod in its place is good, all {wanted} pods are restarted, that one included; else none"
        ),
    ]
}

/// What stands in the place of a canary, for people.
pub(crate) fn in_its_place(pods: &[Object], evicts: &Evicts) -> String {
    let names: Vec<_> = new(pods, evicts).map(|pod| pod.text("/metadata/name")).take(NAMED_MAX).collect();
    let gone = &evicts.pod.name;
    if names.is_empty() {
        format!("no pod has come in the place of pod {gone}")
    } else {
        format!("pod {} came in the place of pod {gone}", names.join(", "))
    }
}

/// What the workload lacks to be as good as before its canary went, when `ready_before` pods were ready; `None` when it
/// lacks nothing. Every pod that came since counts: also others are made from the same template.
pub(crate) fn lacking(
    kind: Kind,
    object: &Object,
    pods: &[Object],
    evicts: &Evicts,
    ready_before: u32,
) -> Option<String> {
    let Evicts { pod: canary, .. } = evicts;
    if pods.iter().any(|pod| pod.uid() == canary.uid) {
        return Some(format!("pod {} has not gone yet", canary.name));
    }
    if new(pods, evicts).next().is_none() {
        return Some(in_its_place(pods, evicts));
    }
    if let Some(pod) = new(pods, evicts).find(|pod| pod.ready().is_none()) {
        let name = pod.text("/metadata/name");
        return Some(format!("pod {name}, which came after pod {}, is not ready", canary.name));
    }
    let Pods { wanted, available, .. } = Pods::of(kind, object);
    let least = ready_before.min(wanted);
    if available < least {
        return Some(format!("{available} pods are available, and {least} were ready before"));
    }
    // Its controller may not have counted the new pod yet.
    rollout::is_under_way(kind, object).then(|| rollout::status(kind, object).message)
}

fn new<'a>(pods: &'a [Object], evicts: &Evicts) -> impl Iterator<Item = &'a Object> {
    pods.iter().filter(|pod| !pod.is_being_deleted() && evicts.is_new(pod.uid()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::action::revisions;
    use crate::ledger::stories::PodName;

    /// A workload of so many pods whose template is `app:2`, and that has got over its rollout.
    fn workload(kind: Kind, wanted: u32, available: u32) -> Object {
        let policy = if kind == Kind::StatefulSet { json!("OrderedReady") } else { Value::Null };
        Object::new(json!({
            "metadata": { "uid": "w", "generation": 1 },
            "spec": { "replicas": wanted, "podManagementPolicy": policy, "template": template("app:2") },
            "status": {
                "observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted, "availableReplicas": available,
                "desiredNumberScheduled": wanted, "updatedNumberScheduled": wanted, "numberAvailable": available,
            },
        }))
    }

    fn template(image: &str) -> Value {
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "image": image }] } })
    }

    fn kept(name: &str, number: u32, image: &str) -> Object {
        Object::new(json!({
            "metadata": { "name": name, "ownerReferences": [{ "uid": "w", "controller": true }] },
            "revision": number, "data": { "spec": { "template": template(image) } },
        }))
    }

    /// A pod of `web-1` or `web-2`, created in this second.
    fn pod(name: &str, of: u32, second: u32, ready: bool) -> Object {
        Object::new(json!({
            "metadata": {
                "name": name, "uid": name, "creationTimestamp": format!("2026-11-20T12:00:{second:02}Z"),
                "labels": { "controller-revision-hash": format!("web-{of}") },
            },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
    }

    fn choice(kind: Kind, pods: &[Object]) -> Result<String, OutcomeCode> {
        let revisions = revisions::of("w", &[kept("web-1", 1, "app:1"), kept("web-2", 2, "app:2")]);
        let wanted = u32::try_from(pods.len()).unwrap();
        let chosen = chosen(kind, &workload(kind, wanted, wanted), pods, &revisions);
        chosen.map(|pod| pod.text("/metadata/name").to_owned()).map_err(|obstacle| obstacle.code)
    }

    #[test]
    fn the_newest_pod_or_the_highest_goes_first_and_none_that_is_not_ready_where_another_is() {
        use Kind::{DaemonSet, Deployment, StatefulSet};
        let none = Err(OutcomeCode::NoCanary);
        for (kind, pods, expected) in [
            (Deployment, vec![pod("a", 2, 3, true), pod("b", 2, 9, true), pod("c", 2, 1, true)], Ok("b")),
            (DaemonSet, vec![pod("a", 2, 3, true), pod("b", 2, 3, true), pod("c", 2, 1, true)], Ok("b")),
            (Deployment, vec![pod("a", 2, 3, true), pod("b", 2, 9, false), pod("c", 2, 1, true)], Ok("a")),
            (Deployment, vec![pod("a", 2, 3, false), pod("b", 2, 9, false)], Ok("b")),
            // The only one that serves, the only one there is, and one of another template.
            (Deployment, vec![pod("a", 2, 3, true), pod("b", 2, 9, false)], none),
            (Deployment, vec![pod("a", 2, 3, true)], none),
            (Deployment, vec![pod("a", 2, 3, true), pod("b", 1, 9, true)], Ok("a")),
            (Deployment, vec![pod("a", 1, 3, true), pod("b", 1, 9, true)], none),
            (StatefulSet, (0..11).map(|n| pod(&format!("web-{n}"), 2, 30 - n, true)).collect(), Ok("web-10")),
            // Behind a partition.
            (
                StatefulSet,
                vec![pod("web-0", 1, 1, true), pod("web-1", 2, 1, true), pod("web-2", 2, 1, true)],
                Ok("web-2"),
            ),
            // A set in order makes no pod behind one that is not ready.
            (
                StatefulSet,
                vec![pod("web-0", 2, 1, true), pod("web-1", 2, 1, false), pod("web-2", 2, 1, true)],
                Ok("web-0"),
            ),
            (
                StatefulSet,
                vec![pod("web-0", 2, 1, false), pod("web-1", 2, 1, true), pod("web-2", 2, 1, true)],
                none,
            ),
            (StatefulSet, vec![pod("web-0", 2, 1, false), pod("web-1", 2, 1, false)], Ok("web-0")),
        ] {
            let names: Vec<_> = pods.iter().map(|pod| pod.text("/metadata/name").to_owned()).collect();
            assert_eq!(choice(kind, &pods), expected.map(str::to_owned), "{kind} {names:?}");
        }
    }

    #[test]
    fn a_canary_is_good_when_all_that_came_since_is_ready_and_as_many_are_available_as_before() {
        let evicts = Evicts {
            pod: PodName { name: "a".to_owned(), uid: "a".to_owned() },
            then: Vec::new(),
            among: Some(["a", "b", "c"].map(str::to_owned).into()),
        };
        let others = [pod("b", 2, 1, true), pod("c", 2, 1, true)];
        let lacks = |available, more: &[Object]| {
            let pods = [others.as_slice(), more].concat();
            lacking(Kind::Deployment, &workload(Kind::Deployment, 3, available), &pods, &evicts, 3)
        };
        let (good, slow) = (pod("n", 2, 1, true), pod("m", 2, 1, false));
        for (available, more, expected) in [
            (3, vec![pod("a", 2, 1, true)], Some("pod a has not gone yet")),
            (3, vec![], Some("no pod has come in the place of pod a")),
            (3, vec![slow.clone()], Some("pod m, which came after pod a, is not ready")),
            (2, vec![good.clone()], Some("2 pods are available, and 3 were ready before")),
            (3, vec![good.clone(), slow], Some("pod m, which came after pod a, is not ready")),
            (3, vec![good], None),
        ] {
            assert_eq!(lacks(available, &more).as_deref(), expected);
        }
    }
}
