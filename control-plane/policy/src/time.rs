//! When a rule applies: windows and calendars on a clock on the wall, and validity.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// Minutes of a day; a window may end at this, written `24:00`.
pub(crate) const DAY_MINUTES: u16 = 24 * 60;

/// When a rule applies: while one of `within` is open, and none of `except`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeCondition {
    /// The rule's own windows and the calendars it names; empty means always.
    pub(crate) within: Vec<Arc<Calendar>>,
    pub(crate) except: Vec<Arc<Calendar>>,
}

/// Windows, read on a clock on the wall in a zone.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    pub(crate) zone: TimeZone,
    pub(crate) windows: Vec<Window>,
}

/// One range of minutes, on each of some days. It belongs to the day on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Empty means every weekday.
    pub(crate) days: Vec<Weekday>,
    /// Empty means every date.
    pub(crate) dates: Vec<Dates>,
    /// First minute of the day that is inside.
    pub(crate) from: u16,
    /// First minute that is outside again; not after `from` means on the next day.
    pub(crate) to: u16,
}

/// A day, or a range of days, both ends inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dates {
    pub(crate) first: Date,
    pub(crate) last: Date,
}

/// P30: from `from` on, until just before `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Validity {
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Validity {
    /// Whether `now` lies in it.
    pub(crate) fn holds(self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl TimeCondition {
    /// P29: whether one of `within` is open at `now`, and none of `except`.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        let is_open = |calendar: &Arc<Calendar>| calendar.is_open(now);
        (self.within.is_empty() || self.within.iter().any(is_open)) && !self.except.iter().any(is_open)
    }
}

impl Calendar {
    /// P15: whether any window is open at `now`.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.windows.iter().any(|window| window.is_open(local.date(), minute))
    }
}

impl Window {
    fn is_open(&self, today: Date, minute: u16) -> bool {
        if self.from < self.to {
            return self.starts_on(today) && self.from <= minute && minute < self.to;
        }
        let started_yesterday = today.yesterday().is_ok_and(|yesterday| self.starts_on(yesterday));
        (self.starts_on(today) && self.from <= minute) || (started_yesterday && minute < self.to)
    }

    fn starts_on(&self, day: Date) -> bool {
        (self.days.is_empty() || self.days.contains(&day.weekday()))
            && (self.dates.is_empty()
                || self.dates.iter().any(|dates| dates.first <= day && day <= dates.last))
    }
}

/// Reads `mon` or `mon-fri`; a range may pass the end of the week, and has at least two days.
pub(crate) fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    let Some((first, last)) = text.split_once('-') else {
        return Some(vec![parse_day(text)?]);
    };
    let (first, last) = (parse_day(first)?, parse_day(last)?);
    if first == last {
        return None;
    }
    let mut days = vec![first];
    let mut day = first;
    while day != last {
        day = day.next();
        days.push(day);
    }
    Some(days)
}

fn parse_day(text: &str) -> Option<Weekday> {
    Some(match text {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// Reads `2026-12-24` or `2026-12-24/2027-01-02`; a range has at least two days.
pub(crate) fn parse_dates(text: &str) -> Option<Dates> {
    let Some((first, last)) = text.split_once('/') else {
        let day = parse_date(text)?;
        return Some(Dates { first: day, last: day });
    };
    let (first, last) = (parse_date(first)?, parse_date(last)?);
    (first < last).then_some(Dates { first, last })
}

fn parse_date(text: &str) -> Option<Date> {
    has_form(text, "0000-00-00").then(|| text.parse().ok())?
}

/// Reads a point in time as RFC 3339 writes it, with `T`, seconds and an offset.
pub(crate) fn parse_instant(text: &str) -> Option<Timestamp> {
    const LENGTH: usize = "0000-00-00T00:00:00".len();
    let (local, rest) = text.split_at_checked(LENGTH)?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|character: char| character.is_ascii_digit());
            let digits = fraction.len() - offset.len();
            (1..=9).contains(&digits).then_some(offset)?
        }
        None => rest,
    };
    let is_instant = has_form(local, "0000-00-00T00:00:00")
        && (offset == "Z" || has_form(offset, "+00:00") || has_form(offset, "-00:00"));
    is_instant.then(|| text.parse().ok())?
}

