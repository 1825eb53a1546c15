//! What the executor counts.

use std::sync::atomic::AtomicU64;

use aegis_contract::action::ActionType;
use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_runtime::clock;
use aegis_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Counters of refusals and outcomes, and where it stands to the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutorMetrics {
    refused: Family<RefusedLabels, Counter>,
    ended: Family<EndedLabels, Counter>,
    log_entries: Gauge<u64, AtomicU64>,
    log_verified_at: Gauge,
    log_forked: Gauge,
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
        metrics.register(
            "log_head_entries",
            "Entries of the newest head of the audit log that was verified",
            counters.log_entries.clone(),
        );
        metrics.register(
            "log_head_verified_timestamp_seconds",
            "When a checkpoint of the audit log was last verified; more than 60 s ago is an alarm",
            counters.log_verified_at.clone(),
        );
        metrics.register(
            "log_forked",
            "1 once the audit log was found to have two histories: nothing is begun",
            counters.log_forked.clone(),
        );
        counters
    }

    /// Notes that a checkpoint was verified, and how many entries the newest has.
    pub(crate) fn note_log_head(&self, entries: u64) {
        self.log_entries.set(entries);
        self.log_verified_at.set(clock::now().as_second());
    }

    /// Notes whether the log is forked.
    pub(crate) fn set_log_forked(&self, is_forked: bool) {
        self.log_forked.set(is_forked.into());
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
