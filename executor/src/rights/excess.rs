//! What is too much: compares what the API server says the executor may do with the table. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::{Account, Right, needed, sentence};

/// Rights that Kubernetes gives every account, to ask about itself and to read public certificates.
const EVERYBODYS: [Right; 6] = [
    Right::new("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    Right::new("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
    Right::new("authentication.k8s.io", "selfsubjectreviews", "create"),
    Right::new("certificates.k8s.io", "clustertrustbundles", "get"),
    Right::new("certificates.k8s.io", "clustertrustbundles", "list"),
    Right::new("certificates.k8s.io", "clustertrustbundles", "watch"),
];
/// Paths without objects that Kubernetes lets every account read; a final `*` stands for any rest.
const EVERYBODYS_PATHS: [&str; 9] = [
    "/healthz",
    "/livez",
    "/readyz",
    "/version",
    "/api*",
    "/apis*",
    "/openapi*",
    "/.well-known/openid-configuration*",
    "/openid/v1/jwks*",
];
/// What an administrator has; nothing need be said beside it.
const EVERYTHING: &str = "* *.*";
/// Most rights that one place's part of a message names.
const NAMED_MAX: usize = 12;

/// Where a right holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In every namespace, or for the cluster as a whole.
    Everywhere,
    /// In one namespace.
    Namespace(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("in every namespace"),
            Self::Namespace(name) => write!(f, "in namespace {name}"),
        }
    }
}

/// The rules that hold in one namespace, as a SelfSubjectRulesReview answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rules {
    #[serde(default)]
    resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRule {
    verbs: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
}

impl Rules {
    /// Every right that goes beyond what every account has and, in an allowed namespace, the table.
    pub(crate) fn excess(&self, account: Account, is_allowed: bool) -> BTreeSet<String> {
        let needed = if is_allowed { needed(account) } else { BTreeMap::new() };
        let mut excess = BTreeSet::new();
        for rule in &self.resource_rules {
            for (verb, group, resource) in rule.rights() {
                let same =
                    |right: &Right| (right.verb, right.group, right.resource) == (verb, group, resource);
                if !needed.keys().any(same) && !EVERYBODYS.iter().any(same) {
                    let only = if rule.resource_names.is_empty() {
                        String::new()
                    } else {
                        format!(" (only {})", rule.resource_names.join(", "))
                    };
                    excess.insert(sentence(verb, group, resource) + &only);
                }
            }
        }
        for rule in &self.non_resource_rules {
            for path in rule.paths.iter().filter(|path| !rule.reads_only() || !is_everybodys(path)) {
                excess.insert(format!("{} the path {path}", rule.verbs.join(",")));
            }
        }
        excess
    }

    /// What the table needs and no rule gives for every object.
    pub(crate) fn missing(&self, account: Account) -> Vec<Right> {
        let gives = |rule: &ResourceRule, right: &Right| {
            let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted || item == "*");
            rule.resource_names.is_empty()
                && has(&rule.verbs, right.verb)
                && has(&rule.api_groups, right.group)
                && has(&rule.resources, right.resource)
        };
        let is_given = |right: &Right| self.resource_rules.iter().any(|rule| gives(rule, right));
        needed(account).into_keys().filter(|right| !is_given(right)).collect()
    }
}

impl ResourceRule {
    fn rights(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.verbs.iter().flat_map(move |verb| {
            self.api_groups.iter().flat_map(move |group| {
                self.resources.iter().map(move |resource| (verb.as_str(), group.as_str(), resource.as_str()))
            })
        })
    }
}

impl PathRule {
    fn reads_only(&self) -> bool {
        self.verbs.iter().all(|verb| matches!(verb.as_str(), "get" | "head"))
    }
}

fn is_everybodys(path: &str) -> bool {
    EVERYBODYS_PATHS.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => {
            path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        None => path.trim_end_matches('/') == *known,
    })
}

/// Everything that is too much, by the place where it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess(BTreeMap<Place, BTreeSet<String>>);

impl Excess {
    /// Adds what holds in one place.
    pub(crate) fn add(&mut self, place: Place, rights: impl IntoIterator<Item = String>) {
        self.0.entry(place).or_default().extend(rights);
    }

