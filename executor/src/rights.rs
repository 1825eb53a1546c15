//! The rights in Kubernetes that the action catalogue needs, in each allowed namespace and nowhere else,
//! by account. The Roles in `k8s/allowed-namespace`, the review at start and `aegis-executor rights` all
//! come from this table.

mod excess;
mod questions;
pub(crate) mod review;
pub(crate) mod reviewer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aegis_contract::action::ActionType;
use aegis_contract::target::Kind;
use serde_json::{Value, json};

const APPS: &str = "apps";
const AUTOSCALING: &str = "autoscaling";
const CORE: &str = "";
const POLICY: &str = "policy";
/// What has a pod template and revisions of it.
const WORKLOADS: [Kind; 3] = [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet];

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

/// The accounts in the cluster that the executor can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// The one it always has: it looks, restarts, scales, evicts and fences.
    Executor,
    /// The one that writes rollbacks, and nothing else. Off by default.
    Rollback,
}

impl Account {
    /// The name in the printed table, logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Rollback => "rollback",
        }
    }
}

/// Every right that an account needs in an allowed namespace, and what needs it.
pub(crate) fn needed(account: Account) -> BTreeMap<Right, BTreeSet<&'static str>> {
    let mut needed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    if account == Account::Rollback {
        let rights = WORKLOADS.map(patch);
        return rights.map(|right| (right, BTreeSet::from([ActionType::Rollback.as_str()]))).into();
    }
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
    let rows = [Account::Executor, Account::Rollback].into_iter().flat_map(|account| {
        needed(account).into_iter().map(move |(right, used_for)| {
            let Right { group, resource, verb } = right;
            json!({
                "account": account.as_str(), "apiGroup": group, "resource": resource, "verb": verb,
                "usedFor": used_for,
            })
        })
    });
    rows.collect()
}

/// What one action does with a target of one kind under the executor's own account, from its preconditions to the end
/// of its watch.
fn rights_of(action: ActionType, kind: Kind) -> Vec<Right> {
    let mut rights = vec![read(kind), list(CORE, "pods"), Right::new(CORE, "pods", "watch")];
    match action {
        // Pods that are not ready are evicted, and told from others' by who made them.
        ActionType::Restart => {
            rights.extend([patch(kind), list(POLICY, BUDGETS), list(CORE, "resourcequotas"), EVICT]);
            rights.extend((kind == Kind::Deployment).then(|| list(APPS, revisions(kind))));
        }
        ActionType::RestartPod => rights.extend([EVICT, list(POLICY, BUDGETS)]),
        // The object itself is patched only when it is fenced.
        ActionType::Scale => {
            rights.extend([patch_scale(kind), patch(kind), list(AUTOSCALING, "horizontalpodautoscalers")]);
        }
        ActionType::Rollback => {
            let (group, resource) = resource_of(kind);
            // Workloads are listed to learn which templates last. The object itself is patched only when it is
            // fenced: another account writes the template.
            let workloads = list(group, resource);
            rights.extend([patch(kind), list(POLICY, BUDGETS), list(APPS, revisions(kind)), workloads]);
            // A pod of the failed template holds an ordered set up until it is gone.
            rights.extend((kind == Kind::StatefulSet).then_some(EVICT));
        }
    }
    rights
}

const BUDGETS: &str = "poddisruptionbudgets";
const EVICT: Right = Right::new(CORE, "pods/eviction", "create");

const fn list(group: &'static str, resource: &'static str) -> Right {
    Right::new(group, resource, "list")
}

/// Where a workload's revisions are kept.
fn revisions(kind: Kind) -> &'static str {
    if kind == Kind::Deployment { "replicasets" } else { "controllerrevisions" }
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
        let rights: Vec<_> = needed(Account::Executor).into_keys().collect();
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
    fn the_account_for_rollbacks_patches_workloads_and_does_not_even_read_them() {
        let rights: Vec<_> = needed(Account::Rollback).into_keys().map(|right| right.to_string()).collect();
        let expected = ["daemonsets", "deployments", "statefulsets"].map(|kind| format!("patch {kind}.apps"));
        assert_eq!(rights, expected);
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
