//! Which routes ask people for their second factor. Everything that changes something stands here; what is missing asks for
//! it, and fails a test.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::{MatchedPath, Request};
use http::Method;

use crate::permission::Permission::{
    ApproveActions, CloseActions, ManageAlertSources, ManageClients, ManageOwnAccount, ManageUsers,
    ManageWebhooks, ReviewActions, WritePolicies,
};
use crate::service::second_factor::Guards::{self, OwnAccount, Privilege};

const TABLE: &[(&str, &str, Option<Guards>)] = &[
    // Signing in, and what makes less possible, must not need it.
    ("POST", "/api/v1/auth/login", None),
    ("POST", "/api/v1/auth/refresh", None),
    ("POST", "/api/v1/auth/accept-invitation", None),
    ("POST", "/api/v1/auth/forgot-password", None),
    ("POST", "/api/v1/auth/reset-password", None),
    ("POST", "/api/v1/auth/sign-up", None),
    ("POST", "/api/v1/auth/oidc", None),
    ("POST", "/api/v1/auth/oidc/session", None),
    ("POST", "/api/v1/auth/logout", None),
    ("POST", "/api/v1/auth/step-up", None),
    ("DELETE", "/api/v1/sessions", None),
    ("DELETE", "/api/v1/sessions/{id}", None),
    ("POST", "/api/v1/users/me/second-factor", None),
    ("POST", "/api/v1/users/me/second-factor/confirm", None),
    ("DELETE", "/api/v1/users/me/second-factor", Some(OwnAccount)),
    ("POST", "/api/v1/users/me/password", Some(OwnAccount)),
    ("PATCH", "/api/v1/users/me", None),
    // People, and what they may do.
    ("POST", "/api/v1/users", Some(Privilege(ManageUsers))),
    ("POST", "/api/v1/users/{id}/invite", Some(Privilege(ManageUsers))),
    ("POST", "/api/v1/users/{id}/disable", Some(Privilege(ManageUsers))),
    ("POST", "/api/v1/users/{id}/enable", Some(Privilege(ManageUsers))),
    ("DELETE", "/api/v1/users/{id}/second-factor", Some(Privilege(ManageUsers))),
    ("PUT", "/api/v1/users/{id}/roles/{name}", Some(Privilege(ManageUsers))),
    ("DELETE", "/api/v1/users/{id}/roles/{name}", Some(Privilege(ManageUsers))),
    ("POST", "/api/v1/role-grants/{id}/approve", Some(Privilege(ApproveActions))),
    ("POST", "/api/v1/role-grants/{id}/deny", Some(Privilege(ApproveActions))),
    // Automation, its keys, and those of alert sources and webhooks.
    ("POST", "/api/v1/clients", Some(Privilege(ManageClients))),
    ("PATCH", "/api/v1/clients/{name}", Some(Privilege(ManageClients))),
    ("POST", "/api/v1/clients/{name}/disable", Some(Privilege(ManageClients))),
    ("POST", "/api/v1/clients/{name}/enable", Some(Privilege(ManageClients))),
    ("POST", "/api/v1/clients/{name}/keys", Some(Privilege(ManageClients))),
    ("DELETE", "/api/v1/clients/{name}/keys/{id}", Some(Privilege(ManageClients))),
    ("POST", "/api/v1/alert-sources", Some(Privilege(ManageAlertSources))),
    ("DELETE", "/api/v1/alert-sources/{name}", Some(Privilege(ManageAlertSources))),
    ("POST", "/api/v1/alert-sources/{name}/disable", Some(Privilege(ManageAlertSources))),
    ("POST", "/api/v1/alert-sources/{name}/enable", Some(Privilege(ManageAlertSources))),
    ("POST", "/api/v1/alert-sources/{name}/credentials", Some(Privilege(ManageAlertSources))),
    ("DELETE", "/api/v1/alert-sources/{name}/credentials/{id}", Some(Privilege(ManageAlertSources))),
    ("PUT", "/api/v1/webhooks/{name}", Some(Privilege(ManageWebhooks))),
    ("DELETE", "/api/v1/webhooks/{name}", Some(Privilege(ManageWebhooks))),
    ("POST", "/api/v1/webhooks/{name}/rotate-secret", Some(Privilege(ManageWebhooks))),
    ("POST", "/api/v1/webhooks/{name}/test", None),
    ("POST", "/api/v1/webhooks/{name}/deliveries/{id}/redeliver", None),
    // Policy: what is stored counts for nothing before it is active.
    ("PUT", "/api/v1/policies/{name}", None),
    ("POST", "/api/v1/policies/{name}/activate", Some(Privilege(WritePolicies))),
    ("POST", "/api/v1/policies/{name}/deactivate", Some(Privilege(WritePolicies))),
    ("POST", "/api/v1/policies/{name}/release", Some(Privilege(WritePolicies))),
    ("POST", "/api/v1/policy/sync", Some(Privilege(WritePolicies))),
    ("POST", "/api/v1/policy/evaluate", None),
    ("POST", "/api/v1/policy/validate", None),
    ("POST", "/api/v1/policy/check", None),
    ("POST", "/api/v1/policy/diff", None),
    ("POST", "/api/v1/policy/test", None),
    ("POST", "/api/v1/policy/who-can", None),
    ("POST", "/api/v1/policy/simulate", None),
    ("POST", "/api/v1/policy/replay", None),
    // Actions: policy says whether they may be asked for; people's words are asked for by it.
    ("POST", "/api/v1/actions", None),
    ("POST", "/api/v1/actions/{id}/cancel", None),
    ("POST", "/api/v1/actions/{id}/lift-hold", None),
    ("POST", "/api/v1/actions/{id}/close", Some(Privilege(CloseActions))),
    ("POST", "/api/v1/actions/{id}/approve", Some(Privilege(ApproveActions))),
    ("POST", "/api/v1/actions/{id}/deny", Some(Privilege(ApproveActions))),
    ("POST", "/api/v1/actions/{id}/withdraw-approval", Some(Privilege(ApproveActions))),
    ("POST", "/api/v1/actions/{id}/review", Some(Privilege(ReviewActions))),
];

