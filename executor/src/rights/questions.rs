//! What the API server is asked about an account of the executor. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::excess::Place;
use super::{Account, Right, needed};

/// Namespaces that are looked at besides the allowed ones and the executor's own.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Nothing is bound in a namespace that nobody made: what holds there holds everywhere.
const NOWHERE: &str = "aegis-no-such-namespace";
const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
/// What a stolen token must never do, asked one by one: authorizers other than RBAC list no rules.
const DANGEROUS: [Right; 16] = [
    Right::new("*", "*", "*"),
    Right::new("", "pods", "create"),
    Right::new("", "pods", "patch"),
    Right::new("", "pods", "delete"),
    Right::new("", "pods/exec", "create"),
    Right::new("", "pods/attach", "create"),
    Right::new("", "pods/ephemeralcontainers", "patch"),
    Right::new("", "secrets", "get"),
    Right::new("", "secrets", "list"),
    Right::new("", "serviceaccounts", "impersonate"),
    Right::new("", "serviceaccounts/token", "create"),
    Right::new("apps", "deployments", "create"),
    Right::new("batch", "jobs", "create"),
    Right::new(RBAC, "roles", "escalate"),
    Right::new(RBAC, "roles", "bind"),
    Right::new(RBAC, "rolebindings", "create"),
];
/// The same for the cluster as a whole.
const DANGEROUS_EVERYWHERE: [Right; 9] = [
    Right::new("", "nodes/proxy", "get"),
    Right::new("", "users", "impersonate"),
    Right::new("", "groups", "impersonate"),
    Right::new(RBAC, "clusterroles", "escalate"),
    Right::new(RBAC, "clusterroles", "bind"),
    Right::new(RBAC, "clusterrolebindings", "create"),
    Right::new(ADMISSION, "validatingadmissionpolicies", "patch"),
    Right::new(ADMISSION, "validatingadmissionpolicybindings", "delete"),
    // Its annotations bound what is scaled.
    Right::new("", "serviceaccounts", "patch"),
];

/// Everything that is asked about an account, `user` to the API server, with these namespaces allowed.
pub(super) fn about(account: Account, user: &str, namespaces: &[String]) -> Vec<Question> {
    let mut questions = vec![Question::Rules { place: Place::Everywhere, allowed: false }];
    let others: BTreeSet<_> = SYSTEM_NAMESPACES.into_iter().chain(home_of(user)).collect();
    for name in others.into_iter().filter(|name| namespaces.iter().all(|allowed| allowed != name)) {
        questions.push(Question::Rules { place: Place::Namespace(name.to_owned()), allowed: false });
    }
    for name in namespaces {
        let place = || Place::Namespace(name.clone());
        questions.push(Question::Rules { place: place(), allowed: true });
        questions.extend(DANGEROUS.map(|right| Question::Access { place: place(), right }));
    }
    let everywhere = DANGEROUS.into_iter().chain(DANGEROUS_EVERYWHERE).chain(needed(account).into_keys());
    questions.extend(everywhere.map(|right| Question::Access { place: Place::Everywhere, right }));
    questions
}

/// The namespace of a service account: what it may do there, beside the Secrets of this executor, is asked too.
pub(super) fn home_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:serviceaccount:")?.split(':').next()
}

/// One question to the API server.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Who am I?
    Identity,
    /// Which rules hold there?
    Rules { place: Place, allowed: bool },
    /// May I do this there?
    Access { place: Place, right: Right },
}

impl Question {
    /// Where it is asked.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Identity => "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            Self::Rules { .. } => "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            Self::Access { .. } => "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        }
    }

    /// What is sent there.
    pub(super) fn body(&self) -> Value {
        let (group, kind, spec) = match self {
            Self::Identity => ("authentication.k8s.io", "SelfSubjectReview", json!({})),
            Self::Rules { place, .. } => {
                let namespace = match place {
                    Place::Everywhere => NOWHERE,
                    Place::Namespace(name) => name,
                };
                ("authorization.k8s.io", "SelfSubjectRulesReview", json!({ "namespace": namespace }))
            }
            Self::Access { place, right } => {
                let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
                let mut attributes = json!({
                    "group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb,
                });
                if let Place::Namespace(name) = place {
                    attributes["namespace"] = json!(name);
                }
                (
                    "authorization.k8s.io",
                    "SelfSubjectAccessReview",
                    json!({ "resourceAttributes": attributes }),
                )
            }
        };
        json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_the_whole_cluster_names_no_namespace() {
        let right = Right::new("", "pods/exec", "create");
        let ask =
            |place: Place| Question::Access { place, right }.body()["spec"]["resourceAttributes"].take();
        let everywhere = ask(Place::Everywhere);
        assert_eq!(everywhere.get("namespace"), None);
        assert_eq!((&everywhere["resource"], &everywhere["subresource"]), (&json!("pods"), &json!("exec")));
        assert_eq!(ask(Place::Namespace("shop".to_owned()))["namespace"], "shop");
    }

    #[test]
    fn nothing_that_is_needed_counts_as_dangerous_where_it_is_allowed() {
        for account in [Account::Executor, Account::Rollback] {
            assert!(DANGEROUS.iter().all(|right| !needed(account).contains_key(right)));
        }
    }

    #[test]
    fn a_service_account_lives_in_a_namespace_and_other_users_do_not() {
        assert_eq!(home_of("system:serviceaccount:aegis-system:aegis-executor"), Some("aegis-system"));
        assert_eq!(home_of("kubernetes-admin"), None);
    }
}
