//! Reading the body of a request, as far as its route allows and in the time that the edge gives.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;

use super::RequestContext;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than its route takes.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive whole in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended before it, or it was not sent as HTTP wants it.
    #[error("the body was not received whole")]
    Broken,
}

/// Reads a body whole.
///
/// # Errors
/// [`BodyFault`].
pub async fn read_body(request: Request) -> Result<Bytes, BodyFault> {
    let Some(within) = request.extensions().get::<RequestContext>().map(|context| context.body_within) else {
        // Without the edge nobody would have said how long to wait.
        return Err(BodyFault::TooSlow);
    };
    match tokio::time::timeout(within, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(BodyFault::TooLarge),
        Ok(Err(_)) => Err(BodyFault::Broken),
        Err(_) => Err(BodyFault::TooSlow),
    }
}
