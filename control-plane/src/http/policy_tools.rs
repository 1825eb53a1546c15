//! `/api/v1/policy/…`: what policies mean and would change, without anything being decided.

use std::collections::BTreeMap;

use aegis_contract::facts::Facts;
use aegis_contract::problem::Problem;
use aegis_policy::analyse::{Checked, Diff, WhoCan};
use aegis_policy::{Decision, Explanation, RawQuestion, Report, RuleTrace};
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use crate::service::analysis::{self, Simulation};
use crate::service::proposals::{NamedVersion, Proposal};

/// How the policies would differ from those that are active.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Proposal)]
pub(super) struct ProposalBody {
    /// Drafts, each in place of the policy of its name.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    documents: Vec<Value>,
    /// Stored versions, each in place of the active one.
    #[serde(default)]
    versions: Vec<NamedVersionBody>,
    /// Policies that would not be active.
    #[serde(default)]
    without: Vec<String>,
    /// Whether nothing but the documents and versions would be active.
    #[serde(default)]
    whole: bool,
}

/// One stored version.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NamedVersion)]
struct NamedVersionBody {
    name: String,
    version: u32,
}

impl From<ProposalBody> for Proposal {
    fn from(body: ProposalBody) -> Self {
        let versions = body.versions.into_iter();
        Self {
            documents: body.documents,
            versions: versions.map(|of| NamedVersion { name: of.name, version: of.version }).collect(),
            without: body.without,
            is_whole: body.whole,
        }
    }
}

/// Look for rules that do nothing, or not what they seem to.
#[utoipa::path(
    post, path = "/api/v1/policy/check", operation_id = "checkPolicies", tag = "policies",
    request_body = ProposalBody,
    responses(
        (status = 200, description = "Everything that was found, each with a question that shows it", body = Checked),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn check(State(services): State<Shared>, call: Call) -> Result<Json<Checked>, Failure> {
    let proposal: ProposalBody = call.large_json()?;
    Ok(Json(analysis::check(&services, &call.caller, &proposal.into()).await?))
}

/// Show whose access would change.
#[utoipa::path(
    post, path = "/api/v1/policy/diff", operation_id = "diffPolicies", tag = "policies",
    request_body = ProposalBody,
    responses(
        (status = 200, description = "Every change, each with a question that shows it", body = Diff),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn diff(State(services): State<Shared>, call: Call) -> Result<Json<Diff>, Failure> {
    let proposal: ProposalBody = call.large_json()?;
    Ok(Json(analysis::diff(&services, &call.caller, &proposal.into()).await?))
}

/// What came of the tests, by policy.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TestReport)]
pub(super) struct TestBody {
    /// Whether all tests passed.
    passed: bool,
    policies: BTreeMap<String, Report>,
}

/// Run the tests of drafts.
#[utoipa::path(
    post, path = "/api/v1/policy/test", operation_id = "testPolicies", tag = "policies",
    request_body = ProposalBody,
    responses(
        (status = 200, description = "What came of the tests, passed or not", body = TestBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn test(State(services): State<Shared>, call: Call) -> Result<Json<TestBody>, Failure> {
    let proposal: ProposalBody = call.large_json()?;
    let reports = analysis::test(&services, &call.caller, &proposal.into()).await?;
    let passed = reports.iter().all(|(_, report)| report.passed());
    Ok(Json(TestBody { passed, policies: reports.into_iter().collect() }))
}

/// Whose rights are asked for.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = WhoCanQuestion)]
pub(super) struct WhoCanBody {
    /// For example `restart`.
    action: String,
    /// For example `k8s/prod-1/shop/Deployment/web`.
    resource: String,
    /// The policies that answer; those that are active when left out.
    #[serde(default)]
    proposal: ProposalBody,
}

/// Find who may do something now, and under which limits and approvals.
#[utoipa::path(
    post, path = "/api/v1/policy/who-can", operation_id = "whoCan", tag = "policies",
    request_body = WhoCanBody,
    responses(
        (status = 200, description = "The rules that let somebody, and whom of those who are known", body = WhoCan),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn who_can(State(services): State<Shared>, call: Call) -> Result<Json<WhoCan>, Failure> {
    let WhoCanBody { action, resource, proposal } = call.large_json()?;
    let found = analysis::who_can(&services, &call.caller, action, &resource, &proposal.into()).await?;
    Ok(Json(found))
}

/// A question to simulate.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Simulation)]
pub(super) struct SimulateBody {
    /// Who would ask.
    principal: String,
    /// The roles they would hold.
    #[serde(default)]
    roles: Vec<String>,
    action: String,
    resource: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// What the executor would see of the target.
    #[serde(default)]
    #[schema(nullable = false)]
    facts: Option<Facts>,
    /// The time of the decision; now when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    at: Option<Timestamp>,
    /// The policies that answer; those that are active when left out.
    #[serde(default)]
    proposal: ProposalBody,
    /// Whether to tell also of rules that are not about the question.
    #[serde(default)]
    all_rules: bool,
}

/// What would be answered, and how it comes about.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Simulated)]
pub(super) struct SimulatedBody {
    decision: Decision,
    /// What would help against a denial.
    explanation: Explanation,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How each rule stands to the question, with every comparison.
    rules: Vec<RuleTrace>,
}

/// Answer a question with everything that leads to the answer. Nothing is recorded.
#[utoipa::path(
    post, path = "/api/v1/policy/simulate", operation_id = "simulatePolicies", tag = "policies",
    request_body = SimulateBody,
    responses(
        (status = 200, description = "The answer and its trace", body = SimulatedBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn simulate(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<SimulatedBody>, Failure> {
    let SimulateBody { principal, roles, action, resource, params, metadata, facts, at, proposal, all_rules } =
        call.large_json()?;
    let simulation = Simulation {
        question: RawQuestion { principal, roles, action, resource, params, metadata },
        facts,
        at,
        proposal: proposal.into(),
        with_all_rules: all_rules,
    };
    let done = analysis::simulate(&services, &call.caller, simulation).await?;
    let analysis::Simulated { decision, explanation, at, rules } = done;
    Ok(Json(SimulatedBody { decision, explanation, at, rules }))
}
