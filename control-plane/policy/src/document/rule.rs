//! Reads rules: id, effect, reason, match, time; conditions are read in [`condition`].

use std::collections::BTreeSet;

use aegis_contract::action::ActionType;
use serde_json::{Map, Value};

use super::place::Place;
use super::reader::Reader;
use super::{Match, Problem, REASON_LENGTH_MAX, Rule, code, condition};
use crate::decision::Effect;
use crate::pattern::{Glob, PatternError, ResourcePattern};
use crate::suggest::nearest;
use crate::time::{DAY_MINUTES, TimeCondition, Window, parse_days, parse_minute};
use crate::zone;

pub(super) fn read_rules(reader: &mut Reader, root: &Place<'_>, rules: Option<&Value>) -> Option<Vec<Rule>> {
    let place = root.field("rules");
    let Some(rules) = rules else {
        reader.missing(&place);
        return None;
    };
    let rules = reader.filled_list(&place, rules)?;
    let mut ids = BTreeSet::new();
    let read: Vec<Option<Rule>> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            let place = place.item(index);
            if let Some(id) = rule.get("id").and_then(Value::as_str)
                && !ids.insert(id)
            {
                let message = format!("another rule of this document has the id `{id}`");
                reader.report(Problem::new(place.field("id").pointer(), code::DUPLICATE_RULE_ID, message));
            }
            read_rule(reader, &place, rule)
        })
        .collect();
    read.into_iter().collect()
}

fn read_rule(reader: &mut Reader, place: &Place<'_>, rule: &Value) -> Option<Rule> {
    let fields = reader.object(place, rule)?;
    reader.known_fields(
        place,
        fields,
        &["id", "effect", "reason", "match", "when", "time"],
        &["limits", "approvals", "dryRunOnly", "mode", "validFrom", "expiresAt", "tests"],
    );
    let id = reader.name(place, fields, "id");
    let effect = read_effect(reader, place, fields);
    let reason = reader.optional_text(place, fields, "reason", REASON_LENGTH_MAX);
    let matching = match fields.get("match") {
        Some(value) => read_match(reader, &place.field("match"), value),
        None => Some(Match::default()),
    };
    // A condition is judged against what the rule matches; with a broken match it is judged
    // against everything, so that its own problems are still found.
    let actions = possible_actions(matching.as_ref());
    let when = fields
        .get("when")
        .map(|value| condition::read_when(reader, &place.field("when"), value, effect, &actions));
    let time = fields.get("time").map(|value| read_time(reader, &place.field("time"), value));
    let (id, effect) = (id?, effect?);
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| match effect {
        Effect::Allow => format!("allowed by the rule {id}"),
        Effect::Deny => format!("denied by the rule {id}"),
    });
    // Absent is well; present and unreadable is not.
    let (when, time) =
        (when.map_or(Some(None), |when| when.map(Some))?, time.map_or(Some(None), |time| time.map(Some))?);
    Some(Rule { id, effect, reason, matching: matching?, when, time })
}

fn read_effect(reader: &mut Reader, rule: &Place<'_>, fields: &Map<String, Value>) -> Option<Effect> {
    let place = rule.field("effect");
    match reader.required_text(rule, fields, "effect")? {
        "ALLOW" => Some(Effect::Allow),
        "DENY" => Some(Effect::Deny),
        "REQUIRE" => {
            reader.unsupported(&place, "the effect REQUIRE");
            None
        }
        other => {
            reader.report(
                Problem::new(place.pointer(), code::UNKNOWN_EFFECT, "there is no such effect")
                    .expected("ALLOW or DENY")
                    .suggestion(nearest(other, ["ALLOW", "DENY"])),
            );
            None
        }
    }
}

fn read_match(reader: &mut Reader, place: &Place<'_>, value: &Value) -> Option<Match> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &["principals", "roles", "actions", "resources"], &[]);
    let principals = read_dimension(reader, place, fields, "principals", Glob::parse_principal);
    let roles = read_dimension(reader, place, fields, "roles", Glob::parse);
    let actions = read_dimension(reader, place, fields, "actions", Glob::parse);
    if let Some(actions) = &actions {
        check_actions(reader, place, fields, actions);
    }
    let resources = read_dimension(reader, place, fields, "resources", ResourcePattern::parse);
    Some(Match { principals: principals?, roles: roles?, actions: actions?, resources: resources? })
}

