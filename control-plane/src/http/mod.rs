//! The HTTP API: routes, what they take and what they answer. Knows use cases, never the store.

mod account;
mod actions;
mod alert_sources;
mod approvals;
mod audit_entries;
mod audit_export;
mod audit_filter;
mod audit_log;
mod audit_past;
mod audit_tail;
mod auth;
mod call;
mod clients;
mod decisions;
mod error;
mod etag;
mod health;
mod holds;
mod large;
mod oidc;
mod page;
mod policies;
mod policy_history;
mod policy_tools;
mod recovery;
mod reviews;
mod role_grants;
mod second_factor;
mod sessions;
mod step_up;
mod story;
mod throttle;
mod users;
mod webhooks;

use std::sync::Arc;

use aegis_contract::strict::Limits;
use aegis_runtime::http::with_problems;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Services;

/// Handlers take the services from here.
type Shared = Arc<Services>;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Aegis control plane",
        description = "Changes to production only as far as written policy allows, with evidence. \
                       Errors are RFC 9457 problems with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "actions", description = "Ask for a change to one workload, and learn what became of it"),
        (name = "approvals", description = "People who agree to actions, or do not"),
        (name = "policies", description = "What may be done: documents, versions, what is active"),
        (name = "decisions", description = "What policy said, and why"),
        (name = "audit", description = "Everything that happened"),
        (name = "clients", description = "Automation, what bounds it, and its keys"),
        (name = "alert-sources", description = "What sends alerts, and what it proves itself with"),
        (name = "webhooks", description = "Who outside is told what happens, and what they were told"),
        (name = "people", description = "Who may sign in, and the roles they hold"),
        (name = "sign-in", description = "Who is calling, and their sessions"),
        (name = "health", description = "Whether it works"),
    ),
    // Its path has slashes, which a description cannot say of a parameter: `routes` adds the route itself.
    paths(audit_log::tile),
    security(("token" = []), ("signature" = [])),
    modifiers(&Security),
)]
struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let signature = ApiKeyValue::with_description(
            "Signature",
            "HTTP Message Signatures (RFC 9421): one signature labelled `aegis` over @method, @authority, @path, \
             @query, content-digest and, when sent, idempotency-key.",
        );
        components.add_security_scheme("signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    }
}

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(actions::request, actions::list))
        .routes(routes!(actions::find))
        .routes(routes!(actions::cancel))
        .routes(routes!(actions::close))
        .routes(routes!(holds::list))
        .routes(routes!(holds::lift))
        .routes(routes!(story::tell))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::deny))
        .routes(routes!(approvals::withdraw))
        .routes(routes!(policies::list))
        .routes(routes!(policies::find_version))
        .routes(routes!(policies::activate))
        .routes(routes!(policies::deactivate))
        .routes(routes!(policy_history::release))
        .routes(routes!(policy_history::usage))
        .routes(routes!(policies::schema))
        .routes(routes!(reviews::list))
        .routes(routes!(reviews::review))
        .routes(routes!(decisions::evaluate))
        .routes(routes!(decisions::find))
        .routes(routes!(audit_entries::list))
        .routes(routes!(audit_entries::find))
        .routes(routes!(audit_export::export))
        .routes(routes!(audit_past::policies))
        .routes(routes!(audit_past::roles))
        .routes(routes!(audit_tail::follow))
        .routes(routes!(audit_log::evidence))
        .routes(routes!(audit_log::keys))
        .routes(routes!(audit_log::checkpoint))
        .route("/api/v1/audit/log/tile/{*path}", get(audit_log::tile))
        .routes(routes!(audit_log::consistency))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::find, webhooks::store, webhooks::delete))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::list_deliveries))
        .routes(routes!(webhooks::find_delivery))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(clients::list, clients::create))
        .routes(routes!(clients::find, clients::change))
        .routes(routes!(clients::disable))
        .routes(routes!(clients::enable))
        .routes(routes!(clients::add_key))
        .routes(routes!(clients::revoke_key))
        .routes(routes!(alert_sources::list, alert_sources::create))
        .routes(routes!(alert_sources::find, alert_sources::delete))
        .routes(routes!(alert_sources::disable))
        .routes(routes!(alert_sources::enable))
        .routes(routes!(alert_sources::add_credential))
        .routes(routes!(alert_sources::revoke_credential))
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(oidc::begin))
        .routes(routes!(oidc::come_back))
        .routes(routes!(oidc::redeem))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::whoami))
        .routes(routes!(sessions::list, sessions::end_all))
        .routes(routes!(sessions::end))
        .routes(routes!(auth::accept_invitation))
        .routes(routes!(recovery::forgot_password))
        .routes(routes!(recovery::reset_password))
        .routes(routes!(recovery::ask_for_account))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::find))
        .routes(routes!(users::invite))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(users::grant_role, users::withdraw_role))
        .routes(routes!(role_grants::list))
        .routes(routes!(role_grants::find))
        .routes(routes!(role_grants::approve))
        .routes(routes!(role_grants::deny))
        .routes(routes!(account::find, account::change))
        .routes(routes!(account::change_password))
        .routes(routes!(second_factor::step_up))
        .routes(routes!(second_factor::show, second_factor::begin, second_factor::remove))
        .routes(routes!(second_factor::confirm))
        .routes(routes!(second_factor::reset))
        .routes(routes!(health::look))
        .routes(routes!(health::ping))
        .routes(routes!(health::ready))
        .layer(DefaultBodyLimit::max(Limits::WIRE.bytes_max))
        .merge(large_routes())
}

/// Routes that take whole policies.
fn large_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(policies::store, policies::find))
        .routes(routes!(policies::validate))
        .routes(routes!(policy_tools::check))
        .routes(routes!(policy_tools::diff))
        .routes(routes!(policy_tools::test))
        .routes(routes!(policy_tools::who_can))
        .routes(routes!(policy_tools::simulate))
        .routes(routes!(policy_history::replay))
        .routes(routes!(policy_history::sync))
        .layer(DefaultBodyLimit::max(Limits::POLICY.bytes_max))
        .layer(from_fn_with_state(large::Turns::default(), large::one_of_few))
}

/// The description of the API.
pub fn description() -> OpenApi {
    routes().into_openapi()
}

/// All routes with what they work with.
pub fn router(services: Shared) -> Router {
    let (router, description) = routes().split_for_parts();
    let text = serde_json::to_string(&description).expect("a description is plain JSON");
    let router = router
        .route("/api/v1/openapi.json", get(|| async move { ([(CONTENT_TYPE, "application/json")], text) }))
        .with_state(Arc::clone(&services));
    with_problems(router).layer(from_fn_with_state(services, throttle::throttle))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To renew it: `cargo run -p aegis-control-plane -- openapi > docs/api/openapi.json`
    #[test]
    fn the_published_description_is_the_present_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api/openapi.json");
        let published = std::fs::read_to_string(path).unwrap();
        let published: serde_json::Value = serde_json::from_str(&published).unwrap();
        assert_eq!(serde_json::to_value(description()).unwrap(), published, "renew it as said above");
    }
}
