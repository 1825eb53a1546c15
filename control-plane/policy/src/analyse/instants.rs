//! Instants that stand for all others of the time to come: one for every combination of windows and
//! validities that is open together.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rustc_hash::FxHashSet;

use crate::document::{Policy, Rule};
use crate::explain::turns_of;
use crate::time::{Calendar, Validity};

/// How far ahead every window is looked at: the clock changes, and days of the year pass, once in it.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);
/// How far around each date that a rule names: every weekday passes once in it.
const AROUND: SignedDuration = SignedDuration::from_hours(8 * 24);
/// Most looks at one calendar at one instant.
const LOOKS_MAX: usize = 4_000_000;

/// What was found.
pub(super) struct Instants {
    /// The first is the present.
    pub(super) instants: Vec<Timestamp>,
    /// Whether every combination of the time looked at is there.
    pub(super) is_complete: bool,
}

/// One instant of each combination from `now` on: of the year to come, and of the week before and
/// after each date and instant that a rule names.
pub(super) fn instants(rules: &[(&Policy, &Rule)], now: Timestamp) -> Instants {
    let calendars = calendars(rules);
    let validities = validities(rules);
    let mut turns = BTreeSet::new();
    for (start, end) in spans(&calendars, &validities, now) {
        turns.extend(calendars.iter().flat_map(|calendar| turns_of(calendar, start, end)));
        turns.insert(start);
    }
    turns.extend(validities.iter().flat_map(|validity| [validity.from, validity.until]).flatten());
    let later: Vec<Timestamp> = turns.into_iter().filter(|at| *at > now).collect();
    let looks = LOOKS_MAX / (calendars.len() + validities.len()).max(1);
    let mut known = FxHashSet::default();
    let mut instants = Vec::new();
    for at in std::iter::once(now).chain(later.iter().copied().take(looks)) {
        let open = calendars.iter().map(|calendar| calendar.is_open(at));
        let open: Vec<bool> = open.chain(validities.iter().map(|validity| validity.holds(at))).collect();
        if known.insert(open) {
            instants.push(at);
        }
    }
    Instants { instants, is_complete: later.len() <= looks }
}

/// Every calendar once, by its zone and windows.
fn calendars<'a>(rules: &[(&'a Policy, &'a Rule)]) -> Vec<&'a Calendar> {
    let mut known = FxHashSet::default();
    let mut calendars = Vec::new();
    for calendar in
        rules.iter().flat_map(|(_, rule)| &rule.time).flat_map(|time| time.within.iter().chain(&time.except))
    {
        if known.insert((calendar.zone.iana_name(), format!("{:?}", calendar.windows))) {
            calendars.push(&**calendar);
        }
    }
    calendars
}

fn validities(rules: &[(&Policy, &Rule)]) -> Vec<Validity> {
    let mut validities: Vec<Validity> =
        rules.iter().flat_map(|(policy, rule)| [policy.validity(), rule.validity]).collect();
    validities.sort_by_key(|validity| (validity.from, validity.until));
    validities.dedup();
    validities
}

/// The spans of time that are looked at, which may overlap.
fn spans(calendars: &[&Calendar], validities: &[Validity], now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut named = Vec::new();
    for calendar in calendars {
        for dates in calendar.windows.iter().flat_map(|window| &window.dates) {
            for date in [dates.first, dates.last] {
                named.extend(calendar.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok());
            }
        }
    }
    named.extend(validities.iter().flat_map(|validity| [validity.from, validity.until]).flatten());
    named.retain(|at| *at > now);
    named.sort_unstable();
    named.dedup();
    let from = |at: Timestamp, span| at.saturating_sub(span).unwrap_or(Timestamp::MIN).max(now);
    let to = |at: Timestamp, span| at.saturating_add(span).unwrap_or(Timestamp::MAX);
    let around = named.into_iter().map(|at| (from(at, AROUND), to(at, AROUND)));
    std::iter::once((now, to(now, AHEAD))).chain(around).collect()
}
