//! Pods of a workload that are not ready: why there may be none to evict, which comes first, and when those that were
//! evicted are replaced.

use aegis_contract::action::RestartParams;
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::plan::Obstacle;
use aegis_contract::target::{Kind, Target};

use super::disruption::Disruption;
use super::object::Object;
use super::restart::in_the_way;
use super::{obstacle, revisions, selector};
use crate::cluster::{Caller, Cluster, ReadError, collection_of};
use crate::ledger::stories::{Evicts, PodName};

/// Most pods that a plan names; of more it tells how many.
const NAMED_MAX: usize = 10;

/// The workload's own pods, as their controllers count them: what has ended for good is none of them.
pub(crate) async fn pods_of(
    target: &Target,
    workload: &Object,
    cluster: &Cluster,
    caller: Caller,
) -> Result<Vec<Object>, ReadError> {
    let selector = selector::query(workload.at("/spec/selector"));
    let collection = |resource: &str| format!("/apis/apps/v1/namespaces/{}/{resource}", target.namespace);
    let path = collection_of(&target.namespace, Kind::Pod);
    let pods = cluster.list(&path, &selector, caller);
    // Another workload's selector may choose the same pods.
    let (pods, owners) = if target.kind == Kind::Deployment {
        let path = collection("replicasets");
        let (pods, sets) = tokio::try_join!(pods, cluster.list(&path, &selector, caller))?;
        let own = sets.into_iter().filter(|set| set.controller() == Some(workload.uid()));
        (pods, own.map(|set| set.uid().to_owned()).collect())
    } else {
        (pods.await?, vec![workload.uid().to_owned()])
    };
    let is_own = |pod: &Object| pod.controller().is_some_and(|uid| owners.iter().any(|owner| owner == uid));
    let has_ended = |pod: &Object| matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    Ok(pods.into_iter().filter(|pod| is_own(pod) && !has_ended(pod)).collect())
}

/// Those that are not ready and stay, in the order in which they are to be evicted. A StatefulSet waits for its lowest
/// pod before it deals with a higher one.
pub(crate) fn of(pods: &[Object]) -> Vec<&Object> {
    let mut unready: Vec<&Object> =
        pods.iter().filter(|pod| !pod.is_being_deleted() && pod.ready().is_none()).collect();
    unready.sort_by_key(|pod| order(pod));
    unready
}

/// By which pods are put in order: their ordinals, and their names where they have none.
pub(super) fn order(pod: &Object) -> (Option<u32>, String) {
    let name = pod.text("/metadata/name");
    let ordinal = name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok());
    (ordinal, name.to_owned())
}

/// How many of these pods are ready and stay.
pub(crate) fn ready(pods: &[Object]) -> u32 {
    let ready = pods.iter().filter(|pod| !pod.is_being_deleted() && pod.ready().is_some()).count();
    u32::try_from(ready).unwrap_or(u32::MAX)
}

/// Why no pod must be, or would be, evicted.
pub(super) fn refused(
    params: RestartParams,
    kind: Kind,
    object: &Object,
    disruption: Disruption,
    pods: &[Object],
) -> Option<Obstacle> {
    in_the_way(params, kind, object, disruption).or_else(|| {
        let message = "every pod is ready: there is none to evict";
        of(pods).is_empty().then(|| obstacle(OutcomeCode::NoUnreadyPods, message))
    })
}

/// The pods that would be evicted, for people.
pub(super) fn told(pods: &[Object]) -> Vec<String> {
    let unready = of(pods);
    let names = unready.iter().take(NAMED_MAX).map(|pod| {
        let name = pod.text("/metadata/name");
        format!("pod {name}, which is not ready, is evicted and made anew")
    });
    let more = unready.len().saturating_sub(NAMED_MAX);
    names.chain((more > 0).then(|| format!("and {more} more"))).collect()
}

/// How a pod is named in the ledger.
pub(crate) fn name(pod: &Object) -> PodName {
    PodName { name: pod.text("/metadata/name").to_owned(), uid: pod.uid().to_owned() }
}

/// Where a workload stands whose pods are being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// How many of those that were to be evicted so far are gone.
    pub(crate) gone: u32,
    /// Whether as many others are ready as before, and one more for each that is gone.
    pub(crate) is_settled: bool,
    /// The next one, if it is still not ready.
    pub(crate) next: Option<PodName>,
}

