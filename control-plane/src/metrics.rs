//! What the control plane counts, besides what every HTTP service does.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use aegis_contract::action::{ActionState, ActionType};
use aegis_policy::Effect;
use aegis_runtime::metrics::Metrics;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::service::decide::Decided;

/// Counters of the use cases. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ControlPlaneMetrics {
    signature_refusals: Family<ReasonLabels, Counter>,
    token_refusals: Family<ReasonLabels, Counter>,
    scope_refusals: Counter,
    sign_ins: Family<ResultLabels, Counter>,
    password_hashes: Family<ResultLabels, Counter>,
    decisions: Family<EffectLabels, Counter>,
    policy_divergences: Family<PolicyLabels, Counter>,
    actions_requested: Family<TypeLabels, Counter>,
    actions_open: Family<StateLabels, Gauge>,
    approval_answers: Family<AnswerLabels, Counter>,
    clock_offset_seconds: Gauge<f64, AtomicU64>,
    break_glass_actions: Counter,
    reviews_open: Family<StateLabels, Gauge>,
    webhook_attempts: Family<ResultLabels, Counter>,
    webhook_deliveries: Family<StateLabels, Gauge>,
    audit_log_entries: Gauge,
    audit_log_sequencing: Gauge,
    audit_log_forked: Gauge,
    audit_log_published_timestamp_seconds: Family<MirrorLabels, Gauge<f64, AtomicU64>>,
    throttle_decisions: Family<ThrottleLabels, Counter>,
    throttle_degraded: Gauge,
    mails: Family<ResultLabels, Counter>,
    mails_waiting: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ThrottleLabels {
    class: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EffectLabels {
    effect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    policy: String,
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MirrorLabels {
    mirror: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What is counted of a decision.
#[derive(Clone, Debug)]
pub struct Tally {
    effect: Effect,
    /// The policies that do not count and would have changed it, each with its mode.
    diverging: BTreeSet<(String, &'static str)>,
    /// Whether nothing but a break-glass rule allows it.
    pub is_break_glass: bool,
}

impl Tally {
    /// That of a decision.
    pub fn of(decided: &Decided) -> Self {
        let diverging = decided.divergences.iter().map(|of| (of.policy.clone(), of.mode)).collect();
        let is_break_glass =
            decided.effect == Effect::Allow && !decided.decision.obligations.break_glass.is_empty();
        Self { effect: decided.effect, diverging, is_break_glass }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answer: &'static str,
}

impl ControlPlaneMetrics {
    /// Makes them part of `metrics`.
    pub fn register(&self, metrics: &Metrics) {
        let Self {
            signature_refusals,
            token_refusals,
            scope_refusals,
            sign_ins,
            password_hashes,
            decisions,
            policy_divergences,
            actions_requested,
            actions_open,
            approval_answers,
            clock_offset_seconds,
            break_glass_actions,
            reviews_open,
            webhook_attempts,
            webhook_deliveries,
            audit_log_entries,
            audit_log_sequencing,
            audit_log_forked,
            audit_log_published_timestamp_seconds,
            throttle_decisions,
            throttle_degraded,
            mails,
            mails_waiting,
        } = self;
        metrics.register(
            "signature_refusals",
            "Signed requests refused, by precise reason",
            signature_refusals.clone(),
        );
        metrics.register(
            "token_refusals",
            "Access tokens refused, by precise reason",
            token_refusals.clone(),
        );
        metrics.register(
            "scope_refusals",
            "Requests of clients refused because they lie outside of their scope",
            scope_refusals.clone(),
        );
        metrics.register("sign_ins", "Attempts to sign in, by result", sign_ins.clone());
        metrics.register(
            "password_hashes",
            "Hashes of passwords that were computed, or refused because too many were waiting",
            password_hashes.clone(),
        );
        metrics.register("decisions", "Decisions recorded, by effect", decisions.clone());
        metrics.register(
            "policy_divergences",
            "Decisions that a policy in mode warn or shadow would have changed",
            policy_divergences.clone(),
        );
        metrics.register(
            "actions_requested",
            "Actions recorded, by type, denied ones included",
            actions_requested.clone(),
        );
        metrics.register("actions_open", "Actions that have not ended, by state", actions_open.clone());
        metrics.register(
            "approval_answers",
            "Answers of people who were asked to approve an action, by answer",
            approval_answers.clone(),
        );
        metrics.register(
            "clock_offset_seconds",
            "How far this machine's clock is ahead of the database's, at the least; negative when behind",
            clock_offset_seconds.clone(),
        );
        metrics.register(
            "break_glass_actions",
            "Actions let through that nothing but a break-glass rule allows",
            break_glass_actions.clone(),
        );
        metrics.register(
            "reviews_open",
            "Break-glass actions that nobody has looked at: waiting, or overdue",
            reviews_open.clone(),
        );
        metrics.register(
            "webhook_attempts",
            "Attempts to tell a webhook something, by result",
            webhook_attempts.clone(),
        );
        metrics.register(
            "webhook_deliveries",
            "What webhooks were not told: waiting to be sent, or given up (dead)",
            webhook_deliveries.clone(),
        );
        metrics.register(
            "audit_log_entries",
            "Entries of the audit log under its newest checkpoint, as the replica knows that sequences it",
            audit_log_entries.clone(),
        );
        metrics.register(
            "audit_log_sequencing",
            "Whether this replica sequences the audit log: one must",
            audit_log_sequencing.clone(),
        );
        metrics.register(
            "audit_log_forked",
            "1 once an executor was found to hold a head that the log never had: nothing is changed any more",
            audit_log_forked.clone(),
        );
        metrics.register(
            "audit_log_published_timestamp_seconds",
            "When a mirror last took the newest checkpoint (Unix time)",
            audit_log_published_timestamp_seconds.clone(),
        );
        metrics.register(
            "throttle_decisions",
            "Requests that a throttle let through (admitted) or turned away (refused), by class",
            throttle_decisions.clone(),
        );
        metrics.register(
            "throttle_degraded",
            "1 while Redis is lost and this replica throttles strictly by itself",
            throttle_degraded.clone(),
        );
        metrics.register(
            "mails",
            "Mails that somebody asked for: taken by the mail server (sent), not taken and tried again (failed), given up \
             when their time was over (given-up), to a recipient that there is not (refused), or for nobody who is to get \
             one (dropped)",
            mails.clone(),
        );
        metrics.register("mails_waiting", "Mails that wait to be sent", mails_waiting.clone());
    }

    /// A signed request was refused.
    pub fn count_signature_refusal(&self, reason: &'static str) {
        self.signature_refusals.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// An access token was refused.
    pub fn count_token_refusal(&self, reason: &'static str) {
        self.token_refusals.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A client asked for what lies outside of its scope.
    pub fn count_scope_refusal(&self) {
        self.scope_refusals.inc();
    }

    /// Somebody tried to sign in.
    pub fn count_sign_in(&self, result: &'static str) {
        self.sign_ins.get_or_create(&ResultLabels { result }).inc();
    }

    /// A hash of a password was computed, or refused.
    pub fn count_password_hash(&self, result: &'static str) {
        self.password_hashes.get_or_create(&ResultLabels { result }).inc();
    }

    /// A decision was recorded. A policy counts once, however many of its rules would have changed it.
    pub fn count_decision(&self, tally: &Tally) {
        self.decisions.get_or_create(&EffectLabels { effect: tally.effect.as_str() }).inc();
        for (policy, mode) in &tally.diverging {
            self.policy_divergences.get_or_create(&PolicyLabels { policy: policy.clone(), mode }).inc();
        }
    }

    /// An action was recorded.
    pub fn count_action(&self, action_type: ActionType) {
        self.actions_requested.get_or_create(&TypeLabels { r#type: action_type.as_str() }).inc();
    }

    /// Somebody answered who was asked to approve an action.
    pub fn count_approval_answer(&self, answer: &'static str) {
        self.approval_answers.get_or_create(&AnswerLabels { answer }).inc();
    }

    /// How far the clock is ahead of the database's.
    pub fn set_clock_offset(&self, seconds: f64) {
        self.clock_offset_seconds.set(seconds);
    }

    /// An action was let through, and people must look at it afterwards.
    pub fn count_break_glass(&self) {
        self.break_glass_actions.inc();
    }

    /// How many actions nobody has looked at who must, in time and overdue.
    pub fn set_open_reviews(&self, waiting: i64, overdue: i64) {
        for (state, count) in [("waiting", waiting), ("overdue", overdue)] {
            self.reviews_open.get_or_create(&StateLabels { state }).set(count);
        }
    }

    /// Something was sent to a webhook.
    pub fn count_webhook_attempt(&self, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.webhook_attempts.get_or_create(&ResultLabels { result }).inc();
    }

    /// How many deliveries wait, and how many are dead.
    pub fn set_webhook_deliveries(&self, waiting: i64, dead: i64) {
        for (state, count) in [("waiting", waiting), ("dead", dead)] {
            self.webhook_deliveries.get_or_create(&StateLabels { state }).set(count);
        }
    }

    /// How many entries the audit log has.
    pub fn set_log_size(&self, size: u64) {
        self.audit_log_entries.set(size.cast_signed());
    }

    /// Whether this process sequences the audit log.
    pub fn set_sequencing(&self, is_sequencing: bool) {
        self.audit_log_sequencing.set(is_sequencing.into());
    }

    /// The audit log has two histories.
    pub fn set_log_forked(&self) {
        self.audit_log_forked.set(1);
    }

    /// A mirror has taken the newest checkpoint.
    pub fn set_published(&self, mirror: String, at: Timestamp) {
        let labels = MirrorLabels { mirror };
        self.audit_log_published_timestamp_seconds.get_or_create(&labels).set(at.as_duration().as_secs_f64());
    }

    /// A throttle has judged a request.
    pub fn count_throttled(&self, class: &'static str, is_admitted: bool) {
        let result = if is_admitted { "admitted" } else { "refused" };
        self.throttle_decisions.get_or_create(&ThrottleLabels { class, result }).inc();
    }

    /// Whether throttles that should be shared are not.
    pub fn set_throttle_degraded(&self, is_degraded: bool) {
        self.throttle_degraded.set(is_degraded.into());
    }

    /// Something became of mails.
    pub fn count_mails(&self, result: &'static str, count: u64) {
        self.mails.get_or_create(&ResultLabels { result }).inc_by(count);
    }

    /// How many mails wait.
    pub fn set_waiting_mails(&self, count: i64) {
        self.mails_waiting.set(count);
    }

    /// How many actions are open now, by state; states that are not listed have none.
    pub fn set_open_actions(&self, counts: &[(ActionState, i64)]) {
        for state in ActionState::ALL.into_iter().filter(|state| !state.is_final()) {
            let count = counts.iter().find(|(counted, _)| *counted == state).map_or(0, |(_, count)| *count);
            self.actions_open.get_or_create(&StateLabels { state: state.as_str() }).set(count);
        }
    }
}
