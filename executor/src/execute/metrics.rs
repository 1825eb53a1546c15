//! What the executor counts.

use aegis_contract::action::ActionType;
use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Counters of refusals and outcomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutorMetrics {
    refused: Family<RefusedLabels, Counter>,
    ended: Family<EndedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabels {
    action_type: &'static str,
    code: &'static str,
}

impl ExecutorMetrics {
    /// Counters that `metrics` shows; every refusal is there from the start, with zero.
    pub(crate) fn registered(metrics: &Metrics) -> Self {
        let counters = Self::default();
        for code in RefusalCode::ALL {
            drop(counters.refused.get_or_create(&RefusedLabels { code: code.as_str() }));
        }
        metrics.register("orders_refused", "Orders refused, by code", counters.refused.clone());
        metrics.register("actions_ended", "Actions ended, by type and outcome", counters.ended.clone());
        counters
    }

    /// Counts one refused order.
    pub(crate) fn count_refused(&self, code: RefusalCode) {
        self.refused.get_or_create(&RefusedLabels { code: code.as_str() }).inc();
    }

    /// Counts one ended action.
    pub(crate) fn count_ended(&self, action_type: ActionType, code: OutcomeCode) {
        self.ended
            .get_or_create(&EndedLabels { action_type: action_type.as_str(), code: code.as_str() })
            .inc();
    }
}
