//! Which routes are throttled how, and what answers say of it: `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-10), the three fields of its earlier drafts that most clients know, and
//! `Retry-After` (RFC 9110 section 10.2.3).
//!
//! Routes that anybody may call are throttled by address, here. All others are throttled where the caller is proven, by
//! principal; whoever is not proven, by address and apart from the others, so that guessing uses up nobody's requests.

mod table;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aegis_runtime::http::address::neighbourhood;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};

use self::table::{Rule, rule};
use super::Shared;
use super::error::Failure;
use crate::error::Error;
use crate::principal::Principal;
use crate::throttle::{Class, Rate, Standing, Subject, Throttles, WINDOW};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What a request still has to pass once its caller is known, or known to be nobody.
#[derive(Clone)]
pub(super) struct Gate {
    throttles: Throttles,
    class: Class,
    address: IpAddr,
    /// How it was judged, for the answer's headers.
    standing: Arc<OnceLock<Standing>>,
}

impl Gate {
    /// That of a request.
    pub(super) fn of(request: &Request) -> Result<Self, Failure> {
        let gate = request.extensions().get::<Self>().cloned();
        Ok(gate.ok_or_else(|| Error::internal(anyhow::anyhow!("a request came past the throttles")))?)
    }

    /// What the request's address counts as.
    pub(super) fn neighbourhood(&self) -> IpAddr {
        neighbourhood(self.address)
    }

    /// Lets a request of a proven caller through. `own` is the principal's own rate, over all classes, if it has one.
    pub(super) async fn admit(&self, caller: &Principal, own: Option<Rate>) -> Result<(), Failure> {
        self.judge(self.class, Subject::Principal(caller), own).await
    }

    /// What is answered to a request without a good proof: why, or that there were too many of them.
    pub(super) async fn refuse(&self, failure: Failure) -> Failure {
        let is_callers = matches!(
            failure.0,
            Error::Unauthenticated
                | Error::SignatureInvalid { .. }
                | Error::Parameter { .. }
                | Error::TooLarge
                | Error::TooSlow
        );
        if !is_callers {
            return failure;
        }
        match self.judge(Class::Refused, Subject::Address(self.address), None).await {
            Ok(()) => failure,
            Err(throttled) => throttled,
        }
    }

    async fn judge(&self, class: Class, subject: Subject<'_>, own: Option<Rate>) -> Result<(), Failure> {
        let standing = self.throttles.admit(class, subject, own).await;
        let refused = standing.retry_after.map(|retry_after| Error::RateLimited {
            class: standing.policy,
            per_minute: standing.rate.get(),
            retry_after_seconds: whole_seconds(retry_after),
        });
        // A request is judged once.
        let _ = self.standing.set(standing);
        refused.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Throttles a request of its route's class, and says in the answer how it stands.
pub(super) async fn throttle(
    State(services): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let rule = rule(request.method(), path.map(MatchedPath::as_str));
    let (class, is_anonymous) = match rule {
        Rule::Exempt => return next.run(request).await,
        Rule::ByAddress(class) => (class, true),
        Rule::ByCaller(class) => (class, false),
    };
    let address = services.proxies.caller(peer.ip(), request.headers());
    let gate = Gate { throttles: services.throttles.clone(), class, address, standing: Arc::default() };
    let judged = match is_anonymous {
        true => gate.judge(class, Subject::Address(address), None).await,
        false => Ok(()),
    };
    let standing = Arc::clone(&gate.standing);
    request.extensions_mut().insert(gate);
    let mut response = match judged {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    if let Some(standing) = standing.get() {
        tell(standing, response.headers_mut());
    }
    response
}

fn tell(standing: &Standing, headers: &mut HeaderMap) {
    let Standing { policy, rate, remaining, full_in, .. } = standing;
    let (limit, window, reset) = (rate.get(), WINDOW.as_secs(), whole_seconds(*full_in));
    for (name, value) in [
        (RATE_LIMIT_POLICY, format!("\"{policy}\";q={limit};w={window}")),
        (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={reset}")),
        (RATE_LIMIT_LIMIT, limit.to_string()),
        (RATE_LIMIT_REMAINING, remaining.to_string()),
        (RATE_LIMIT_RESET, reset.to_string()),
    ] {
        let value = HeaderValue::try_from(value).expect("names and numbers are visible ASCII");
        headers.insert(name, value);
    }
}

/// Seconds after which it is certainly so.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
