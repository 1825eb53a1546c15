//! Time windows: wall-clock ranges on weekdays in a zone.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// Minutes of a day; a window may end at this, written `24:00`.
pub(crate) const DAY_MINUTES: u16 = 24 * 60;

/// When a rule applies: at any of the windows, read on a clock on the wall in the zone.
#[derive(Clone, Debug)]
pub(crate) struct TimeCondition {
    pub(crate) zone: TimeZone,
    pub(crate) windows: Vec<Window>,
}

/// One range of minutes, on each of some days. It belongs to the day on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) days: Vec<Weekday>,
    /// First minute of the day that is inside.
    pub(crate) from: u16,
    /// First minute that is outside again; not after `from` means on the next day.
    pub(crate) to: u16,
}

impl TimeCondition {
    /// Whether any window is open at `now`.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.windows.iter().any(|window| window.is_open(local.date().weekday(), minute))
    }
}

impl Window {
    fn is_open(&self, today: Weekday, minute: u16) -> bool {
        let starts_today = self.days.contains(&today);
        if self.from < self.to {
            return starts_today && self.from <= minute && minute < self.to;
        }
        let started_yesterday = self.days.contains(&today.previous());
        (starts_today && self.from <= minute) || (started_yesterday && minute < self.to)
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

    fn open(days: &str, from: &str, to: &str, zone: &str, at: &str) -> bool {
        let window = Window {
            days: parse_days(days).unwrap(),
            from: parse_minute(from).unwrap(),
            to: parse_minute(to).unwrap(),
        };
        TimeCondition { zone: crate::zone::load(zone).unwrap(), windows: vec![window] }
            .is_open(at.parse().unwrap())
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
            let always = TimeCondition {
                zone: crate::zone::load(zone).unwrap(),
                windows: vec![Window { days: parse_days("mon-sun").unwrap(), from: 1, to: 0 }],
            };
            for now in [Timestamp::MIN, Timestamp::MAX] {
                always.is_open(now);
            }
        }
    }
}