/// Whether the text has digits where the form has zeros, and all else as the form has it.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// Reads `HH:MM`, `00:00` to `24:00`, as minutes of the day.
pub(crate) fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= DAY_MINUTES).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_single_or_ranges_that_may_pass_the_weekend() {
        for (text, expected) in [
            ("mon", Some(vec![Weekday::Monday])),
            ("fri-mon", Some(vec![Weekday::Friday, Weekday::Saturday, Weekday::Sunday, Weekday::Monday])),
            ("mon-mon", None),
            ("Mon", None),
            ("monday", None),
            ("mon-", None),
            ("mon-tue-wed", None),
            ("", None),
        ] {
            assert_eq!(parse_days(text), expected, "{text}");
        }
        assert_eq!(parse_days("mon-sun").unwrap().len(), 7);
    }

    #[test]
    fn times_of_day_have_four_digits_and_exist() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("08:30", Some(510)),
            ("23:59", Some(1439)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("8:30", None),
            ("08:60", None),
            ("08:3o", None),
            ("+8:30", None),
            ("08:30:00", None),
            ("", None),
        ] {
            assert_eq!(parse_minute(text), expected, "{text}");
        }
    }

    #[test]
    fn dates_are_single_or_ranges_forward() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        for (text, expected) in [
            ("2026-12-24", Some(("2026-12-24", "2026-12-24"))),
            ("2026-12-24/2027-01-02", Some(("2026-12-24", "2027-01-02"))),
            ("2028-02-29", Some(("2028-02-29", "2028-02-29"))),
            ("2027-02-29", None),
            ("2026-12-24/2026-12-24", None),
            ("2027-01-02/2026-12-24", None),
            ("2026-12-24/", None),
            ("20261224", None),
            ("+002026-12-24", None),
            ("2026-12-24T00:00", None),
            ("", None),
        ] {
            let expected = expected.map(|(first, last)| Dates { first: day(first), last: day(last) });
            assert_eq!(parse_dates(text), expected, "{text}");
        }
    }

    #[test]
    fn instants_are_written_as_rfc_3339_writes_them() {
        for text in ["2026-11-20T12:00:00Z", "2026-11-20T13:00:00+01:00", "2026-11-20T12:00:00.000000000Z"] {
            assert_eq!(parse_instant(text), Some("2026-11-20T12:00:00Z".parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T12:00:00",
            "2026-11-20 12:00:00Z",
            "2026-11-20T12:00Z",
            "2026-11-20T12:00:00.Z",
            "2026-11-20T12:00:00.0000000000Z",
            "2026-11-20T12:00:00+01",
            "2026-11-20T12:00:00Z[UTC]",
            "2026-13-20T12:00:00Z",
            "2026-11-20T12:00:00z",
            "2026-11-20T12:00:0\u{e9}Z",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    fn open(days: &str, from: &str, to: &str, zone: &str, at: &str) -> bool {
        let window = Window {
            days: parse_days(days).unwrap(),
            dates: Vec::new(),
            from: parse_minute(from).unwrap(),
            to: parse_minute(to).unwrap(),
        };
        let zone = crate::zone::load(zone).unwrap();
        Calendar { zone, windows: vec![window] }.is_open(at.parse().unwrap())
    }

    #[test]
    fn a_window_includes_its_first_minute_and_excludes_its_last() {
        // 2026-11-20 is a Friday; Berlin is at +01:00.
        for (at, expected) in [
            ("2026-11-20T07:59:59+01:00", false),
            ("2026-11-20T08:00:00+01:00", true),
            ("2026-11-20T17:59:59.999+01:00", true),
            ("2026-11-20T18:00:00+01:00", false),
            ("2026-11-21T12:00:00+01:00", false),
        ] {
            assert_eq!(open("mon-fri", "08:00", "18:00", "Europe/Berlin", at), expected, "{at}");
        }
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_it_starts() {
        for (at, expected) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:00Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(open("fri", "22:00", "06:00", "UTC", at), expected, "{at}");
        }
    }

    #[test]
    fn a_whole_day_is_written_until_24_00() {
        for (at, expected) in [
            ("2026-11-19T23:59:59Z", false),
            ("2026-11-20T00:00:00Z", true),
            ("2026-11-20T23:59:59Z", true),
            ("2026-11-21T00:00:00Z", false),
        ] {
            assert_eq!(open("fri", "00:00", "24:00", "UTC", at), expected, "{at}");
        }
    }

    #[test]
    fn the_first_and_the_last_instant_of_all_time_can_be_asked_about() {
        for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let always = Calendar {
                zone: crate::zone::load(zone).unwrap(),
                windows: vec![Window { days: Vec::new(), dates: Vec::new(), from: 1, to: 0 }],
            };
            for now in [Timestamp::MIN, Timestamp::MAX] {
                always.is_open(now);
            }
        }
    }
}
