//! Errors of use cases as HTTP answers: the one map, and it is exhaustive.

use aegis_contract::problem::Problem;
use aegis_runtime::http::ProblemResponse;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::approvals::GroupBody;
use crate::error::{Denial, Error};

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        log(&self.0);
        let status = status(&self.0);
        let retry_after = retry_after(&self.0);
        let mut response = ProblemResponse(problem(self.0)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Signature"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Faults of ours, once; what callers did wrong is in the request's own line.
fn log(error: &Error) {
    let source = error as &dyn std::error::Error;
    match error {
        Error::Internal(_) => tracing::error!(error = source, "a request failed"),
        Error::AuditUnavailable(_) | Error::OutcomeUnknown { .. } => {
            tracing::warn!(error = source, "the database did not take a request");
        }
        _ => {}
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) | Error::Parameter { .. } | Error::IdempotencyKeyRequired => {
            StatusCode::BAD_REQUEST
        }
        Error::Unauthenticated
        | Error::SignInFailed
        | Error::CodeRequired
        | Error::SignatureInvalid { .. } => StatusCode::UNAUTHORIZED,
        Error::Forbidden { .. }
        | Error::OutsideScope { .. }
        | Error::PolicyDenied { .. }
        | Error::FourEyes(_)
        | Error::PasswordWrong
        | Error::FlowUnknown
        | Error::SignInDeclined
        | Error::IdentityRefused
        | Error::NoRole
        | Error::EmailUnverified
        | Error::CodeWrong
        | Error::StepUpRequired
        | Error::SecondFactorNeeded
        | Error::SignInAgain { .. }
        | Error::InvitationInvalid
        | Error::ResetInvalid
        | Error::MailOff
        | Error::SignUpOff
        | Error::TargetOnHold { .. }
        | Error::NotAReviewer
        | Error::NotAnApprover => StatusCode::FORBIDDEN,
        Error::NotFound { .. } | Error::SingleSignOnAbsent => StatusCode::NOT_FOUND,
        Error::NonceReplayed
        | Error::IdempotencyKeyReused
        | Error::InProgress
        | Error::NotCancellable { .. }
        | Error::NotClosable { .. }
        | Error::NothingToReview
        | Error::NotOnHold
        | Error::NotAwaitingApproval { .. }
        | Error::ApprovalChanged
        | Error::NotInvitable
        | Error::UserDisabled
        | Error::LastAdmin
        | Error::EmailTaken
        | Error::RoleFromClaims
        | Error::GrantNotWaiting { .. }
        | Error::AlreadyExists(_)
        | Error::ReplayRequired { .. }
        | Error::PolicyManaged { .. } => StatusCode::CONFLICT,
        Error::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Error::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Error::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Error::PolicyInvalid(_)
        | Error::PolicyTestsFailed(_)
        | Error::TooMuch
        | Error::TargetKind(_)
        | Error::UnknownCluster(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Error::Busy | Error::GuessingSlowed { .. } | Error::RateLimited { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Error::ExecutorUnavailable { .. }
        | Error::ProviderUnavailable
        | Error::ClockSkewed
        | Error::DatabaseFull
        | Error::LogForked
        | Error::StateNotInLog { .. }
        | Error::AuditUnavailable(_)
        | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// After how many seconds it is worth asking again.
fn retry_after(error: &Error) -> Option<u64> {
    match (error, status(error)) {
        (Error::PolicyDenied { denial, .. }, _) => denial.retry_after_seconds,
        (Error::GuessingSlowed { seconds }, _) => Some(*seconds),
        (Error::RateLimited { retry_after_seconds, .. }, _) => Some(*retry_after_seconds),
        (_, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => Some(1),
        _ => None,
    }
}

fn problem(error: Error) -> Problem {
    let mut problem = Problem::new(status(&error), error.code());
    // The text of `Internal` is ours alone.
    if !matches!(error, Error::Internal(_)) {
        problem.detail = Some(error.to_string());
    }
    problem.extensions = extensions(&error);
    if let Error::Invalid(errors) | Error::PolicyInvalid(errors) | Error::PolicyTestsFailed(errors) = error {
        problem.errors = errors;
    }
    problem
}

fn extensions(error: &Error) -> Map<String, Value> {
    let members = match error {
        Error::PolicyDenied { action_id, decision_id, denial } => {
            let mut members = denial_members(denial);
            if let Some(action_id) = action_id {
                members["actionId"] = json!(action_id);
            }
            members["decisionId"] = json!(decision_id);
            members
        }
        Error::TargetOnHold { action_id, decision_id, .. } => {
            json!({ "actionId": action_id, "decisionId": decision_id })
        }
        Error::SignatureInvalid { server_time: Some(time) } => json!({ "serverTime": time }),
        Error::PolicyManaged { by, .. } => json!({ "managedBy": by }),
        Error::RateLimited { retry_after_seconds, .. } => json!({ "retryAfterSeconds": retry_after_seconds }),
        Error::OutcomeUnknown { action_id: Some(id) } => json!({ "actionId": id }),
        Error::NotCancellable { state }
        | Error::NotClosable { state }
        | Error::NotAwaitingApproval { state } => json!({ "state": state }),
        Error::GrantNotWaiting { state } => json!({ "state": state }),
        _ => json!({}),
    };
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What is said of a denial; what is not known is left out.
fn denial_members(denial: &Denial) -> Value {
    let mut members = json!({ "reason": denial.reason });
    if let Some(seconds) = denial.retry_after_seconds {
        members["retryAfterSeconds"] = json!(seconds);
    }
    if !denial.limits.is_empty() {
        members["limits"] = json!(denial.limits);
    }
    if !denial.approvals.is_empty() {
        let groups: Vec<GroupBody> = denial.approvals.iter().cloned().map(GroupBody::from).collect();
        members["approvals"] = json!(groups);
    }
    if let Some(miss) = &denial.nearest_miss {
        members["nearestMiss"] = json!(miss);
        members["nearestMiss"]["message"] = json!(miss.to_string());
    }
    members
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::ActionState;
    use aegis_contract::ids::{ActionId, DecisionId};
    use aegis_policy::{Miss, NearMiss};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::service::approvals::Group;

    fn all() -> Vec<Error> {
        let text = || "x".to_owned();
        vec![
            Error::Invalid(vec![]),
            Error::Parameter { name: "limit", message: text() },
            Error::TooLarge,
            Error::TooSlow,
            Error::PolicyInvalid(vec![]),
            Error::PolicyTestsFailed(vec![]),
            Error::FourEyes("x"),
            Error::ReplayRequired { reason: "x" },
            Error::PolicyManaged { name: text(), by: text() },
            Error::TooMuch,
            Error::TargetKind(text()),
            Error::UnknownCluster(text()),
            Error::Unauthenticated,
            Error::SignInFailed,
            Error::CodeRequired,
            Error::CodeWrong,
            Error::StepUpRequired,
            Error::SecondFactorNeeded,
            Error::SignInAgain { minutes: 10 },
            Error::GuessingSlowed { seconds: 4 },
            Error::InvitationInvalid,
            Error::ResetInvalid,
            Error::MailOff,
            Error::SignUpOff,
            Error::NotInvitable,
            Error::UserDisabled,
            Error::LastAdmin,
            Error::GrantNotWaiting { state: "denied" },
            Error::SingleSignOnAbsent,
            Error::FlowUnknown,
            Error::SignInDeclined,
            Error::IdentityRefused,
            Error::ProviderUnavailable,
            Error::NoRole,
            Error::EmailTaken,
            Error::EmailUnverified,
            Error::RoleFromClaims,
            Error::PasswordWrong,
            Error::SignatureInvalid { server_time: Some(Timestamp::UNIX_EPOCH) },
            Error::Forbidden { permission: "read-audit" },
            Error::OutsideScope { action: text(), resource: text() },
            Error::NotFound { what: "action" },
            Error::PolicyDenied {
                action_id: Some(ActionId(Uuid::nil())),
                decision_id: DecisionId(Uuid::nil()),
                denial: Box::new(Denial {
                    reason: text(),
                    retry_after_seconds: Some(60),
                    limits: Vec::new(),
                    approvals: vec![Group { role: text(), min: 1, missing: 1, people: None }],
                    nearest_miss: Some(NearMiss {
                        policy: text(),
                        version: 1,
                        rule: text(),
                        missing: vec![Miss::Time],
                    }),
                }),
            },
            Error::NonceReplayed,
            Error::IdempotencyKeyRequired,
            Error::IdempotencyKeyReused,
            Error::InProgress,
            Error::NotCancellable { state: ActionState::Running },
            Error::NotClosable { state: ActionState::Running },
            Error::TargetOnHold {
                action_id: Uuid::nil().into(),
                decision_id: Uuid::nil().into(),
                reason: String::new(),
            },
            Error::NotOnHold,
            Error::NotAReviewer,
            Error::NothingToReview,
            Error::NotAwaitingApproval { state: ActionState::Queued },
            Error::NotAnApprover,
            Error::ApprovalChanged,
            Error::ExecutorUnavailable { cluster: text() },
            Error::PreconditionRequired,
            Error::PreconditionFailed,
            Error::AlreadyExists(text()),
            Error::Busy,
            Error::RateLimited { class: "read", per_minute: 60, retry_after_seconds: 1 },
            Error::ClockSkewed,
            Error::DatabaseFull,
            Error::LogForked,
            Error::StateNotInLog { what: text() },
            Error::AuditUnavailable(None),
            Error::OutcomeUnknown { action_id: Some(ActionId(Uuid::nil())) },
            Error::Internal(anyhow::anyhow!("secret")),
        ]
    }

    /// Codes and statuses are a contract with callers. To change one, change this table with it.
    const TABLE: &str = "
400 invalid
400 invalid-parameter
413 too-large
408 too-slow
422 unsupported
422 policy-tests-failed
403 four-eyes
409 replay-required
409 policy-managed managedBy
422 too-much
422 target-kind
422 unknown-cluster
401 unauthenticated
401 sign-in-failed
401 code-required
403 code-wrong
403 step-up-required
403 second-factor-needed
403 sign-in-again
429 guessing-slowed
403 invitation-invalid
403 reset-invalid
403 mail-off
403 sign-up-off
409 not-invitable
409 user-disabled
409 last-admin
409 grant-not-waiting state
404 single-sign-on-absent
403 flow-unknown
403 sign-in-declined
403 identity-refused
503 provider-unavailable
403 no-role
409 email-taken
403 email-unverified
409 role-from-claims
403 password-wrong
401 signature-invalid serverTime
403 forbidden
403 outside-scope
404 not-found
403 policy-denied actionId approvals decisionId nearestMiss reason retryAfterSeconds
409 nonce-replayed
400 idempotency-key-required
409 idempotency-key-reused
409 in-progress
409 not-cancellable state
409 not-closable state
403 target-on-hold actionId decisionId
409 not-on-hold
403 not-a-reviewer
409 nothing-to-review
409 not-awaiting-approval state
403 not-an-approver
409 approval-changed
503 executor-unavailable
428 precondition-required
412 precondition-failed
409 already-exists
429 too-many-requests
429 rate-limited retryAfterSeconds
503 clock-skewed
503 database-full
503 log-forked
503 state-not-in-log
503 audit-unavailable
503 outcome-unknown actionId
500 internal
";

    #[test]
    fn every_error_has_the_status_code_and_members_of_the_table() {
        let lines: Vec<String> = all()
            .into_iter()
            .map(|error| {
                let problem = problem(error);
                let members: Vec<&str> = problem.extensions.keys().map(String::as_str).collect();
                format!("{} {} {}", problem.status, problem.code, members.join(" ")).trim_end().to_owned()
            })
            .collect();
        assert_eq!(lines, TABLE.trim().lines().collect::<Vec<_>>());
    }

    #[test]
    fn the_text_of_a_fault_of_ours_is_not_shown() {
        let problem = problem(Error::Internal(anyhow::anyhow!("secret")));
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }
}
