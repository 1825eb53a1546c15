//! `POST /v1/orders?wait=SECONDS`

use std::sync::Arc;
use std::time::Duration;

use aegis_contract::code::RefusalCode;
use aegis_contract::order::{NEEDS, WAIT_SECONDS_MAX};
use aegis_contract::problem::Problem;
use aegis_runtime::http::{BodyFault, ProblemResponse, read_body};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;

use crate::execute::{AnswerError, Executor, Patience};
use crate::verify::Refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderQuery {
    /// How long the answer may be held back for the action's end, in seconds.
    #[serde(default)]
    wait: u32,
    /// How many steps the caller knows of: once more are done, it is answered before the end.
    steps: Option<usize>,
}

/// Answers an order with a signed receipt, or a problem when none can be bound to it.
pub(super) async fn answer_order(
    State(executor): State<Arc<Executor>>,
    query: Result<Query<OrderQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let patience = match query {
        Ok(Query(OrderQuery { wait, steps })) if wait <= WAIT_SECONDS_MAX => {
            Patience { time: Duration::from_secs(wait.into()), steps }
        }
        _ => {
            let detail =
                format!("the parameters are wait, in seconds, 0 to {WAIT_SECONDS_MAX}, and steps, a number");
            return Err(ProblemResponse(
                Problem::new(StatusCode::BAD_REQUEST, "query-invalid").with_detail(detail),
            ));
        }
    };
    let answer = match read_body(request).await {
        Ok(body) => executor.answer(&body, patience).await,
        Err(fault) => Err(AnswerError::Refused(unreadable(&fault))),
    };
    match answer {
        Ok(receipt) => {
            let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
            Ok((headers, receipt).into_response())
        }
        Err(error) => {
            if let AnswerError::Refused(refusal) = &error {
                executor.metrics.count_refused(refusal.code);
            }
            Err(problem_of(&error))
        }
    }
}

fn unreadable(fault: &BodyFault) -> Refusal {
    let code = match fault {
        BodyFault::TooLarge => RefusalCode::TooLarge,
        BodyFault::TooSlow | BodyFault::Broken => RefusalCode::EnvelopeMalformed,
    };
    Refusal::new(code, fault.to_string())
}

/// The problem body of an order that was not answered with a receipt.
pub(super) fn problem_of(error: &AnswerError) -> ProblemResponse {
    let unavailable = |code: &str, detail: &str| {
        tracing::error!(error = error as &dyn std::error::Error, code, "order not answered");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code).with_detail(detail)
    };
    ProblemResponse(match error {
        AnswerError::Refused(refusal) => {
            tracing::warn!(code = %refusal.code, message = refusal.message, "order refused");
            let problem = Problem::new(status_of(refusal.code), refusal.code.as_str());
            let mut problem = problem.with_detail(refusal.message.clone());
            if let Some(needs) = refusal.needs {
                problem.extensions.insert(NEEDS.to_owned(), needs.into());
            }
            problem
        }
        AnswerError::Ledger(_) => {
            unavailable("ledger-unavailable", "the ledger cannot be used now; send the same bytes again")
        }
        AnswerError::Cluster(_) => {
            unavailable("cluster-unavailable", "the API server does not answer now; send the order again")
        }
    })
}

fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::EnvelopeMalformed | RefusalCode::ContractUnsupported | RefusalCode::OrderMalformed => {
            StatusCode::BAD_REQUEST
        }
        RefusalCode::KeyUnknown | RefusalCode::SignatureInvalid => StatusCode::UNAUTHORIZED,
        RefusalCode::AttemptMismatch
        | RefusalCode::LedgerChanged
        | RefusalCode::ActionAccepted
        | RefusalCode::NonceReplayed
        | RefusalCode::LogForked
        | RefusalCode::HeadUnknown => StatusCode::CONFLICT,
        RefusalCode::AudienceMismatch
        | RefusalCode::OrderExpired
        | RefusalCode::OrderFromFuture
        | RefusalCode::LifetimeTooLong
        | RefusalCode::NamespaceNotAllowed
        | RefusalCode::ActionNotAllowed
        | RefusalCode::EvidenceMismatch
        | RefusalCode::CheckpointInvalid
        | RefusalCode::EntryNotInLog
        | RefusalCode::TargetAbsent => StatusCode::FORBIDDEN,
    }
}
