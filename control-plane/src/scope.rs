//! What a client may ask for at most, whatever policy allows it: looked at before policy, and never a grant.

use aegis_contract::action::ActionType;
use aegis_contract::problem::FieldError;
use aegis_contract::target::Target;
use aegis_policy::Glob;
use serde::{Deserialize, Serialize};

/// Most actions, and most namespaces, of one scope.
const LIST_LENGTH_MAX: usize = 50;
/// Most characters of each part of a namespace: those of a DNS label.
const NAME_LENGTH_MAX: usize = 63;

/// Which actions, and where. What is absent is not bounded; people are not bounded at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Action types, such as `restart`; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub actions: Option<Vec<String>>,
    /// Namespaces as `CLUSTER/NAMESPACE`, `*` for any characters, such as `prod-*/shop`; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub namespaces: Option<Vec<String>>,
}

impl Scope {
    /// Whether it bounds nothing.
    pub fn is_everything(&self) -> bool {
        self.actions.is_none() && self.namespaces.is_none()
    }

    /// Whether an action on a resource lies in it. Where namespaces are bounded, what lies in none is outside.
    pub fn includes(&self, action: &str, resource: &str) -> bool {
        let is_action = self.actions.as_ref().is_none_or(|actions| actions.iter().any(|own| own == action));
        is_action && self.namespaces.as_ref().is_none_or(|own| own.iter().any(|own| is_in(own, resource)))
    }

    /// The same of what an action is to do.
    pub fn includes_change(&self, action_type: ActionType, target: &Target) -> bool {
        self.is_everything() || self.includes(action_type.as_str(), &target.resource())
    }

    /// What is wrong with it, by pointers below `at`.
    pub fn problems(&self, at: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: String, message: String| {
            errors.push(FieldError { pointer, code: "invalid-value".to_owned(), message });
        };
        for (name, list) in [("actions", &self.actions), ("namespaces", &self.namespaces)] {
            // An empty list is never everything, and a client that may do nothing is a disabled one.
            if list.as_ref().is_some_and(|list| !(1..=LIST_LENGTH_MAX).contains(&list.len())) {
                let message =
                    format!("must list 1 to {LIST_LENGTH_MAX}; leave it out for all, or disable the client");
                refuse(format!("{at}/{name}"), message);
            }
        }
        for (index, action) in self.actions.iter().flatten().enumerate() {
            if let Err(error) = action.parse::<ActionType>() {
                refuse(format!("{at}/actions/{index}"), error.to_string());
            }
        }
        for (index, place) in self.namespaces.iter().flatten().enumerate() {
            if !is_place(place) {
                let message = format!("`{place}` must be CLUSTER/NAMESPACE, each of a-z, 0-9, '-' and '*'");
                refuse(format!("{at}/namespaces/{index}"), message);
            }
        }
        errors
    }
}

/// The characters are those of names and `*`, so that the pattern means the same to the database.
fn is_place(text: &str) -> bool {
    let fits = |part: &str| {
        (1..=NAME_LENGTH_MAX).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*'))
            && Glob::read(part).is_some()
    };
    text.split_once('/').is_some_and(|(cluster, namespace)| fits(cluster) && fits(namespace))
}

fn is_in(place: &str, resource: &str) -> bool {
    let mut segments = resource.split('/');
    let (Some("k8s"), Some(cluster), Some(namespace)) = (segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    let matches = |pattern: &str, name: &str| Glob::read(pattern).is_some_and(|glob| glob.matches(name));
    place.split_once('/').is_some_and(|(of_cluster, of_namespace)| {
        matches(of_cluster, cluster) && matches(of_namespace, namespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(actions: Option<&[&str]>, namespaces: Option<&[&str]>) -> Scope {
        let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Scope { actions: actions.map(owned), namespaces: namespaces.map(owned) }
    }

    #[test]
    fn a_scope_holds_what_it_names_and_nothing_beside_it() {
        let bounded = scope(Some(&["restart"]), Some(&["prod-*/shop", "test/*"]));
        for (action, resource, expected) in [
            ("restart", "k8s/prod-1/shop/Deployment/web", true),
            ("restart", "k8s/test/anything/Deployment/web", true),
            ("scale", "k8s/prod-1/shop/Deployment/web", false),
            ("restart", "k8s/prod-1/shop-2/Deployment/web", false),
            ("restart", "k8s/prod/shop/Deployment/web", false),
            ("restart", "k8s/my-prod-1/shop/Deployment/web", false),
            ("restart", "aegis/policy/prod-1/shop", false),
            ("restart", "aegis/prod-1/shop", false),
            ("restart", "k8s", false),
            ("restart", "", false),
        ] {
            assert_eq!(bounded.includes(action, resource), expected, "{action} {resource}");
        }
        assert!(scope(None, None).includes("write", "aegis/policy/p"));
        assert!(scope(Some(&["restart"]), None).includes("restart", "aegis/policy/p"));
        assert!(!scope(None, Some(&["*/*"])).includes("write", "aegis/policy/p"));
        // What cannot be read bounds all the same.
        assert!(!scope(None, Some(&["**/*", "x"])).includes("restart", "k8s/x/x/Deployment/web"));
    }

    #[test]
    fn a_scope_that_would_mean_something_else_is_refused_with_its_place() {
        let pointers = |scope: &Scope| -> Vec<String> {
            scope.problems("/scope").into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(pointers(&scope(Some(&["restart", "scale"]), Some(&["*/shop", "a/b-*"]))), [""; 0]);
        assert_eq!(pointers(&scope(Some(&[]), Some(&[]))), ["/scope/actions", "/scope/namespaces"]);
        assert_eq!(
            pointers(&scope(Some(&["restart", "reboot", "*"]), None)),
            ["/scope/actions/1", "/scope/actions/2"]
        );
        for wrong in ["shop", "a/b/c", "/b", "a/", "A/b", "a/b_c", "a/b%", "a/**", "a b/c", ""] {
            assert_eq!(pointers(&scope(None, Some(&[wrong]))), ["/scope/namespaces/0"], "{wrong}");
        }
        let many = vec!["a/b"; LIST_LENGTH_MAX + 1];
        assert_eq!(pointers(&scope(None, Some(&many))), ["/scope/namespaces"]);
    }
}
