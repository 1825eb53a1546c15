//! Reads `when`: nested groups and comparisons, each checked against the attribute it reads.

use aegis_contract::action::ActionType;
use serde_json::{Map, Value};

use super::check::read_check;
use super::place::Place;
use super::reader::Reader;
use super::{Check, Condition, Problem, Test, code};
use crate::attribute::{self, ATTRIBUTES, Attribute};
use crate::decision::RuleEffect;
use crate::operator::{self, Operator};
use crate::shape::COMPARISON;
use crate::suggest::nearest;

const GROUPS: [&str; 3] = ["all", "any", "not"];

/// Reads the condition of one rule.
pub(super) fn read_when(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    effect: Option<RuleEffect>,
    actions: &[ActionType],
) -> Option<Condition> {
    let condition = read(reader, place, value, actions)?;
    if let Some(effect @ (RuleEffect::Deny | RuleEffect::Require)) = effect {
        let guarded = paths_of_presence_tests(&condition);
        check_absence(reader, place, &condition, &guarded, actions, effect);
    }
    Some(condition)
}

fn read(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    actions: &[ActionType],
) -> Option<Condition> {
    let fields = reader.object(place, value)?;
    let Some(group) = GROUPS.into_iter().find(|group| fields.contains_key(*group)) else {
        return read_test(reader, place, fields, actions).map(Condition::Test);
    };
    if fields.len() > 1 {
        let message = "a condition is one of all, any, not, or one comparison; nest them instead";
        reader.report(Problem::new(place.pointer(), code::MIXED_CONDITION, message));
        return None;
    }
    let (place, value) = (place.field(group), &fields[group]);
    if group == "not" {
        return Some(Condition::Not(Box::new(read(reader, &place, value, actions)?)));
    }
    let members: Vec<Option<Condition>> = reader
        .filled_list(&place, value)?
        .iter()
        .enumerate()
        .map(|(index, member)| read(reader, &place.item(index), member, actions))
        .collect();
    let members = members.into_iter().collect::<Option<_>>()?;
    Some(if group == "all" { Condition::All(members) } else { Condition::Any(members) })
}

fn read_test(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
    actions: &[ActionType],
) -> Option<Test> {
    reader.known_fields(place, fields, &COMPARISON);
    let path = reader.required_text(place, fields, "path");
    let attribute = path.and_then(|path| read_path(reader, &place.field("path"), path, actions));
    let operator = read_operator(reader, place, fields);
    let (path, attribute, operator) = (path?, attribute?, operator?);
    let check = read_check(reader, place, fields.get("value"), operator, path, attribute)?;
    Some(Test { path: path.to_owned(), attribute, check })
}

fn read_path(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    path: &str,
    actions: &[ActionType],
) -> Option<&'static Attribute> {
    let Some(attribute) = attribute::find(path) else {
        if path.starts_with("signal.") {
            reader.unsupported(place, "an attribute of the signal");
        } else {
            let known = ATTRIBUTES.iter().map(|attribute| attribute.path);
            reader.report(
                Problem::new(
                    place.pointer(),
                    code::UNKNOWN_ATTRIBUTE,
                    format!("there is no attribute `{path}`"),
                )
                .suggestion(nearest(path, known)),
            );
        }
        return None;
    };
    // P13: a parameter is read only by rules that can be about its action.
    if let Some(action) = attribute.presence.action().filter(|action| !actions.contains(action)) {
        let message = format!("only `{action}` has `{path}`, and this rule is never about `{action}`");
        reader.report(Problem::new(place.pointer(), code::ATTRIBUTE_UNAVAILABLE, message));
        return None;
    }
    Some(attribute)
}

fn read_operator(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<&'static Operator> {
    let name = reader.required_text(place, fields, "op")?;
    let operator = operator::find(name);
    if operator.is_none() {
        let names = operator::OPERATORS.iter().map(|operator| operator.name);
        let known: Vec<&str> = names.clone().collect();
        reader.report(
            Problem::new(place.field("op").pointer(), code::UNKNOWN_OPERATOR, "there is no such operator")
                .expected(known.join(", "))
                .suggestion(nearest(name, names)),
        );
    }
    operator
}

fn paths_of_presence_tests(condition: &Condition) -> Vec<&str> {
    match condition {
        Condition::All(members) | Condition::Any(members) => {
            members.iter().flat_map(paths_of_presence_tests).collect()
        }
        Condition::Not(member) => paths_of_presence_tests(member),
        Condition::Test(Test { path, check: Check::Present | Check::Absent, .. }) => vec![path],
        Condition::Test(_) => Vec::new(),
    }
}

/// P20: a DENY and a REQUIRE say what the absence of an optional attribute means, by testing its presence.
fn check_absence(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    condition: &Condition,
    guarded: &[&str],
    actions: &[ActionType],
    effect: RuleEffect,
) {
    let group = |name: &'static str, members: &[Condition], reader: &mut Reader<'_>| {
        let place = place.field(name);
        for (index, member) in members.iter().enumerate() {
            check_absence(reader, &place.item(index), member, guarded, actions, effect);
        }
    };
    match condition {
        Condition::All(members) => group("all", members, reader),
        Condition::Any(members) => group("any", members, reader),
        Condition::Not(member) => {
            check_absence(reader, &place.field("not"), member, guarded, actions, effect);
        }
        Condition::Test(test) => {
            let certain = test.attribute.presence.is_certain_for(actions);
            if !certain && !guarded.contains(&test.path.as_str()) {
                let path = &test.path;
                let message = format!(
                    "`{path}` may be missing, and this {effect} does not say what that means: \
                     add {{\"path\": \"{path}\", \"op\": \"absent\"}} under `any` for it to apply then, \
                     or \"present\" under `all` for it not to"
                );
                reader.report(Problem::new(
                    place.field("path").pointer(),
                    code::ABSENCE_UNSPECIFIED,
                    message,
                ));
            }
        }
    }
}
