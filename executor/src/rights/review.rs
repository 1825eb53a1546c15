//! The review at start: the executor asks the API server what its own accounts may do, and does not
//! run with more than the table. Until the API server has answered, no order is taken.

use std::time::Duration;

use aegis_contract::problem::Problem;
use aegis_runtime::http::ProblemResponse;
use aegis_runtime::shutdown::Shutdown;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::sync::watch;

use super::reviewer::{ExcessError, ReviewError, Reviewer};

/// Pause before an API server that did not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Says whether the review is over. Clones share one answer.
#[derive(Clone, Debug)]
pub(crate) struct Reviewed(watch::Receiver<bool>);

impl Reviewed {
    /// Returns once orders may be taken.
    pub(crate) async fn wait(&self) {
        if self.0.clone().wait_for(|reviewed| *reviewed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets nothing but the sign of life through until orders may be taken.
    pub(crate) fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), hold_back))
    }
}

async fn hold_back(State(reviewed): State<Reviewed>, request: Request, next: Next) -> Response {
    if *reviewed.0.borrow() || request.uri().path() == "/health/ping" {
        return next.run(request).await;
    }
    let detail = "the executor cannot yet ask the API server what its own rights are; send it again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "rights-unreviewed").with_detail(detail);
    ProblemResponse(problem).into_response()
}

/// Lets orders through once the rights are as they should be.
pub(crate) struct Review {
    reviewer: Reviewer,
    namespaces: Vec<String>,
    reviewed: watch::Sender<bool>,
}

impl Review {
    /// A review for these allowed namespaces. With the dangerous switch orders are taken at once.
    pub(crate) fn new(reviewer: Reviewer, namespaces: Vec<String>) -> (Self, Reviewed) {
        let (reviewed, receiver) = watch::channel(reviewer.dangerous_allow_excess());
        (Self { reviewer, namespaces, reviewed }, Reviewed(receiver))
    }

    /// Asks until the API server has answered everything, then lets orders through or refuses to run.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), ExcessError> {
        let mut was_failing = false;
        loop {
            match self.reviewer.review(&self.namespaces).await {
                Ok(()) => break,
                Err(ReviewError::Excess(excess)) => return Err(excess),
                Err(error @ ReviewError::Unanswered(..)) if !was_failing => {
                    was_failing = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the executor's rights are not known; no order is taken before"
                    );
                }
                Err(ReviewError::Unanswered(..)) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = shutdown.wait() => return Ok(()),
            }
        }
        self.reviewed.send_replace(true);
        Ok(())
    }
}
