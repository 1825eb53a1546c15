//! The rights in Kubernetes that the action catalogue needs, in each allowed namespace and nowhere else.
//! The Role in `k8s/allowed-namespace`, the review at start and `aegis-executor rights` all come from
//! this table.

pub(crate) mod excess;
pub(crate) mod review;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aegis_contract::action::ActionType;
use aegis_contract::target::Kind;
use serde_json::{Value, json};

const APPS: &str = "apps";
const AUTOSCALING: &str = "autoscaling";
const CORE: &str = "";
const POLICY: &str = "policy";

/// One verb on one resource, as RBAC names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Plural, with its subresource if any: `deployments/scale`.
    pub(crate) resource: &'static str,
    /// Such as `patch`.
    pub(crate) verb: &'static str,
}

impl Right {
    pub(crate) const fn new(group: &'static str, resource: &'static str, verb: &'static str) -> Self {
        Self { group, resource, verb }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(self.verb, self.group, self.resource))
    }
}

/// A right as people write it: `patch deployments.apps`, `create pods/eviction`.
pub(crate) fn sentence(verb: &str, group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        (CORE, _) => format!("{verb} {resource}"),
        (group, None) => format!("{verb} {resource}.{group}"),
        (group, Some((resource, subresource))) => format!("{verb} {resource}.{group}/{subresource}"),
    }
}

/// Every right that is needed in an allowed namespace, and what needs it.
pub(crate) fn needed() -> BTreeMap<Right, BTreeSet<&'static str>> {
    let mut needed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for kind in Kind::ALL {
        needed.entry(read(kind)).or_default().insert("observe");
    }
    for action in ActionType::ALL {
        for kind in action.kinds() {
            for right in rights_of(action, *kind) {
                needed.entry(right).or_default().insert(action.as_str());
            }
        }
    }
    needed
}

/// The table as `aegis-executor rights` prints it.
pub(crate) fn table() -> Value {
    let rows = needed().into_iter().map(|(right, used_for)| {
        let Right { group, resource, verb } = right;
        json!({ "apiGroup": group, "resource": resource, "verb": verb, "usedFor": used_for })
    });
    rows.collect()
}

/// What one action does with a target of one kind, from its preconditions to the end of its watch.
fn rights_of(action: ActionType, kind: Kind) -> Vec<Right> {
    let mut rights = follow(kind);
    // Which pods it takes away, and whether budgets let it.
    rights.extend(follow(Kind::Pod));
    rights.extend(look_up(POLICY, "poddisruptionbudgets"));
    match action {
        ActionType::Restart => {
            rights.extend([patch(kind), EVICT]);
            rights.extend(revisions(kind));
            rights.extend(look_up(CORE, "resourcequotas"));
        }
        ActionType::RestartPod => rights.push(EVICT),
        // The object itself is patched only when it is fenced.
        ActionType::Scale => {
            rights.extend([patch_scale(kind), patch(kind)]);
            rights.extend(look_up(AUTOSCALING, "horizontalpodautoscalers"));
            rights.extend(look_up(CORE, "resourcequotas"));
        }
        ActionType::Rollback => {
            rights.extend([patch(kind), EVICT]);
            rights.extend(revisions(kind));
        }
    }
    rights
}

const EVICT: Right = Right::new(CORE, "pods/eviction", "create");

/// Reads objects of a kind, and learns at once when they change.
fn follow(kind: Kind) -> Vec<Right> {
    let (group, resource) = resource_of(kind);
    ["get", "list", "watch"].map(|verb| Right::new(group, resource, verb)).to_vec()
}

fn look_up(group: &'static str, resource: &'static str) -> [Right; 2] {
    ["get", "list"].map(|verb| Right::new(group, resource, verb))
}

/// Where a workload's revisions are kept.
fn revisions(kind: Kind) -> [Right; 2] {
    look_up(APPS, if kind == Kind::Deployment { "replicasets" } else { "controllerrevisions" })
}

fn resource_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Deployment => (APPS, "deployments"),
        Kind::StatefulSet => (APPS, "statefulsets"),
        Kind::DaemonSet => (APPS, "daemonsets"),
        Kind::Pod => (CORE, "pods"),
    }
}

fn read(kind: Kind) -> Right {
    let (group, resource) = resource_of(kind);
    Right::new(group, resource, "get")
}

fn patch(kind: Kind) -> Right {
    let (group, resource) = resource_of(kind);
    Right::new(group, resource, "patch")
}

fn patch_scale(kind: Kind) -> Right {
    let resource = match kind {
        Kind::Deployment => "deployments/scale",
        Kind::StatefulSet => "statefulsets/scale",
        Kind::DaemonSet | Kind::Pod => unreachable!("the catalogue scales Deployments and StatefulSets only"),
    };
    Right::new(APPS, resource, "patch")
}

#[cfg(test)]
mod tests {
    use aegis_contract::target::Target;

    use super::*;
    use crate::cluster::path_of;

    #[test]
    fn the_table_names_the_resources_that_requests_are_sent_to() {
        for kind in Kind::ALL {
            let (group, resource) = resource_of(kind);
            let path = path_of(&Target::parse(&format!("shop/{kind}/web"), "local").unwrap());
            let root = if group == CORE { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
            assert_eq!(path, format!("{root}/namespaces/shop/{resource}/web"));
        }
    }

    #[test]
    fn pods_are_evicted_and_never_changed_and_nothing_is_made_updated_or_deleted() {
        let rights: Vec<_> = needed().into_keys().collect();
        assert!(!rights.contains(&Right::new(CORE, "pods", "patch")));
        let reads = ["get", "list", "watch"];
        let writes: BTreeSet<_> =
            rights.iter().filter(|right| !reads.contains(&right.verb)).map(ToString::to_string).collect();
        let patched = ["deployments", "statefulsets", "daemonsets"].map(|kind| format!("patch {kind}.apps"));
        let scaled = ["deployments", "statefulsets"].map(|kind| format!("patch {kind}.apps/scale"));
        let expected = patched.into_iter().chain(scaled).chain(["create pods/eviction".to_owned()]);
        assert_eq!(writes, expected.collect());
    }

    #[test]
    fn a_right_reads_like_a_sentence() {
        assert_eq!(Right::new(CORE, "pods/eviction", "create").to_string(), "create pods/eviction");
        assert_eq!(
            Right::new(APPS, "deployments/scale", "patch").to_string(),
            "patch deployments.apps/scale"
        );
        assert_eq!(Right::new(APPS, "replicasets", "list").to_string(), "list replicasets.apps");
    }
}
