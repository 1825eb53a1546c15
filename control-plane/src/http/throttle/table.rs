//! The class of every route. One that is missing here is throttled as what changes something, and fails a test.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

use super::Class;

/// How requests of a route are throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Not at all: those who watch the process must not be told that it is busy.
    Exempt,
    /// By address, before anything else: anybody may call it.
    ByAddress(Class),
    /// By the caller, once proven.
    ByCaller(Class),
}

use Class::{Export, Heal, Public, Read, Search, SignIn, Write};
use Rule::{ByAddress, ByCaller, Exempt};

const TABLE: &[(&str, &str, Rule)] = &[
    ("GET", "/health/ping", Exempt),
    ("GET", "/health/ready", Exempt),
    // It asks the database and every executor.
    ("GET", "/api/v1/health", ByAddress(Public)),
    ("GET", "/api/v1/openapi.json", ByAddress(Public)),
    ("GET", "/api/v1/policy/schema", ByAddress(Public)),
    ("POST", "/api/v1/auth/login", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/accept-invitation", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/forgot-password", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/reset-password", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/sign-up", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/refresh", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/oidc", ByAddress(SignIn)),
    ("GET", "/api/v1/auth/oidc/callback", ByAddress(SignIn)),
    ("POST", "/api/v1/auth/oidc/session", ByAddress(SignIn)),
    ("POST", "/api/v1/users/me/password", ByCaller(SignIn)),
    ("POST", "/api/v1/auth/step-up", ByCaller(SignIn)),
    ("GET", "/api/v1/users/me/second-factor", ByCaller(Read)),
    ("POST", "/api/v1/users/me/second-factor", ByCaller(SignIn)),
    ("DELETE", "/api/v1/users/me/second-factor", ByCaller(Write)),
    ("POST", "/api/v1/users/me/second-factor/confirm", ByCaller(SignIn)),
    ("DELETE", "/api/v1/users/{id}/second-factor", ByCaller(Write)),
    ("POST", "/api/v1/auth/logout", ByCaller(Write)),
    ("GET", "/api/v1/whoami", ByCaller(Read)),
    ("GET", "/api/v1/sessions", ByCaller(Read)),
    ("DELETE", "/api/v1/sessions", ByCaller(Write)),
    ("DELETE", "/api/v1/sessions/{id}", ByCaller(Write)),
    ("GET", "/api/v1/users/me", ByCaller(Read)),
    ("PATCH", "/api/v1/users/me", ByCaller(Write)),
    ("GET", "/api/v1/users", ByCaller(Read)),
    ("POST", "/api/v1/users", ByCaller(Write)),
    ("GET", "/api/v1/users/{id}", ByCaller(Read)),
    ("POST", "/api/v1/users/{id}/invite", ByCaller(Write)),
    ("POST", "/api/v1/users/{id}/disable", ByCaller(Write)),
    ("POST", "/api/v1/users/{id}/enable", ByCaller(Write)),
    ("PUT", "/api/v1/users/{id}/roles/{name}", ByCaller(Write)),
    ("DELETE", "/api/v1/users/{id}/roles/{name}", ByCaller(Write)),
    ("GET", "/api/v1/role-grants", ByCaller(Read)),
    ("GET", "/api/v1/role-grants/{id}", ByCaller(Read)),
    ("POST", "/api/v1/role-grants/{id}/approve", ByCaller(Write)),
    ("POST", "/api/v1/role-grants/{id}/deny", ByCaller(Write)),
    ("GET", "/api/v1/clients", ByCaller(Read)),
    ("POST", "/api/v1/clients", ByCaller(Write)),
    ("GET", "/api/v1/clients/{name}", ByCaller(Read)),
    ("PATCH", "/api/v1/clients/{name}", ByCaller(Write)),
    ("POST", "/api/v1/clients/{name}/disable", ByCaller(Write)),
    ("POST", "/api/v1/clients/{name}/enable", ByCaller(Write)),
    ("POST", "/api/v1/clients/{name}/keys", ByCaller(Write)),
    ("DELETE", "/api/v1/clients/{name}/keys/{id}", ByCaller(Write)),
    ("GET", "/api/v1/alert-sources", ByCaller(Read)),
    ("POST", "/api/v1/alert-sources", ByCaller(Write)),
    ("GET", "/api/v1/alert-sources/{name}", ByCaller(Read)),
    ("DELETE", "/api/v1/alert-sources/{name}", ByCaller(Write)),
    ("POST", "/api/v1/alert-sources/{name}/disable", ByCaller(Write)),
    ("POST", "/api/v1/alert-sources/{name}/enable", ByCaller(Write)),
    ("POST", "/api/v1/alert-sources/{name}/credentials", ByCaller(Write)),
    ("DELETE", "/api/v1/alert-sources/{name}/credentials/{id}", ByCaller(Write)),
    ("POST", "/api/v1/actions", ByCaller(Heal)),
    ("GET", "/api/v1/actions", ByCaller(Read)),
    ("GET", "/api/v1/actions/{id}", ByCaller(Read)),
    ("GET", "/api/v1/actions/{id}/story", ByCaller(Search)),
    ("POST", "/api/v1/actions/{id}/cancel", ByCaller(Heal)),
    ("POST", "/api/v1/actions/{id}/close", ByCaller(Write)),
    ("POST", "/api/v1/actions/{id}/approve", ByCaller(Write)),
    ("POST", "/api/v1/actions/{id}/deny", ByCaller(Write)),
    ("POST", "/api/v1/actions/{id}/withdraw-approval", ByCaller(Write)),
    ("POST", "/api/v1/actions/{id}/review", ByCaller(Write)),
    ("POST", "/api/v1/actions/{id}/lift-hold", ByCaller(Write)),
    ("GET", "/api/v1/approvals", ByCaller(Read)),
    ("GET", "/api/v1/holds", ByCaller(Read)),
    ("GET", "/api/v1/reviews", ByCaller(Read)),
    ("GET", "/api/v1/decisions/{id}", ByCaller(Read)),
    ("POST", "/api/v1/policy/evaluate", ByCaller(Heal)),
    ("POST", "/api/v1/policy/validate", ByCaller(Search)),
    ("POST", "/api/v1/policy/check", ByCaller(Search)),
    ("POST", "/api/v1/policy/diff", ByCaller(Search)),
    ("POST", "/api/v1/policy/test", ByCaller(Search)),
    ("POST", "/api/v1/policy/who-can", ByCaller(Search)),
    ("POST", "/api/v1/policy/simulate", ByCaller(Search)),
    ("POST", "/api/v1/policy/replay", ByCaller(Search)),
    ("POST", "/api/v1/policy/sync", ByCaller(Write)),
    ("GET", "/api/v1/policy/usage", ByCaller(Search)),
    ("GET", "/api/v1/policies", ByCaller(Read)),
    ("GET", "/api/v1/policies/{name}", ByCaller(Read)),
    ("PUT", "/api/v1/policies/{name}", ByCaller(Write)),
    ("GET", "/api/v1/policies/{name}/versions/{version}", ByCaller(Read)),
    ("POST", "/api/v1/policies/{name}/activate", ByCaller(Write)),
    ("POST", "/api/v1/policies/{name}/deactivate", ByCaller(Write)),
    ("POST", "/api/v1/policies/{name}/release", ByCaller(Write)),
    ("GET", "/api/v1/audit/entries", ByCaller(Search)),
    ("GET", "/api/v1/audit/entries/{id}", ByCaller(Read)),
    ("GET", "/api/v1/audit/entries/{id}/evidence", ByCaller(Read)),
    ("GET", "/api/v1/audit/export", ByCaller(Export)),
    ("GET", "/api/v1/audit/policies", ByCaller(Search)),
    ("GET", "/api/v1/audit/roles", ByCaller(Search)),
    ("GET", "/api/v1/audit/tail", ByCaller(Read)),
    ("GET", "/api/v1/audit/log/keys", ByCaller(Read)),
    ("GET", "/api/v1/audit/log/checkpoint", ByCaller(Read)),
    ("GET", "/api/v1/audit/log/consistency", ByCaller(Read)),
    ("GET", "/api/v1/audit/log/tile/{*path}", ByCaller(Read)),
    ("GET", "/api/v1/webhooks", ByCaller(Read)),
    ("GET", "/api/v1/webhooks/{name}", ByCaller(Read)),
    ("PUT", "/api/v1/webhooks/{name}", ByCaller(Write)),
    ("DELETE", "/api/v1/webhooks/{name}", ByCaller(Write)),
    ("POST", "/api/v1/webhooks/{name}/rotate-secret", ByCaller(Write)),
    ("POST", "/api/v1/webhooks/{name}/test", ByCaller(Write)),
    ("GET", "/api/v1/webhooks/{name}/deliveries", ByCaller(Read)),
    ("GET", "/api/v1/webhooks/{name}/deliveries/{id}", ByCaller(Read)),
    ("POST", "/api/v1/webhooks/{name}/deliveries/{id}/redeliver", ByCaller(Write)),
];