    /// How many rights that are, in all places together.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The same without saying again of a namespace what holds everywhere; `None` when nothing is left.
    pub(crate) fn reduced(mut self) -> Option<Self> {
        let everywhere = self.0.get(&Place::Everywhere).cloned().unwrap_or_default();
        for (place, rights) in &mut self.0 {
            if *place != Place::Everywhere {
                rights.retain(|right| !everywhere.contains(right) && !everywhere.contains(EVERYTHING));
            }
        }
        for rights in self.0.values_mut().filter(|rights| rights.contains(EVERYTHING)) {
            rights.retain(|right| right == EVERYTHING);
        }
        self.0.retain(|_, rights| !rights.is_empty());
        (!self.0.is_empty()).then_some(self)
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, rights)) in self.0.iter().enumerate() {
            let named: Vec<_> = rights.iter().take(NAMED_MAX).map(String::as_str).collect();
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{place}: {}", named.join(", "))?;
            if rights.len() > NAMED_MAX {
                write!(f, " and {} more", rights.len() - NAMED_MAX)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules(resource_rules: &Value, non_resource_rules: &Value) -> Rules {
        let status = json!({ "resourceRules": resource_rules, "nonResourceRules": non_resource_rules });
        serde_json::from_value(status).unwrap()
    }

    fn exactly_needed() -> Vec<Value> {
        let rule = |right: &Right| json!({ "verbs": [right.verb], "apiGroups": [right.group], "resources": [right.resource] });
        needed(Account::Executor).keys().map(rule).collect()
    }

    fn excess_of(rule: Value) -> Vec<String> {
        let mut all = exactly_needed();
        all.push(rule);
        rules(&json!(all), &json!([])).excess(Account::Executor, true).into_iter().collect()
    }

    #[test]
    fn exactly_what_the_table_says_is_not_too_much_where_it_is_allowed_and_all_of_it_elsewhere() {
        let exact = rules(&json!(exactly_needed()), &json!([]));
        assert_eq!(exact.excess(Account::Executor, true), BTreeSet::new());
        assert_eq!(exact.missing(Account::Executor), []);
        assert_eq!(exact.excess(Account::Executor, false).len(), needed(Account::Executor).len());
    }

    #[test]
    fn what_one_account_needs_is_too_much_for_the_other() {
        let exact = rules(&json!(exactly_needed()), &json!([]));
        let too_much = exact.excess(Account::Rollback, true);
        assert!(too_much.contains("create pods/eviction") && too_much.contains("get deployments.apps"));
        assert!(!too_much.contains("patch deployments.apps"));
        assert_eq!(exact.missing(Account::Rollback), []);
    }

    #[test]
    fn one_verb_one_resource_or_one_object_more_is_too_much() {
        for (verb, group, resource, said) in [
            ("create", "", "pods", "create pods"),
            ("create", "", "pods/exec", "create pods/exec"),
            ("get", "", "secrets", "get secrets"),
            ("delete", "apps", "deployments", "delete deployments.apps"),
            ("update", "apps", "deployments", "update deployments.apps"),
            ("escalate", "rbac.authorization.k8s.io", "roles", "escalate roles.rbac.authorization.k8s.io"),
            ("impersonate", "", "users", "impersonate users"),
            ("*", "apps", "deployments", "* deployments.apps"),
            ("get", "*", "*", "get *.*"),
        ] {
            let rule = json!({ "verbs": [verb], "apiGroups": [group], "resources": [resource] });
            assert_eq!(excess_of(rule), [said]);
        }
        let named = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"] });
        assert_eq!(excess_of(named), ["get secrets (only one)"]);
    }

    #[test]
    fn what_every_account_has_is_not_too_much_and_other_paths_are() {
        let reviews = json!([{
            "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        }]);
        let public =
            json!([{ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*", "/version/", "/openapi"] }]);
        assert_eq!(rules(&reviews, &public).excess(Account::Executor, false), BTreeSet::new());
        for (verb, path) in [("get", "/logs/*"), ("get", "*"), ("post", "/healthz"), ("get", "/apiary")] {
            let rule = json!([{ "verbs": [verb], "nonResourceURLs": [path] }]);
            assert_eq!(rules(&json!([]), &rule).excess(Account::Executor, true).len(), 1, "{verb} {path}");
        }
    }

    #[test]
    fn a_right_for_one_object_is_not_the_right_that_is_needed() {
        let rule =
            json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["web"] }]);
        assert_eq!(
            rules(&rule, &json!([])).missing(Account::Executor).len(),
            needed(Account::Executor).len()
        );
    }

    #[test]
    fn what_holds_everywhere_is_said_once_and_long_lists_are_cut() {
        let mut excess = Excess::default();
        let shop = || Place::Namespace("shop".to_owned());
        assert_eq!(Excess::default().reduced(), None);
        excess.add(Place::Everywhere, ["get secrets".to_owned()]);
        excess.add(shop(), ["get secrets".to_owned(), "create pods".to_owned()]);
        let text = excess.clone().reduced().unwrap().to_string();
        assert_eq!(text, "in every namespace: get secrets; in namespace shop: create pods");
        excess.add(shop(), (10..50).map(|number| format!("get thing{number}")));
        assert!(excess.clone().reduced().unwrap().to_string().ends_with("and 29 more"));
        excess.add(Place::Everywhere, ["* *.*".to_owned(), "get the path /logs/*".to_owned()]);
        assert_eq!(excess.reduced().unwrap().to_string(), "in every namespace: * *.*");
    }
}
