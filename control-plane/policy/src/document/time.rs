//! Reads `time`, calendars and validity.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::place::Place;
use super::reader::{Reader, each, is_kebab_case};
use super::{Problem, code};
use crate::shape::{CALENDAR, TIME, WINDOW};
use crate::suggest::nearest;
use crate::time::{
    Calendar, DAY_MINUTES, Dates, TimeCondition, Validity, Window, parse_dates, parse_days, parse_minute,
};
use crate::zone;

/// The calendars of a document. One that cannot be read is there without a value, so that rules may
/// still name it.
pub(super) type Calendars = BTreeMap<String, Option<Arc<Calendar>>>;

/// P29: reads the calendars that rules of the document may name.
pub(super) fn read_calendars(reader: &mut Reader<'_>, root: &Place<'_>, value: Option<&Value>) -> Calendars {
    let place = root.field("calendars");
    let Some(fields) = value.and_then(|value| reader.object(&place, value)) else { return Calendars::new() };
    let mut calendars = Calendars::new();
    for (name, value) in fields {
        let place = place.field(name);
        if !is_kebab_case(name) {
            let message = "a calendar has a name like a policy";
            reader.report(Problem::new(place.pointer(), code::INVALID_NAME, message));
        }
        calendars.insert(name.clone(), read_calendar(reader, &place, value).map(Arc::new));
    }
    calendars
}

fn read_calendar(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Calendar> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &CALENDAR);
    read_windows(reader, place, fields)
}

/// P15: reads when a rule applies.
pub(super) fn read_time(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    calendars: &Calendars,
) -> Option<TimeCondition> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &TIME);
    // A zone without windows would be a sign of windows that were forgotten.
    let own = match fields.contains_key("windows") || fields.contains_key("zone") {
        true => Some(read_windows(reader, place, fields)),
        false => None,
    };
    let named = read_names(reader, place, fields, "calendars", calendars);
    let except = read_names(reader, place, fields, "except", calendars);
    let mut within = named?;
    if let Some(own) = own {
        within.push(Arc::new(own?));
    }
    Some(TimeCondition { within, except: except? })
}

fn read_names(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    field: &str,
    calendars: &Calendars,
) -> Option<Vec<Arc<Calendar>>> {
    let Some(value) = fields.get(field) else { return Some(Vec::new()) };
    let place = parent.field(field);
    let names = reader.filled_list(&place, value)?;
    each(&place, names, |place, name| {
        let name = reader.text(place, name)?;
        let Some(calendar) = calendars.get(name) else {
            reader.report(
                Problem::new(
                    place.pointer(),
                    code::UNKNOWN_CALENDAR,
                    "this document has no calendar of this name",
                )
                .suggestion(nearest(name, calendars.keys().map(String::as_str))),
            );
            return None;
        };
        calendar.clone()
    })
}

fn read_windows(reader: &mut Reader<'_>, place: &Place<'_>, fields: &Map<String, Value>) -> Option<Calendar> {
    let zone = read_zone(reader, place, fields);
    let list = place.field("windows");
    let Some(windows) = fields.get("windows") else {
        reader.missing(&list);
        return None;
    };
    let windows = reader.filled_list(&list, windows)?;
    let windows = each(&list, windows, |place, window| read_window(reader, place, window));
    Some(Calendar { zone: zone?, windows: windows? })
}

fn read_zone(reader: &mut Reader<'_>, place: &Place<'_>, fields: &Map<String, Value>) -> Option<TimeZone> {
    let name = reader.required_text(place, fields, "zone")?;
    let zone = zone::load(name);
    if zone.is_none() {
        reader.report(
            Problem::new(place.field("zone").pointer(), code::UNKNOWN_ZONE, "there is no such time zone")
                .expected("a name of the IANA time zone database, for example Europe/Berlin")
                .suggestion(nearest(name, zone::names())),
        );
    }
    zone
}

fn read_window(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Window> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &WINDOW);
    let days = read_days(reader, place, fields);
    let dates = read_dates(reader, place, fields);
    let minutes = if fields.contains_key("from") || fields.contains_key("to") {
        let from = read_minute(reader, place, fields, "from");
        let to = read_minute(reader, place, fields, "to");
        from.zip(to)
    } else {
        Some((0, DAY_MINUTES))
    };
    let (from, to) = minutes?;
    if from == DAY_MINUTES {
        let message = "24:00 is the end of a day; a window begins at 00:00";
        reader.report(Problem::new(place.field("from").pointer(), code::INVALID_TIME, message));
        return None;
    }
    if from == to {
        let message = "a window that ends when it begins is empty; a whole day is 00:00 to 24:00";
        reader.report(Problem::new(place.pointer(), code::INVALID_WINDOW, message));
        return None;
    }
    Some(Window { days: days?, dates: dates?, from, to })
}

fn read_days(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<Vec<Weekday>> {
    let Some(value) = fields.get("days") else { return Some(Vec::new()) };
    let place = parent.field("days");
    let entries = reader.filled_list(&place, value)?;
    let days = each(&place, entries, |place, entry| {
        let days = parse_days(reader.text(place, entry)?);
        if days.is_none() {
            let message = "not a weekday or a range of two or more";
            reader.report(
                Problem::new(place.pointer(), code::INVALID_DAYS, message)
                    .expected("mon, tue, wed, thu, fri, sat, sun, or a range like mon-fri"),
            );
        }
        days
    })?;
    Some(days.concat())
}

fn read_dates(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<Vec<Dates>> {
    let Some(value) = fields.get("dates") else { return Some(Vec::new()) };
    let place = parent.field("dates");
    let entries = reader.filled_list(&place, value)?;
    each(&place, entries, |place, entry| {
        let dates = parse_dates(reader.text(place, entry)?);
        if dates.is_none() {
            let message = "not a day of the calendar or a range of two or more";
            reader.report(
                Problem::new(place.pointer(), code::INVALID_DATE, message)
                    .expected("YYYY-MM-DD, or YYYY-MM-DD/YYYY-MM-DD from the first day to the last"),
            );
        }
        dates
    })
}

fn read_minute(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
    field: &str,
) -> Option<u16> {
    let text = reader.required_text(place, fields, field)?;
    let minute = parse_minute(text);
    if minute.is_none() {
        reader.report(
            Problem::new(place.field(field).pointer(), code::INVALID_TIME, "not a time of day")
                .expected("HH:MM, 00:00 to 24:00"),
        );
    }
    minute
}

/// P30: reads from when and until when a rule or a document applies.
pub(super) fn read_validity(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
) -> Validity {
    let from = reader.instant(place, fields, "validFrom");
    let until = reader.instant(place, fields, "expiresAt");
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        let message = "it expires before it begins, so it would never apply";
        reader.report(Problem::new(place.field("expiresAt").pointer(), code::INVALID_VALIDITY, message));
    }
    Validity { from, until }
}
