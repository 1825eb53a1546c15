//! Collects problems while a document is read, so that all are reported at once.

use serde_json::{Map, Value};

use super::place::Place;
use super::{NAME_LENGTH_MAX, Problem, code};
use crate::problem::PROBLEMS_MAX;
use crate::suggest::nearest;

/// The problems so far. Every method that reads answers with nothing once it has reported why.
#[derive(Debug, Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
    more: bool,
}

impl Reader {
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

    /// Reports every field that is not in `known`; those in `later` as parts of the language that
    /// are not enforced yet.
    pub(super) fn known_fields(
        &mut self,
        place: &Place<'_>,
        fields: &Map<String, Value>,
        known: &[&'static str],
        later: &[&'static str],
    ) {
        for name in fields.keys().map(String::as_str).filter(|name| !known.contains(name)) {
            let field = place.field(name);
            if later.contains(&name) {
                self.unsupported(&field, &format!("`{name}`"));
            } else {
                self.report(
                    Problem::new(field.pointer(), code::UNKNOWN_FIELD, "there is no such field here")
                        .expected(known.join(", "))
                        .suggestion(nearest(name, known.iter().copied())),
                );
            }
        }
    }

    /// P25: what is not enforced is refused.
    pub(super) fn unsupported(&mut self, place: &Place<'_>, what: &str) {
        let message =
            format!("{what} is not enforced by this release, and what is not enforced is not stored");
        self.report(Problem::new(place.pointer(), code::UNSUPPORTED, message));
    }
}

fn is_kebab_case(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
