//! Whether limits have room. Counting is up to the caller; what follows from what was counted is said
//! here, so that it can be said again years later.

use std::collections::{BTreeMap, BTreeSet};

use aegis_contract::action::ActionType;
use aegis_contract::facts::Facts;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decision::{Cause, Decision, Demanded};
use crate::document::Mode;
use crate::evaluate::Situation;
use crate::obligation::{Limit, Per};
use crate::question::Question;
use crate::set::PolicySet;

/// P42: what was counted for one limit: other actions that share its key, without dry runs and without
/// those that were denied, refused, cancelled or expired, whichever rule let them through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Counted {
    /// For a cooldown.
    Cooldown {
        /// When the newest action within the time was let go ahead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
        last_at: Option<Timestamp>,
    },
    /// For a rate.
    Rate {
        /// How many were let go ahead in the span; not counted beyond the most that are allowed.
        actions: u32,
        /// When the oldest of those was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
        oldest_at: Option<Timestamp>,
    },
    /// For a bound on what is under way.
    Concurrency {
        /// How many are queued, running or unknown; not counted beyond the most that are allowed.
        actions: u32,
    },
    /// For a bound on what is unavailable.
    Unavailable {
        /// Pods the target wants.
        wanted: u32,
        /// Pods it has available.
        available: u32,
        /// Pods of these that the action takes down at one time: at the most, as planned; without a plan at the least.
        takes_down: u32,
    },
    /// For bounds on replicas; without any where the action does not scale.
    Replicas {
        /// Replicas that the target wants; absent where nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u32>,
        /// Replicas that are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u32>,
    },
    /// For a breaker.
    Breaker {
        /// When the newest failure ended that opened it and may still hold it open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
        opened_at: Option<Timestamp>,
    },
    /// Nothing could be counted.
    Unknown {
        /// Why.
        cause: Cause,
    },
}

/// What follows for a limit from what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is room for one more action.
    Room,
    /// There is none.
    Exceeded,
    /// It cannot be said, which counts as exceeded.
    Unknown,
}

/// A limit of a decision with what was counted for it, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JudgedLimit {
    /// The limit, and the rules that demand it.
    #[serde(flatten)]
    pub demanded: Demanded<Limit>,
    /// What the counted actions share with this one, for example `namespace=prod/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was counted.
    pub counted: Counted,
    /// What follows.
    pub verdict: Verdict,
    /// From when on there will be room, as far as time alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub room_at: Option<Timestamp>,
}

impl JudgedLimit {
    /// P42: judges a limit by what was counted up to `now`.
    pub fn new(demanded: Demanded<Limit>, key: Option<String>, counted: Counted, now: Timestamp) -> Self {
        let (verdict, room_at) = judge(&demanded.what, &counted, now);
        Self { demanded, key, counted, verdict, room_at }
    }
}

/// What actions must share to be counted together by some limit of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitKey {
    /// For example `namespace=prod/shop`.
    pub key: String,
    /// Whether a rule with such a limit is about this question.
    pub binds: bool,
}

fn judge(limit: &Limit, counted: &Counted, now: Timestamp) -> (Verdict, Option<Timestamp>) {
    let until = |start: Option<Timestamp>, seconds: u32| {
        let room_at = start.map(|at| after(at, seconds)).filter(|at| *at > now);
        (if room_at.is_some() { Verdict::Exceeded } else { Verdict::Room }, room_at)
    };
    let unless = |has_room| (if has_room { Verdict::Room } else { Verdict::Exceeded }, None);
    match (limit, counted) {
        (Limit::Cooldown { seconds, .. }, Counted::Cooldown { last_at }) => until(*last_at, *seconds),
        (Limit::Rate { seconds, max, .. }, Counted::Rate { actions, oldest_at }) => {
            if actions < max {
                (Verdict::Room, None)
            } else {
                until(*oldest_at, *seconds)
            }
        }
        (Limit::Concurrency { max, .. }, Counted::Concurrency { actions }) => unless(actions < max),
        (
            Limit::Unavailable { max_percent, max_pods, .. },
            Counted::Unavailable { wanted, available, takes_down },
        ) => {
            let down = wanted.saturating_sub(available.saturating_sub(*takes_down));
            let in_percent = |percent| u64::from(down) * 100 <= u64::from(percent) * u64::from(*wanted);
            unless(max_percent.is_none_or(in_percent) && max_pods.is_none_or(|max| down <= max))
        }
        // P46: only what scales is bound.
        (Limit::Replicas { .. }, Counted::Replicas { after: None, .. }) => (Verdict::Room, None),
        (Limit::Replicas { max_step: Some(step), .. }, Counted::Replicas { before, after: Some(after) }) => {
            before.map_or((Verdict::Unknown, None), |before| unless(before.abs_diff(*after) <= *step))
        }
        (Limit::Replicas { min, max, .. }, Counted::Replicas { after: Some(after), .. }) => {
            unless(min.is_none_or(|min| *after >= min) && max.is_none_or(|max| *after <= max))
        }
        (Limit::Breaker { open_seconds, .. }, Counted::Breaker { opened_at }) => {
            until(*opened_at, *open_seconds)
        }
        // P34: what is not known counts as exceeded, and so does what was counted for another limit.
        _ => (Verdict::Unknown, None),
    }
}

fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// P43: what an `unavailable` limit looks at: the plan. Without one, one pod counts as taken down by every action but
/// `scale`, because that is the least any of them does.
pub fn count_unavailable(question: &Question, facts: Option<&Facts>, now: Timestamp) -> Counted {
    let Some(facts) = facts else { return Counted::Unknown { cause: Cause::Missing } };
    if Situation::new(question, Some(facts), now).facts_are_stale() {
        return Counted::Unknown { cause: Cause::Stale };
    }
    if let Some(plan) = &facts.plan {
        return Counted::Unavailable {
            wanted: plan.pods_wanted,
            available: plan.pods_wanted.saturating_sub(plan.pods_unavailable),
            takes_down: plan.pods_unavailable_max.saturating_sub(plan.pods_unavailable),
        };
    }
    let Some(wanted) = facts.replicas else { return Counted::Unknown { cause: Cause::Missing } };
    let takes_down = u32::from(question.action() != ActionType::Scale.as_str());
    Counted::Unavailable { wanted, available: facts.available_replicas, takes_down }
}

/// P46: what a `replicas` limit looks at: the replicas that the target wants, and those that are asked for.
pub fn count_replicas(question: &Question, facts: Option<&Facts>, now: Timestamp) -> Counted {
    if question.action() != ActionType::Scale.as_str() {
        return Counted::Replicas { before: None, after: None };
    }
    let asked_for = question.params().get("replicas").and_then(Value::as_u64);
    let Some(after) = asked_for.and_then(|after| u32::try_from(after).ok()) else {
        return Counted::Unknown { cause: Cause::Missing };
    };
    let is_stale = Situation::new(question, facts, now).facts_are_stale();
    let before = facts.filter(|_| !is_stale).and_then(|facts| facts.replicas);
    Counted::Replicas { before, after: Some(after) }
}

/// P42, P37: why an ALLOW is a DENY all the same: a limit has no room, or only a dry run is allowed.
/// `dry_run` is absent where nothing is to be done at all.
pub fn obstacle(decision: &Decision, dry_run: Option<bool>, limits: &[JudgedLimit]) -> Option<String> {
    if decision.obligations.dry_run_only && dry_run == Some(false) {
        return Some(format!("DRY_RUN_ONLY: {}", decision.reason));
    }
    let limit = limits.iter().find(|limit| limit.verdict != Verdict::Room)?;
    let word = if limit.verdict == Verdict::Unknown { "LIMIT_UNKNOWN" } else { "LIMIT_EXCEEDED" };
    let demanding = limit.demanded.rules.first()?;
    let named =
        |rule: &&crate::DecidingRule| (&rule.policy, &rule.rule) == (&demanding.policy, &demanding.rule);
    let reason = decision.rules.iter().find(named).map_or("", |rule| &rule.reason);
    let separator = if reason.is_empty() { "" } else { ": " };
    Some(format!("{word} ({}){separator}{reason}", limit.demanded.what))
}

/// From when on all these limits will have room, as far as time alone decides; nothing when one needs
/// more than time, or none stands in the way.
pub fn room_at(limits: &[JudgedLimit]) -> Option<Timestamp> {
    let without = limits.iter().filter(|limit| limit.verdict != Verdict::Room);
    without.map(|limit| limit.room_at).collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl PolicySet {
    /// Every key by which some limit of the set counts an action like this one, sorted. Whoever counts
    /// and lets an action go ahead must hold off all others that do so under a key that binds either.
    pub fn limit_keys(&self, question: &Question) -> Vec<LimitKey> {
        let mut keys: BTreeMap<String, bool> = BTreeMap::new();
        // P31: only what is enforced counts.
        let enforced = self.policies().filter(|(_, policy)| policy.mode() == Mode::Enforce);
        for rule in enforced.flat_map(|(_, policy)| policy.compiled_rules()) {
            let counting: BTreeSet<&[Per]> = rule.limits.iter().filter_map(Limit::per).collect();
            let binds = !counting.is_empty() && rule.matching.covers(question);
            for key in counting.into_iter().filter_map(|per| Per::key(per, question)) {
                *keys.entry(key).or_default() |= binds;
            }
        }
        keys.into_iter().map(|(key, binds)| LimitKey { key, binds }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::RuleName;

    #[test]
    fn what_was_counted_is_read_back_as_it_was_stored() {
        let per = vec![Per::Namespace];
        let (at, cause) = (Some(Timestamp::UNIX_EPOCH), Cause::Stale);
        let unavailable =
            Limit::Unavailable { of: crate::Whole::Target, max_percent: Some(1), max_pods: None };
        for (limit, counted) in [
            (Limit::Cooldown { per: per.clone(), seconds: 1 }, Counted::Cooldown { last_at: at }),
            (
                Limit::Rate { per: per.clone(), seconds: 1, max: 2 },
                Counted::Rate { actions: 2, oldest_at: at },
            ),
            (Limit::Concurrency { per: per.clone(), max: 2 }, Counted::Concurrency { actions: 2 }),
            (unavailable.clone(), Counted::Unavailable { wanted: 3, available: 2, takes_down: 1 }),
            (unavailable, Counted::Unknown { cause }),
            (
                Limit::Replicas { min: None, max: Some(5), max_step: None },
                Counted::Replicas { before: Some(3), after: Some(9) },
            ),
            (
                Limit::Breaker { per, seconds: 1, failures: 2, open_seconds: 3 },
                Counted::Breaker { opened_at: at },
            ),
        ] {
            let rules = vec![RuleName { policy: "p".to_owned(), rule: "r".to_owned() }];
            let demanded = Demanded { what: limit, rules };
            let key = Some("namespace=prod/shop".to_owned());
            let judged = JudgedLimit::new(demanded, key, counted, Timestamp::UNIX_EPOCH);
            let text = serde_json::to_string(&judged).unwrap();
            assert_eq!(serde_json::from_str::<JudgedLimit>(&text).unwrap(), judged, "{text}");
        }
    }
}
