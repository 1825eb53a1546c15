//! The revisions of a workload that its cluster still keeps: ReplicaSets of a Deployment, ControllerRevisions of the
//! others.

use aegis_contract::digest::Digest;
use aegis_contract::target::{Kind, Target};
use jiff::Timestamp;
use serde_json::Value;

use super::object::Object;
use super::{selector, template};
use crate::cluster::{Caller, Cluster, ReadError};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// One revision.
pub(super) struct Revision {
    /// Its number: higher is newer.
    pub(super) number: u64,
    /// Digest of its template.
    pub(super) digest: Digest,
    /// Its template, as its workload had it.
    pub(super) template: Value,
    /// Name of what keeps it. A label of its pods holds the name, or how the name ends.
    pub(super) kept_as: String,
}

/// The revisions that the cluster still keeps, newest first.
pub(super) async fn read(
    target: &Target,
    object: &Object,
    cluster: &Cluster,
    caller: Caller,
) -> Result<Vec<Revision>, ReadError> {
    let resource = match target.kind {
        Kind::Deployment => "replicasets",
        Kind::StatefulSet | Kind::DaemonSet => "controllerrevisions",
        Kind::Pod => return Ok(Vec::new()),
    };
    let path = format!("/apis/apps/v1/namespaces/{}/{resource}", target.namespace);
    let kept = cluster.list(&path, &selector::query(object.at("/spec/selector")), caller).await?;
    Ok(of(object.uid(), &kept))
}

/// The revisions among `kept` of the workload of this uid, newest first.
pub(super) fn of(uid: &str, kept: &[Object]) -> Vec<Revision> {
    let own = kept.iter().filter(|kept| kept.controller() == Some(uid));
    let mut revisions: Vec<Revision> = own.filter_map(revision).collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    revisions
}

fn revision(kept: &Object) -> Option<Revision> {
    let (number, template) = match kept.annotation("/metadata/annotations", REVISION) {
        Some(number) => (number.parse().ok()?, template::without_hash(kept.at("/spec/template")?.clone())),
        None => {
            let template = template::without_directive(kept.at("/data/spec/template")?.clone());
            (kept.at("/revision")?.as_u64()?, template)
        }
    };
    let kept_as = kept.text("/metadata/name").to_owned();
    Some(Revision { number, digest: template::digest(&template)?, template, kept_as })
}

/// Labels of pods that name their revision: of Deployments, and of the others.
const POD_LABELS: [&str; 2] = [template::POD_TEMPLATE_HASH, "controller-revision-hash"];

impl Revision {
    /// Whether this pod was made from it.
    pub(super) fn made(&self, pod: &Object) -> bool {
        let mut labels = POD_LABELS.iter().filter_map(|name| pod.annotation("/metadata/labels", name));
        labels.any(|label| {
            let before = self.kept_as.strip_suffix(label);
            before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
        })
    }

    /// Whether one of its pods is there and has been ready since `since` or before.
    pub(super) fn is_ready_since(&self, since: Timestamp, pods: &[Object]) -> bool {
        pods.iter().filter(|pod| self.made(pod) && !pod.is_being_deleted()).any(|pod| {
            let at =
                pod.ready().and_then(|ready| ready["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
            at.is_some_and(|at| at <= since)
        })
    }
}
