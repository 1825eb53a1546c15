//! Collects problems while a document is read, so that all are reported at once.

use serde_json::{Map, Value};

use jiff::Timestamp;

use super::place::Place;
use super::{Problem, code};
use crate::part::Part;
use crate::problem::PROBLEMS_MAX;
use crate::shape::{NAME_LENGTH_MAX, Object};
use crate::suggest::nearest;
use crate::time::parse_instant;

/// The problems so far. Every method that reads answers with nothing once it has reported why.
#[derive(Debug)]
pub(super) struct Reader<'e> {
    enforced: &'e [Part],
    problems: Vec<Problem>,
    more: bool,
}

impl<'e> Reader<'e> {
    pub(super) fn new(enforced: &'e [Part]) -> Self {
        Self { enforced, problems: Vec::new(), more: false }
    }

    pub(super) fn report(&mut self, problem: Problem) {
        // One place is kept for the remark that there are more.
        if self.problems.len() < PROBLEMS_MAX - 1 {
            self.problems.push(problem);
        } else {
            self.more = true;
        }
    }

    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        if self.more {
            let message = format!("only the first {} problems are listed", PROBLEMS_MAX - 1);
            self.problems.push(Problem::new("", code::TOO_MANY_PROBLEMS, message));
        }
        self.problems
    }

    pub(super) fn missing(&mut self, place: &Place<'_>) {
        self.report(Problem::new(place.pointer(), code::MISSING_FIELD, "this field must be there"));
    }

    pub(super) fn wrong_type(&mut self, place: &Place<'_>, expected: &str) {
        let message = format!("this must be {expected}");
        self.report(Problem::new(place.pointer(), code::WRONG_TYPE, message).expected(expected));
    }

    pub(super) fn object<'v>(
        &mut self,
        place: &Place<'_>,
        value: &'v Value,
    ) -> Option<&'v Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.wrong_type(place, "an object");
        }
        object
    }

    pub(super) fn list<'v>(&mut self, place: &Place<'_>, value: &'v Value) -> Option<&'v [Value]> {
        let list = value.as_array();
        if list.is_none() {
            self.wrong_type(place, "a list");
        }
        list.map(Vec::as_slice)
    }

    /// Like [`list`](Self::list), but it must hold something.
    pub(super) fn filled_list<'v>(&mut self, place: &Place<'_>, value: &'v Value) -> Option<&'v [Value]> {
        let list = self.list(place, value)?;
        if list.is_empty() {
            self.report(Problem::new(place.pointer(), code::EMPTY, "this list must hold something"));
            return None;
        }
        Some(list)
    }

    pub(super) fn text<'v>(&mut self, place: &Place<'_>, value: &'v Value) -> Option<&'v str> {
        let text = value.as_str();
        if text.is_none() {
            self.wrong_type(place, "a text");
        }
        text
    }

    /// The text of a field that must be there.
    pub(super) fn required_text<'v>(
        &mut self,
        parent: &Place<'_>,
        fields: &'v Map<String, Value>,
        field: &str,
    ) -> Option<&'v str> {
        let place = parent.field(field);
        match fields.get(field) {
            Some(value) => self.text(&place, value),
            None => {
                self.missing(&place);
                None
            }
        }
    }

    pub(super) fn optional_text(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        field: &str,
        length_max: usize,
    ) -> Option<String> {
        let place = parent.field(field);
        let text = self.text(&place, fields.get(field)?)?;
        if text.chars().count() > length_max {
            let message = format!("this text may have {length_max} characters");
            self.report(Problem::new(place.pointer(), code::TOO_LONG, message));
            return None;
        }
        Some(text.to_owned())
    }

    /// A field that must be there and in kebab-case.
    pub(super) fn name(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        field: &str,
    ) -> Option<String> {
        let text = self.required_text(parent, fields, field)?;
        if !is_kebab_case(text) {
            let message = format!(
                "a name has 1 to {NAME_LENGTH_MAX} of a-z, 0-9 and '-', and begins and ends with a letter or digit"
            );
            self.report(Problem::new(parent.field(field).pointer(), code::INVALID_NAME, message));
            return None;
        }
        Some(text.to_owned())
    }

    /// Reports every field that the object does not have.
    pub(super) fn known_fields(&mut self, place: &Place<'_>, fields: &Map<String, Value>, object: &Object) {
        for name in fields.keys().map(String::as_str) {
            if object.names().any(|known| known == name) {
                continue;
            }
            let known: Vec<&str> = object.names().collect();
            self.report(
                Problem::new(place.field(name).pointer(), code::UNKNOWN_FIELD, "there is no such field here")
                    .expected(known.join(", "))
                    .suggestion(nearest(name, object.names())),
            );
        }
        if !object.some_of.is_empty() && !object.some_of.iter().any(|name| fields.contains_key(*name)) {
            let message = format!("at least one of these must be there: {}", object.some_of.join(", "));
            self.report(Problem::new(place.field(object.some_of[0]).pointer(), code::MISSING_FIELD, message));
        }
    }

    /// One of these texts, as its place among them.
    pub(super) fn one_of(
        &mut self,
        place: &Place<'_>,
        value: &Value,
        known: &'static [&'static str],
    ) -> Option<usize> {
        let text = self.text(place, value)?;
        let found = known.iter().position(|known| *known == text);
        if found.is_none() {
            self.report(
                Problem::new(place.pointer(), code::UNKNOWN_VALUE, format!("this is never `{text}`"))
                    .expected(known.join(", "))
                    .suggestion(nearest(text, known.iter().copied())),
            );
        }
        found
    }

    /// True, false, or not there.
    pub(super) fn flag(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Option<bool> {
        let value = fields.get(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong_type(&parent.field(name), "true or false");
        }
        flag
    }

    /// A whole number within the bounds of the table, or nothing when it is not there.
    pub(super) fn optional_whole(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        object: &Object,
        name: &str,
    ) -> Option<u32> {
        let place = parent.field(name);
        let (min, max) = object.bounds(name).unwrap_or((0, u32::MAX));
        let Some(number) = fields.get(name)?.as_f64().filter(|number| number.fract() == 0.0) else {
            self.wrong_type(&place, "a whole number");
            return None;
        };
        if number < f64::from(min) || number > f64::from(max) {
            let message = "this number is too small or too large";
            let problem = Problem::new(place.pointer(), code::OUT_OF_RANGE, message);
            self.report(problem.expected(format!("{min} to {max}")));
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and within bounds"
        )]
        Some(number as u32)
    }

    /// The same for a number that must be there.
    pub(super) fn whole(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        object: &Object,
        name: &str,
    ) -> Option<u32> {
        if !fields.contains_key(name) {
            self.missing(&parent.field(name));
        }
        self.optional_whole(parent, fields, object, name)
    }

    /// A point in time.
    pub(super) fn instant(
        &mut self,
        parent: &Place<'_>,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Option<Timestamp> {
        let place = parent.field(name);
        let text = self.text(&place, fields.get(name)?)?;
        let instant = parse_instant(text);
        if instant.is_none() {
            self.report(
                Problem::new(place.pointer(), code::INVALID_INSTANT, "not a point in time")
                    .expected("RFC 3339, for example 2026-11-20T12:00:00+01:00"),
            );
        }
        instant
    }

    /// P41: a part that nobody acts on is refused.
    pub(super) fn uses(&mut self, place: &Place<'_>, part: Part) {
        if !self.enforced.contains(&part) {
            self.unsupported(place, &format!("`{}`", part.as_str()));
        }
    }

    /// P41: what is not enforced is refused.
    pub(super) fn unsupported(&mut self, place: &Place<'_>, what: &str) {
        let message =
            format!("{what} is not enforced by this release, and what is not enforced is not stored");
        self.report(Problem::new(place.pointer(), code::UNSUPPORTED, message));
    }
}

/// Reads every entry of a list; nothing as soon as one cannot be read, but all are looked at.
pub(super) fn each<'v, T>(
    place: &Place<'_>,
    entries: &'v [Value],
    mut read: impl FnMut(&Place<'_>, &'v Value) -> Option<T>,
) -> Option<Vec<T>> {
    let all: Vec<Option<T>> =
        entries.iter().enumerate().map(|(index, entry)| read(&place.item(index), entry)).collect();
    all.into_iter().collect()
}

pub(super) fn is_kebab_case(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
