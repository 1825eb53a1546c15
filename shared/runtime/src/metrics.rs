//! Metrics in the Prometheus text format, and those that every HTTP service has.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// Upper bounds in seconds, 1 ms to 33 s.
const DURATION_BUCKETS: (f64, f64, u16) = (0.001, 2.0, 16);

/// The metrics of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    connections: Gauge,
    connections_refused: Family<ReasonLabels, Counter>,
    tls_unusable: Family<PurposeLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PurposeLabels {
    purpose: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics whose names begin with `aegis_`.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix("aegis"))),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| {
                let (start, factor, length) = DURATION_BUCKETS;
                Histogram::new(exponential_buckets(start, factor, length))
            }),
            connections: Gauge::default(),
            connections_refused: Family::default(),
            tls_unusable: Family::default(),
        };
        metrics.register("http_requests", "Requests answered, by route template", metrics.requests.clone());
        metrics.register(
            "http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            metrics.durations.clone(),
        );
        metrics.register("http_connections", "Connections that are open", metrics.connections.clone());
        metrics.register(
            "http_connections_refused",
            "Connections turned away: too many in all or of one address, or without a good handshake of TLS",
            metrics.connections_refused.clone(),
        );
        metrics.register(
            "tls_files_unusable",
            "1 while files for TLS cannot be used, and what was read of them before is in force",
            metrics.tls_unusable.clone(),
        );
        metrics
    }

    /// Adds a metric. `name` without prefix, and without `_total` for counters.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// Counts one answered request. `route` is the template, never the path.
    pub fn record_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&RouteLabels { method: method.clone(), route: route.clone() })
            .observe(seconds);
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }

    /// Counts a connection that was opened (1) or has ended (-1).
    pub fn count_connection(&self, more: i64) {
        self.connections.inc_by(more);
    }

    /// Whether the files that TLS is to go on with for a purpose cannot be used.
    pub fn set_tls_unusable(&self, purpose: &'static str, is_unusable: bool) {
        self.tls_unusable.get_or_create(&PurposeLabels { purpose }).set(is_unusable.into());
    }

    /// Counts one connection that was turned away.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Everything, as `GET /metrics` answers it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }
}
