//! What a service gives its callers at most, so that the numbers, the size or the slowness of some do not stop the
//! others.

use std::time::Duration;

use super::address::Proxies;

/// Most headers of a request; hyper answers more with 431.
pub(super) const HEADERS_MAX: usize = 100;
/// Most bytes of a request's head, and of what is read ahead; hyper answers more with 431.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The bounds of one service. Bodies are bounded by their routes.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once; of trusted proxies as many as of all.
    pub connections_per_address_max: usize,
    /// Who is believed to say whom a request comes from.
    pub proxies: Proxies,
    /// Requests worked on at once, until the head of their answer; those about health and metrics do not count.
    pub requests_max: usize,
    /// How long a connection may take to bring the whole head of its next request. Waiting without a byte and
    /// bringing one now and then cost the same, so that one bound is for both.
    pub idle: Duration,
    /// How long a body may take to arrive whole, and how long an answer may wait for its reader to take a piece.
    pub slow: Duration,
    /// How long a request may be worked on, until the head of its answer.
    pub request: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_address_max: 1_024,
            proxies: Proxies::default(),
            requests_max: 1_024,
            // Longer than clients commonly keep a connection that they do not use (90 s), so that they close it.
            idle: Duration::from_secs(100),
            slow: Duration::from_secs(30),
            // A replay of many decisions may take two and a half minutes.
            request: Duration::from_secs(180),
        }
    }
}
