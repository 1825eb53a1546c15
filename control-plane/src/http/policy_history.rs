//! `/api/v1/policy/replay`, `/api/v1/policy/usage` and `/api/v1/policy/sync`.

use aegis_contract::ids::EntryId;
use aegis_contract::problem::Problem;
use aegis_policy::{ReplayReport, Use};
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::policy_tools::ProposalBody;
use crate::service::history::{self, ReplayDone, RuleUse, Span};
use crate::service::policies::sync::{self, Sync, Synced};
use crate::service::proposals::read_documents;

/// What to decide again.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReplayRequest)]
pub(super) struct ReplayBody {
    /// Decisions from this instant on …
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// … until before this one; now when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    until: Option<Timestamp>,
    /// The policies that decide again.
    #[serde(default)]
    proposal: ProposalBody,
}

/// What came of a replay.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replayed)]
pub(super) struct ReplayedBody {
    /// The audit entry that holds the counts; an activation can name it.
    #[schema(value_type = uuid::Uuid)]
    entry_id: EntryId,
    report: ReplayReport,
}

/// Decide every stored decision of a span again by other policies.
#[utoipa::path(
    post, path = "/api/v1/policy/replay", operation_id = "replayDecisions", tag = "policies",
    request_body = ReplayBody,
    responses(
        (status = 200, description = "What would have been decided otherwise", body = ReplayedBody),
        (status = 422, description = "`too-much`: ask for a shorter span", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replay(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<ReplayedBody>, Failure> {
    let ReplayBody { since, until, proposal } = call.large_json()?;
    let span = span(since, until);
    let ReplayDone { entry_id, report } =
        history::replay(&services, &call.caller, span, &proposal.into()).await?;
    Ok(Json(ReplayedBody { entry_id, report }))
}

fn span(since: Timestamp, until: Option<Timestamp>) -> Span {
    Span { since, until: until.unwrap_or_else(aegis_runtime::clock::now) }
}

/// The span that is looked at.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// Decisions from this instant on …
    #[param(value_type = String, format = DateTime)]
    since: Timestamp,
    /// … until before this one; now when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// How the rules were used.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Usage)]
pub(super) struct UsageBody {
    /// Every rule that is active, by policy and as ordered in it.
    rules: Vec<RuleUseBody>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RuleUse)]
struct RuleUseBody {
    policy: String,
    version: u32,
    rule: String,
    /// How many decisions it decided; in a policy in mode `warn` or `shadow`, how many it would have changed.
    decisions: u64,
    /// When it last did; null when it never did.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// See which rules of the active policies decided, and when last.
#[utoipa::path(
    get, path = "/api/v1/policy/usage", operation_id = "policyUsage", tag = "policies", params(UsageQuery),
    responses(
        (status = 200, description = "Every rule that is active", body = UsageBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn usage(State(services): State<Shared>, call: Call) -> Result<Json<UsageBody>, Failure> {
    let UsageQuery { since, until } = call.query()?;
    let uses = history::usage(&services, &call.caller, span(since, until)).await?;
    let body = |RuleUse { rule, version, used }: RuleUse| RuleUseBody {
        policy: rule.policy,
        version,
        rule: rule.rule,
        decisions: used.map_or(0, |Use { decisions, .. }| decisions),
        last_used_at: used.map(|used| used.last_used_at),
    };
    Ok(Json(UsageBody { rules: uses.into_iter().map(body).collect() }))
}

/// Everything that shall be active.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SyncRequest)]
pub(super) struct SyncBody {
    /// Names the source of the policies, for example a repository. They are read-only elsewhere.
    managed_by: String,
    /// Every policy that shall be active.
    #[schema(value_type = Vec<Object>)]
    documents: Vec<Value>,
    /// The entry of a replay that was looked at before.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>, nullable = false)]
    replay: Option<EntryId>,
    /// Whether only to say what would be done.
    #[serde(default)]
    plan: bool,
}

/// Make the active policies equal a folder, in one step.
#[utoipa::path(
    post, path = "/api/v1/policy/sync", operation_id = "syncPolicies", tag = "policies",
    request_body = SyncBody,
    responses(
        (status = 200, description = "What was done, or would be", body = Synced),
        (status = 409, description = "`policy-managed`: another sync has one of them; `replay-required`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`policy-invalid`, `policy-tests-failed`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Nothing was done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn sync(State(services): State<Shared>, call: Call) -> Result<Json<Synced>, Failure> {
    let SyncBody { managed_by, documents, replay, plan } = call.large_json()?;
    call.caller.require(crate::permission::Permission::WritePolicies)?;
    let documents = read_documents(documents).await?.into_iter().map(|(_, policy)| policy).collect();
    let wanted = Sync { managed_by, documents, replay, is_plan: plan };
    Ok(Json(sync::sync(&services, &call.caller, wanted).await?))
}

/// Let a policy be changed by hand again, until the next sync.
#[utoipa::path(
    post, path = "/api/v1/policies/{name}/release", operation_id = "releasePolicy", tag = "policies",
    params(("name" = String, Path, description = "The policy")),
    responses(
        (status = 204, description = "It belongs to no sync"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn release(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<http::StatusCode, Failure> {
    call.no_body()?;
    sync::release(&services, &call.caller, &name).await?;
    Ok(http::StatusCode::NO_CONTENT)
}
