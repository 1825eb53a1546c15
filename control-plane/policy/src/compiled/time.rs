//! P15, P29: calendars as minutes of the week, and the offsets of zones as tables.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::time::{Calendar, DAY_MINUTES, Window};

const WEEK_MINUTES: u16 = 7 * DAY_MINUTES;

/// Between these instants offsets are looked up; before and after, the calendar itself is asked.
/// Forty years of two changes a year are 1 KiB per zone.
const TABLE_START: i64 = 1_577_836_800; // 2020-01-01T00:00:00Z
const TABLE_END: i64 = 2_840_140_800; // 2060-01-01T00:00:00Z

/// When the offset of a zone changes.
#[derive(Debug)]
pub(super) struct Clock {
    /// Unix seconds from which `offsets` hold; the first is the start of the table.
    from: Box<[i64]>,
    /// Seconds east of UTC.
    offsets: Box<[i32]>,
}

/// What a clock on the wall shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Local {
    /// A day, counted from 1970-01-01, and a minute of it.
    At { day: i32, minute: u16 },
    /// An instant beyond the table.
    #[default]
    Beyond,
}

impl Clock {
    pub(super) fn new(zone: &TimeZone) -> Self {
        let start = Timestamp::new(TABLE_START, 0).expect("a constant in range");
        let (mut from, mut offsets) = (vec![TABLE_START], vec![zone.to_offset(start).seconds()]);
        for change in zone.following(start) {
            let second = change.timestamp().as_second();
            if second >= TABLE_END {
                break;
            }
            from.push(second);
            offsets.push(change.offset().seconds());
        }
        Self { from: from.into(), offsets: offsets.into() }
    }

    pub(super) fn local(&self, now: Timestamp) -> Local {
        let second = now.as_second();
        if !(TABLE_START..TABLE_END).contains(&second) {
            return Local::Beyond;
        }
        let offset = self.offsets[self.from.partition_point(|from| *from <= second) - 1];
        let minutes = (second + i64::from(offset)) / 60;
        let day_minutes = i64::from(DAY_MINUTES);
        match (i32::try_from(minutes / day_minutes), u16::try_from(minutes % day_minutes)) {
            (Ok(day), Ok(minute)) => Local::At { day, minute },
            _ => Local::Beyond,
        }
    }
}

/// A calendar on one clock.
#[derive(Debug)]
pub(super) struct Hours {
    pub(super) clock: u32,
    form: HoursForm,
    source: Arc<Calendar>,
}

/// What tells two calendars of one clock apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HoursForm {
    /// Windows without dates: the minutes of the week at which one opens or the last one closes.
    week: Box<[u16]>,
    dated: Box<[Dated]>,
}

/// A window on some dates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Dated {
    /// One bit for each weekday, Monday first.
    weekdays: u8,
    /// First and last days, counted from 1970-01-01.
    dates: Box<[(i32, i32)]>,
    from: u16,
    to: u16,
}

impl HoursForm {
    pub(super) fn new(windows: &[Window]) -> Self {
        let (weekly, dated): (Vec<_>, Vec<_>) = windows.iter().partition(|window| window.dates.is_empty());
        Self { week: week(&weekly), dated: dated.into_iter().map(Dated::new).collect() }
    }

    fn is_open(&self, day: i32, minute: u16) -> bool {
        let of_week = weekday(day) * DAY_MINUTES + minute;
        self.week.partition_point(|change| *change <= of_week) % 2 == 1
            || self.dated.iter().any(|window| window.is_open(day, minute))
    }
}

impl Hours {
    pub(super) fn new(clock: u32, form: HoursForm, source: &Arc<Calendar>) -> Self {
        Self { clock, form, source: source.clone() }
    }

    pub(super) fn is_open(&self, local: Local, now: Timestamp) -> bool {
        match local {
            Local::At { day, minute } => self.form.is_open(day, minute),
            Local::Beyond => self.source.is_open(now),
        }
    }
}

impl Dated {
    fn new(window: &Window) -> Self {
        let dates = window.dates.iter().map(|dates| (day_number(dates.first), day_number(dates.last)));
        Self {
            weekdays: days(window).fold(0, |bits, day| bits | 1 << day),
            dates: dates.collect(),
            from: window.from,
            to: window.to,
        }
    }

    fn is_open(&self, day: i32, minute: u16) -> bool {
        if self.from < self.to {
            return self.starts_on(day) && (self.from..self.to).contains(&minute);
        }
        (self.starts_on(day) && self.from <= minute) || (self.starts_on(day - 1) && minute < self.to)
    }

    fn starts_on(&self, day: i32) -> bool {
        self.weekdays >> weekday(day) & 1 == 1
            && self.dates.iter().any(|(first, last)| (*first..=*last).contains(&day))
    }
}

/// The weekdays of a window, counted from Monday.
fn days(window: &Window) -> impl Iterator<Item = u16> {
    const EVERY: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    let days = if window.days.is_empty() { &EVERY } else { &*window.days };
    days.iter().map(|day| u16::from(day.to_monday_zero_offset().unsigned_abs()))
}

/// The minutes of the week at which any of the windows opens or the last open one closes.
fn week(windows: &[&Window]) -> Box<[u16]> {
    let mut spans: Vec<(u16, u16)> = windows.iter().flat_map(|window| spans(window)).collect();
    spans.sort_unstable();
    let mut changes: Vec<u16> = Vec::new();
    for (from, to) in spans {
        match changes.last_mut() {
            Some(end) if from <= *end => *end = to.max(*end),
            _ => changes.extend([from, to]),
        }
    }
    changes.into()
}

/// What one window covers, cut where the week ends.
fn spans(window: &Window) -> impl Iterator<Item = (u16, u16)> {
    let next_day = if window.from < window.to { 0 } else { DAY_MINUTES };
    let length = next_day + window.to - window.from;
    days(window).flat_map(move |day| {
        let from = day * DAY_MINUTES + window.from;
        let (to, next_week) = (from + length, (from + length).saturating_sub(WEEK_MINUTES));
        [(from, to.min(WEEK_MINUTES)), (0, next_week)].into_iter().filter(|(from, to)| from < to)
    })
}

/// Counted from Monday; 1970-01-01 was a Thursday.
fn weekday(day: i32) -> u16 {
    u16::try_from((day + 3).rem_euclid(7)).expect("a remainder of seven")
}

fn day_number(date: Date) -> i32 {
    let since = date.duration_since(Date::constant(1970, 1, 1));
    i32::try_from(since.as_hours() / 24).expect("jiff's years are -9999 to 9999")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone;

    #[test]
    fn the_table_shows_what_the_clocks_of_every_zone_show_at_every_change() {
        for name in zone::names() {
            let zone = zone::load(name).unwrap();
            let clock = Clock::new(&zone);
            let changes = clock.from.iter().flat_map(|second| [second - 1, *second, second + 1]);
            for second in changes.chain([TABLE_END - 1, TABLE_END]) {
                let now = Timestamp::from_second(second).unwrap();
                let datetime = zone.to_datetime(now);
                let minute =
                    u16::try_from(datetime.hour()).unwrap() * 60 + u16::try_from(datetime.minute()).unwrap();
                let expected = (day_number(datetime.date()), minute);
                match clock.local(now) {
                    Local::At { day, minute } => assert_eq!((day, minute), expected, "{now} in {name}"),
                    Local::Beyond => assert!(!(TABLE_START..TABLE_END).contains(&second), "{now}"),
                }
            }
        }
    }
}
