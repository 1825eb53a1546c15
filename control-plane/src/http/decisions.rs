//! `/api/v1/policy/evaluate` and `/api/v1/decisions`

use aegis_contract::facts::Facts;
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::problem::Problem;
use aegis_policy::{DecidingRule, Effect, JudgedLimit, NearMiss, Obligations, ShadowDecision};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::decisions::{self, BareQuestion};

/// A bare question: what would policy say?
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Question)]
pub(super) struct QuestionBody {
    /// Who would ask; the caller when left out. Anybody else: admin only.
    #[schema(nullable = false)]
    principal: Option<String>,
    /// The roles they would hold; the caller's when left out.
    #[schema(nullable = false)]
    roles: Option<Vec<String>>,
    /// For example `restart`.
    action: String,
    /// For example `k8s/prod-1/shop/Deployment/web`.
    resource: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

/// What policy says.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Evaluation)]
pub(super) struct EvaluationBody {
    decision: Effect,
    decision_id: DecisionId,
    reason: String,
    /// The rules that decided; empty when none applied.
    rules: Vec<DecidingRule>,
    /// What would have to be kept to.
    #[serde(skip_serializing_if = "Obligations::is_empty")]
    #[schema(required = false)]
    obligations: Obligations,
    /// The limits among them, with what is counted now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    limits: Vec<JudgedLimit>,
    /// From when on a DENY would be an ALLOW, if nothing but the time changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    retry_at: Option<Timestamp>,
    /// The rule that came nearest to allowing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    nearest_miss: Option<NearMiss>,
    /// The rules of policies in mode `warn` that would have changed this ALLOW.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<DecidingRule>,
}

/// A decision with everything it was given: enough to take it again.
#[derive(utoipa::ToSchema)]
#[schema(as = Decision, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the service stores")]
pub(super) struct DecisionBody {
    /// `aegis.decision/v1`.
    schema: String,
    id: DecisionId,
    #[schema(nullable = false, required = false)]
    action_id: Option<ActionId>,
    /// Whether it was asked for as a dry run; absent where nothing was to be done.
    #[schema(nullable = false, required = false)]
    dry_run: Option<bool>,
    decision: Effect,
    reason: String,
    rules: Vec<DecidingRule>,
    #[schema(required = false)]
    obligations: Obligations,
    /// The limits among them, with what was counted.
    #[schema(required = false)]
    limits: Vec<JudgedLimit>,
    /// From when on a DENY would be an ALLOW, if nothing but the time changed.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false, required = false)]
    retry_at: Option<Timestamp>,
    #[schema(nullable = false, required = false)]
    nearest_miss: Option<NearMiss>,
    /// The rules of policies in mode `warn` that would have changed this ALLOW.
    #[schema(required = false)]
    warnings: Vec<DecidingRule>,
    /// What the answer would be if the policies in mode `shadow` counted; absent where it would be the
    /// same, and for whoever asked, unless they see all actions.
    #[schema(nullable = false, required = false)]
    shadow: Option<ShadowDecision>,
    #[schema(value_type = String, format = DateTime)]
    decided_at: Timestamp,
    /// The question: principal, roles, action, resource, params, metadata.
    #[schema(value_type = Object)]
    request: Value,
    /// What the executor said of the target; absent when it was not asked.
    #[schema(value_type = Object, required = false)]
    observation: Value,
    /// What the executor saw; null when there was nothing to see.
    facts: Option<Facts>,
    /// The release of the time zone database.
    zone_data_version: String,
    policy_set_digest: String,
    /// Name, version and digest of every active policy.
    #[schema(value_type = Vec<Object>)]
    policy_set: Value,
}

/// Ask what policy says, without any action.
#[utoipa::path(
    post, path = "/api/v1/policy/evaluate", operation_id = "evaluatePolicy", tag = "decisions",
    request_body = QuestionBody,
    responses(
        (status = 200, description = "The decision, allowed or not", body = EvaluationBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn evaluate(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<EvaluationBody>, Failure> {
    let body: QuestionBody = call.json()?;
    let question = BareQuestion {
        principal: body.principal,
        roles: body.roles,
        action: body.action,
        resource: body.resource,
        params: Value::Object(body.params),
        metadata: Value::Object(body.metadata),
    };
    let decided = decisions::evaluate(&services, &call.caller, question).await?;
    Ok(Json(EvaluationBody {
        decision: decided.effect,
        decision_id: decided.decision_id,
        reason: decided.reason,
        rules: decided.decision.rules,
        obligations: decided.decision.obligations,
        limits: decided.limits,
        retry_at: decided.remedy.retry_at,
        nearest_miss: decided.remedy.nearest_miss,
        warnings: decided.decision.warnings,
    }))
}

/// Look at a decision.
#[utoipa::path(
    get, path = "/api/v1/decisions/{id}", operation_id = "getDecision", tag = "decisions",
    params(("id" = uuid::Uuid, Path, description = "The decision")),
    responses(
        (status = 200, description = "The decision as it was stored", body = DecisionBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let id: DecisionId = id.parse().map_err(|_| Error::NotFound { what: "decision" })?;
    let body = decisions::find(&services, &call.caller, id).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