static GUARDS: LazyLock<HashMap<(&str, &str), Option<Guards>>> =
    LazyLock::new(|| TABLE.iter().map(|(method, path, guards)| ((*method, *path), *guards)).collect());

/// Why a request asks for a second factor, if it does.
pub(super) fn guards(request: &Request) -> Option<Guards> {
    let path = request.extensions().get::<MatchedPath>();
    guards_of(request.method(), path.map(MatchedPath::as_str).unwrap_or_default())
}

fn guards_of(method: &Method, path: &str) -> Option<Guards> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    // Everybody has this permission.
    GUARDS.get(&(method.as_str(), path)).copied().unwrap_or(Some(Privilege(ManageOwnAccount)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::permission::permissions_of;
    use crate::principal::Principal;

    #[test]
    fn every_route_that_changes_something_says_whether_it_asks_for_a_second_factor() {
        let mut listed = BTreeSet::new();
        for (method, path, _) in TABLE {
            assert!(listed.insert(format!("{method} {path}")), "{method} {path} stands twice");
        }
        let description = serde_json::to_value(super::super::description()).unwrap();
        let mut routes = BTreeSet::new();
        for (path, operations) in description["paths"].as_object().unwrap() {
            let methods = operations.as_object().unwrap().keys().map(|method| method.to_uppercase());
            routes.extend(methods.filter(|method| method != "GET").map(|method| format!("{method} {path}")));
        }
        assert_eq!(listed, routes, "a route is missing in the table (right), or is there no more (left)");
    }

    #[test]
    fn what_stands_in_no_table_asks_everybody_and_what_only_reads_nobody() {
        let everybody = Some(Privilege(ManageOwnAccount));
        for (method, path, expected) in [
            (Method::POST, "/api/v1/new", everybody),
            (Method::PUT, "/api/v1/actions", everybody),
            (Method::POST, "/api/v1/actions", None),
            (Method::GET, "/api/v1/new", None),
            (Method::HEAD, "/api/v1/clients", None),
        ] {
            assert_eq!(guards_of(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn automation_may_do_nothing_that_asks_people_for_a_second_factor() {
        let client = permissions_of(&Principal::Client("bot".to_owned()), &[]);
        for (method, path, guards) in TABLE {
            if let Some(Privilege(permission)) = guards {
                assert!(!client.contains(permission), "{method} {path}");
            }
        }
        assert!(!client.contains(&ManageOwnAccount));
    }
}