type Methods = HashMap<&'static str, Rule>;

/// By path, then by method.
static RULES: LazyLock<HashMap<&'static str, Methods>> = LazyLock::new(|| {
    let mut rules: HashMap<_, Methods> = HashMap::new();
    for (method, path, rule) in TABLE {
        rules.entry(*path).or_default().insert(method, *rule);
    }
    rules
});

/// The rule of a request; `path` is that of its route, none where there is no such route.
pub(super) fn rule(method: &Method, path: Option<&str>) -> Rule {
    let Some(path) = path else { return ByAddress(Public) };
    // What answers GET answers HEAD.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    match RULES.get(path) {
        Some(methods) => methods.get(method).copied().unwrap_or(ByAddress(Public)),
        None => ByCaller(Write),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_has_a_throttle_class_or_is_exempt() {
        let mut listed = BTreeSet::new();
        for (method, path, _) in TABLE {
            assert!(listed.insert(format!("{method} {path}")), "{method} {path} stands twice");
        }
        let description = serde_json::to_value(super::super::super::description()).unwrap();
        let mut routes = BTreeSet::from(["GET /api/v1/openapi.json".to_owned()]);
        for (path, operations) in description["paths"].as_object().unwrap() {
            // As the router has it.
            let path = path.replace("{path}", "{*path}");
            routes.extend(
                operations
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|method| format!("{} {path}", method.to_uppercase())),
            );
        }
        assert_eq!(listed, routes, "a route is missing in the table (right), or is there no more (left)");
    }

    #[test]
    fn what_stands_in_no_table_is_throttled_all_the_same() {
        for (method, path, expected) in [
            (Method::GET, None, ByAddress(Public)),
            (Method::PUT, Some("/api/v1/actions"), ByAddress(Public)),
            (Method::HEAD, Some("/api/v1/actions"), ByCaller(Read)),
            (Method::GET, Some("/api/v1/new"), ByCaller(Write)),
        ] {
            assert_eq!(rule(&method, path), expected, "{method} {path:?}");
        }
    }
}
