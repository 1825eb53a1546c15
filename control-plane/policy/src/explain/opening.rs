//! When time alone would turn a denial into an ALLOW: at the end of a freeze, or when a window opens.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::enforced;
use crate::decision::RuleEffect;
use crate::document::{Policy, Rule};
use crate::evaluate::{Situation, holds_of};
use crate::set::PolicySet;
use crate::time::Calendar;

/// How far ahead is looked; nobody waits longer.
const DAYS_MAX: u32 = 366;
/// Most looks at one rule at one instant. A denial is answered in milliseconds whatever the set; where
/// that is not enough, nothing is said.
const LOOKS_MAX: usize = 200_000;

/// P40: the first instant after `now` at which the question would be allowed, if nothing but the time
/// changed.
pub(super) fn opens_at(set: &PolicySet, situation: &Situation<'_>, now: Timestamp) -> Option<Timestamp> {
    let rules: Vec<(&Policy, &Rule)> = enforced(set)
        .filter(|(.., rule)| rule.effect != RuleEffect::Require && applies_but_for_time(rule, situation))
        .map(|(_, policy, rule)| (policy, rule))
        .collect();
    let any = |effect, at| {
        rules
            .iter()
            .any(|(policy, rule)| rule.effect == effect && policy.validity().holds(at) && rule.is_open(at))
    };
    let mut looks = LOOKS_MAX;
    for day in 0..DAYS_MAX {
        for at in turns(&rules, now, day) {
            looks = looks.checked_sub(rules.len())?;
            if !any(RuleEffect::Deny, at) && any(RuleEffect::Allow, at) {
                return Some(at);
            }
        }
        // Finding the instants of a day costs about as much as a look at each rule.
        looks = looks.checked_sub(rules.len())?;
    }
    None
}

fn applies_but_for_time(rule: &Rule, situation: &Situation<'_>) -> bool {
    rule.matching.covers(situation.question) && holds_of(rule, situation).makes_apply(rule.effect)
}

/// The instants from `day` days after `now` until a day later at which a rule may begin or cease to apply.
fn turns(rules: &[(&Policy, &Rule)], now: Timestamp, day: u32) -> BTreeSet<Timestamp> {
    let after = |days: u32| now.saturating_add(i64::from(days * 24).hours()).unwrap_or(Timestamp::MAX);
    let (start, end) = (after(day), after(day + 1));
    let mut turns = BTreeSet::new();
    for (policy, rule) in rules {
        for validity in [policy.validity(), rule.validity] {
            turns.extend([validity.from, validity.until].into_iter().flatten());
        }
        for calendar in rule.time.iter().flat_map(|time| time.within.iter().chain(&time.except)) {
            turns.extend(turns_of(calendar, start, end));
        }
    }
    turns.into_iter().filter(|at| start < *at && *at <= end).collect()
}

/// P15: the minutes at which a window may open or close on the days of this span, as often as the
/// clock shows them, and the changes of the clock itself.
pub(crate) fn turns_of(calendar: &Calendar, start: Timestamp, end: Timestamp) -> Vec<Timestamp> {
    let zone = &calendar.zone;
    let changes = zone.following(start).map(|change| change.timestamp());
    let mut turns: Vec<Timestamp> = changes.take_while(|change| *change <= end).collect();
    let (first, last) = (zone.to_datetime(start).date(), zone.to_datetime(end).date());
    let days = first.series(1.day()).take_while(|day: &Date| *day <= last);
    for day in days {
        for window in &calendar.windows {
            for minute in [window.from, window.to] {
                let Ok(local) = day.at(0, 0, 0, 0).checked_add(i64::from(minute).minutes()) else { continue };
                let shown = zone.to_ambiguous_timestamp(local);
                turns.extend([shown.earlier(), shown.later()].into_iter().flatten());
            }
        }
    }
    turns
}