fn read_dimension<T>(
    reader: &mut Reader,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, PatternError>,
) -> Option<Vec<T>> {
    let Some(value) = fields.get(name) else { return Some(Vec::new()) };
    let place = parent.field(name);
    let entries = reader.list(&place, value)?;
    let read: Vec<Option<T>> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let place = place.item(index);
            let text = reader.text(&place, entry)?;
            parse(text)
                .map_err(|error| {
                    reader.report(
                        Problem::new(place.pointer(), code::INVALID_PATTERN, error.message)
                            .suggestion(error.suggestion.as_deref()),
                    );
                })
                .ok()
        })
        .collect();
    read.into_iter().collect()
}

/// P23: every entry must be able to match an action: a misspelt one in a DENY would never deny.
fn check_actions(reader: &mut Reader, place: &Place<'_>, fields: &Map<String, Value>, actions: &[Glob]) {
    let known = ActionType::ALL.map(ActionType::as_str);
    let dimension = place.field("actions");
    for (index, glob) in actions.iter().enumerate() {
        if !known.iter().any(|action| glob.matches(action)) {
            let written = fields["actions"][index].as_str().unwrap_or_default();
            reader.report(
                Problem::new(dimension.item(index).pointer(), code::UNKNOWN_ACTION, "this matches no action")
                    .expected(known.join(", "))
                    .suggestion(nearest(written, known)),
            );
        }
    }
}

/// The actions that a rule can be about.
fn possible_actions(matching: Option<&Match>) -> Vec<ActionType> {
    let globs = matching.map_or(&[][..], |matching| &matching.actions);
    let possible =
        |action: &ActionType| globs.is_empty() || globs.iter().any(|glob| glob.matches(action.as_str()));
    ActionType::ALL.into_iter().filter(possible).collect()
}

fn read_time(reader: &mut Reader, place: &Place<'_>, value: &Value) -> Option<TimeCondition> {
    let fields = reader.object(place, value)?;
    reader.known_fields(
        place,
        fields,
        &["zone", "windows"],
        &["dates", "calendar", "calendars", "freeze", "except"],
    );
    let zone = reader.required_text(place, fields, "zone").and_then(|name| {
        let zone = zone::load(name);
        if zone.is_none() {
            reader.report(
                Problem::new(place.field("zone").pointer(), code::UNKNOWN_ZONE, "there is no such time zone")
                    .expected("a name of the IANA time zone database, for example Europe/Berlin")
                    .suggestion(nearest(name, zone::names())),
            );
        }
        zone
    });
    let list = place.field("windows");
    let Some(windows) = fields.get("windows") else {
        reader.missing(&list);
        return None;
    };
    let windows: Vec<Option<Window>> = reader
        .filled_list(&list, windows)?
        .iter()
        .enumerate()
        .map(|(index, window)| read_window(reader, &list.item(index), window))
        .collect();
    Some(TimeCondition { zone: zone?, windows: windows.into_iter().collect::<Option<_>>()? })
}

fn read_window(reader: &mut Reader, place: &Place<'_>, value: &Value) -> Option<Window> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &["days", "from", "to"], &["dates", "calendar"]);
    let days = read_days(reader, &place.field("days"), fields.get("days"));
    let from = read_minute(reader, place, fields, "from");
    let to = read_minute(reader, place, fields, "to");
    let (from, to) = (from?, to?);
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
    Some(Window { days: days?, from, to })
}

fn read_days(
    reader: &mut Reader,
    place: &Place<'_>,
    value: Option<&Value>,
) -> Option<Vec<jiff::civil::Weekday>> {
    let Some(value) = value else {
        reader.missing(place);
        return None;
    };
    let read: Vec<Option<Vec<_>>> = reader
        .filled_list(place, value)?
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let place = place.item(index);
            let days = parse_days(reader.text(&place, entry)?);
            if days.is_none() {
                let message = "not a weekday or a range of two or more";
                reader.report(
                    Problem::new(place.pointer(), code::INVALID_DAYS, message)
                        .expected("mon, tue, wed, thu, fri, sat, sun, or a range like mon-fri"),
                );
            }
            days
        })
        .collect();
    Some(read.into_iter().collect::<Option<Vec<_>>>()?.concat())
}

fn read_minute(
    reader: &mut Reader,
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