/// Looks at the workload's `pods`: those of `first` are to be evicted, and `announced` is the last one whose turn it
/// was. `ready_before` others were ready at first, and `wanted` are wanted now.
pub(crate) fn replaced(
    pods: &[Object],
    first: &Evicts,
    announced: &PodName,
    ready_before: u32,
    wanted: u32,
) -> Replaced {
    let is = |pod: &Object, name: &PodName| pod.uid() == name.uid;
    let listed: Vec<&PodName> = std::iter::once(&first.pod).chain(&first.then).collect();
    let at = listed.iter().position(|name| name.uid == announced.uid).unwrap_or(0);
    let (had, left) = listed.split_at((at + 1).min(listed.len()));
    let is_listed = |pod: &Object| listed.iter().any(|name| is(pod, name));
    let others = pods.iter().filter(|pod| !is_listed(pod)).filter(|pod| !pod.is_being_deleted());
    let ready = others.filter(|pod| pod.ready().is_some()).count();
    let gone = had.iter().filter(|name| !pods.iter().any(|pod| is(pod, name))).count();
    // Of what was to be evicted some may have become ready by themselves, and count as wanted.
    let mended = pods.iter().filter(|pod| is_listed(pod) && pod.ready().is_some()).count();
    let is_leaving = pods.iter().any(|pod| is(pod, announced) && pod.is_being_deleted());
    let (ready, gone, mended) = (count(ready), count(gone), count(mended));
    let unready = of(pods);
    let next = left.iter().find(|name| unready.iter().any(|pod| is(pod, name)));
    Replaced {
        gone,
        is_settled: !is_leaving && ready >= (ready_before + gone).min(wanted.saturating_sub(mended)),
        next: next.map(|name| (*name).clone()),
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Whether the pods of a StatefulSet are replaced one after another, in order: then one that does not become ready holds
/// up all others, also when it is of a template that the set does not have any more.
pub(crate) fn is_ordered(kind: Kind, object: &Object) -> bool {
    kind == Kind::StatefulSet && object.text("/spec/podManagementPolicy") != "Parallel"
}

/// The first of the workload's `pods` that is of a template with the digest `failed` and not ready.
pub(crate) async fn held_up_by(
    target: &Target,
    object: &Object,
    failed: Digest,
    pods: &[Object],
    cluster: &Cluster,
    caller: Caller,
) -> Result<Option<PodName>, ReadError> {
    let unready = of(pods);
    if unready.is_empty() {
        return Ok(None);
    }
    let mut revisions = revisions::read(target, object, cluster, caller).await?;
    revisions.retain(|revision| revision.digest == failed);
    let found = unready.into_iter().find(|pod| revisions.iter().any(|revision| revision.made(pod)));
    Ok(found.map(name))
}

/// Whether another pod stands ready under the name of one that was evicted, or the same one is ready by now.
pub(crate) fn stands_again(pods: &[Object], evicted: &PodName) -> bool {
    pods.iter().any(|pod| {
        pod.text("/metadata/name") == evicted.name && !pod.is_being_deleted() && pod.ready().is_some()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, ready: bool, deleted: bool) -> Object {
        let status = if ready { "True" } else { "False" };
        Object::new(json!({
            "metadata": {
                "name": name, "uid": uid, "deletionTimestamp": deleted.then_some("2026-11-20T12:00:00Z"),
            },
            "status": { "conditions": [{ "type": "Ready", "status": status }] },
        }))
    }

    fn named(uid: &str) -> PodName {
        PodName { name: uid.to_owned(), uid: uid.to_owned() }
    }

    #[test]
    fn the_lowest_pod_of_a_set_is_the_first_and_what_is_ready_or_leaves_is_none() {
        let pods = [
            pod("db-10", "a", false, false),
            pod("db-2", "b", false, false),
            pod("db-1", "c", true, false),
            pod("db-0", "d", false, true),
        ];
        let names: Vec<_> = of(&pods).into_iter().map(|pod| name(pod).name).collect();
        assert_eq!(names, ["db-2", "db-10"]);
        assert_eq!(ready(&pods), 1);
        assert_eq!(told(&pods).len(), 2);
    }

    #[test]
    fn the_next_pod_comes_when_the_one_before_is_gone_and_another_ready_in_its_place() {
        let first = Evicts { pod: named("x"), then: vec![named("y"), named("z")], among: None };
        let others = |more: &[Object]| {
            let mut pods = vec![pod("a", "a", true, false), pod("z", "z", false, false)];
            pods.extend_from_slice(more);
            pods
        };
        let judged = |more: &[Object], announced| {
            let Replaced { gone, is_settled, next } =
                replaced(&others(more), &first, &named(announced), 1, 4);
            (gone, is_settled, next.map(|next| next.name))
        };
        let z = || Some("z".to_owned());
        let y = |ready| pod("y", "y", ready, false);
        assert_eq!(judged(&[pod("x", "x", false, true), y(false)], "x"), (0, false, Some("y".to_owned())));
        assert_eq!(judged(&[pod("n", "n", false, false), y(false)], "x"), (1, false, Some("y".to_owned())));
        assert_eq!(judged(&[pod("n", "n", true, false), y(false)], "x"), (1, true, Some("y".to_owned())));
        // It became ready by itself: it is left alone, and does not stand for another's replacement.
        assert_eq!(judged(&[pod("n", "n", true, false), y(true)], "x"), (1, true, z()));
        assert_eq!(judged(&[pod("n", "n", false, false), y(true)], "x"), (1, false, z()));
        assert_eq!(judged(&[pod("n", "n", true, false), y(true)], "y"), (1, true, z()));
    }

    #[test]
    fn fewer_wanted_pods_are_enough_after_a_scaling() {
        let first = Evicts { pod: named("x"), then: Vec::new(), among: None };
        let pods = [pod("a", "a", true, false)];
        assert!(!replaced(&pods, &first, &named("x"), 2, 3).is_settled);
        assert!(replaced(&pods, &first, &named("x"), 2, 1).is_settled);
    }
}
