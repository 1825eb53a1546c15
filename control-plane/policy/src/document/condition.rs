//! Reads `when`: nested groups and comparisons, each checked against the attribute it reads.

use aegis_contract::action::ActionType;
use serde_json::{Map, Value};

use super::place::Place;
use super::reader::Reader;
use super::{Check, Condition, Literal, Problem, Test, code};
use crate::attribute::{self, ATTRIBUTES, Attribute, Type};
use crate::decision::Effect;
use crate::suggest::nearest;

const OPERATORS: [&str; 10] = ["eq", "neq", "in", "notIn", "lt", "lte", "gt", "gte", "present", "absent"];
const OPERATORS_LATER: [&str; 9] =
    ["between", "prefix", "suffix", "glob", "cidr", "semver", "anyOf", "allOf", "noneOf"];
const GROUPS: [&str; 3] = ["all", "any", "not"];

/// Reads the condition of one rule.
pub(super) fn read_when(
    reader: &mut Reader,
    place: &Place<'_>,
    value: &Value,
    effect: Option<Effect>,
    actions: &[ActionType],
) -> Option<Condition> {
    let condition = read(reader, place, value, actions)?;
    if effect == Some(Effect::Deny) {
        let guarded = paths_of_presence_tests(&condition);
        check_absence(reader, place, &condition, &guarded, actions);
    }
    Some(condition)
}

fn read(reader: &mut Reader, place: &Place<'_>, value: &Value, actions: &[ActionType]) -> Option<Condition> {
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
    reader: &mut Reader,
    place: &Place<'_>,
    fields: &Map<String, Value>,
    actions: &[ActionType],
) -> Option<Test> {
    reader.known_fields(place, fields, &["path", "op", "value"], &[]);
    let path = reader.required_text(place, fields, "path");
    let attribute = path.and_then(|path| read_path(reader, &place.field("path"), path, actions));
    let operator = read_operator(reader, place, fields);
    let (path, attribute, operator) = (path?, attribute?, operator?);
    let check = read_check(reader, place, fields.get("value"), operator, path, attribute)?;
    Some(Test { path: path.to_owned(), attribute, check })
}

fn read_path(
    reader: &mut Reader,
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

fn read_operator<'v>(
    reader: &mut Reader,
    place: &Place<'_>,
    fields: &'v Map<String, Value>,
) -> Option<&'v str> {
    let operator = reader.required_text(place, fields, "op")?;
    if OPERATORS.contains(&operator) {
        return Some(operator);
    }
    let place = place.field("op");
    if OPERATORS_LATER.contains(&operator) {
        reader.unsupported(&place, &format!("the operator `{operator}`"));
    } else {
        reader.report(
            Problem::new(place.pointer(), code::UNKNOWN_OPERATOR, "there is no such operator")
                .expected(OPERATORS.join(", "))
                .suggestion(nearest(operator, OPERATORS)),
        );
    }
    None
}

fn read_check(
    reader: &mut Reader,
    place: &Place<'_>,
    value: Option<&Value>,
    operator: &str,
    path: &str,
    attribute: &Attribute,
) -> Option<Check> {
    let value_place = place.field("value");
    if let "present" | "absent" = operator {
        if value.is_some() {
            let message = format!("`{operator}` takes no value");
            reader.report(Problem::new(value_place.pointer(), code::UNEXPECTED_VALUE, message));
            return None;
        }
        return Some(if operator == "present" { Check::Present } else { Check::Absent });
    }
    if !is_applicable(operator, attribute.value_type) {
        let message = format!("`{operator}` does not apply to `{path}`, which is {}", attribute.value_type);
        reader.report(Problem::new(place.field("op").pointer(), code::OPERATOR_TYPE, message));
        return None;
    }
    let Some(value) = value else {
        reader.missing(&value_place);
        return None;
    };
    if let "in" | "notIn" = operator {
        let list = read_literals(reader, &value_place, value, attribute)?;
        return Some(if operator == "in" { Check::In(list) } else { Check::NotIn(list) });
    }
    if let "eq" | "neq" = operator {
        let literal = read_literal(reader, &value_place, value, attribute)?;
        return Some(if operator == "eq" { Check::Eq(literal) } else { Check::Neq(literal) });
    }
    let bound = read_bound(reader, &value_place, value, attribute)?;
    Some(match operator {
        "lt" => Check::Lt(bound),
        "lte" => Check::Lte(bound),
        "gt" => Check::Gt(bound),
        _ => Check::Gte(bound),
    })
}

/// P12: whether an operator with a value reads attributes of this type.
fn is_applicable(operator: &str, value_type: Type) -> bool {
    let is_order = matches!(operator, "lt" | "lte" | "gt" | "gte");
    match value_type {
        Type::Text | Type::OneOf(_) | Type::Flag => !is_order,
        Type::Whole | Type::Scalar => true,
        Type::List => false,
    }
}

fn read_literals(
    reader: &mut Reader,
    place: &Place<'_>,
    value: &Value,
    attribute: &Attribute,
) -> Option<Vec<Literal>> {
    let read: Vec<Option<Literal>> = reader
        .filled_list(place, value)?
        .iter()
        .enumerate()
        .map(|(index, item)| read_literal(reader, &place.item(index), item, attribute))
        .collect();
    let literals: Vec<Literal> = read.into_iter().collect::<Option<_>>()?;
    // With one type per list, a value of another type is mistyped, not merely different.
    if let Some(index) = literals.iter().position(|literal| !literal.is_comparable_with(&literals[0])) {
        let message = "all values of a list have one type";
        reader.report(Problem::new(place.item(index).pointer(), code::WRONG_TYPE, message));
        return None;
    }
    Some(literals)
}

fn read_literal(
    reader: &mut Reader,
    place: &Place<'_>,
    value: &Value,
    attribute: &Attribute,
) -> Option<Literal> {
    let literal = Literal::of(value);
    match (attribute.value_type, &literal) {
        (Type::Text | Type::Scalar, Some(Literal::Text(_)))
        | (Type::Flag | Type::Scalar, Some(Literal::Flag(_)))
        | (Type::Scalar, Some(Literal::Number(_))) => literal,
        (Type::Whole, Some(Literal::Number(number))) if number.fract() == 0.0 => literal,
        (Type::OneOf(known), Some(Literal::Text(text))) if known.contains(&text.as_str()) => literal,
        (Type::OneOf(known), Some(Literal::Text(text))) => {
            reader.report(
                Problem::new(
                    place.pointer(),
                    code::UNKNOWN_VALUE,
                    format!("`{}` is never `{text}`", attribute.path),
                )
                .expected(known.join(", "))
                .suggestion(nearest(text, known.iter().copied())),
            );
            None
        }
        (value_type, _) => {
            reader.wrong_type(place, &value_type.to_string());
            None
        }
    }
}

fn read_bound(reader: &mut Reader, place: &Place<'_>, value: &Value, attribute: &Attribute) -> Option<f64> {
    match Literal::of(value) {
        Some(Literal::Number(number)) if attribute.value_type != Type::Whole || number.fract() == 0.0 => {
            Some(number)
        }
        _ => {
            reader.wrong_type(
                place,
                if attribute.value_type == Type::Whole { "a whole number" } else { "a number" },
            );
            None
        }
    }
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

/// P20: a DENY says what the absence of an optional attribute means, by testing its presence.
fn check_absence(
    reader: &mut Reader,
    place: &Place<'_>,
    condition: &Condition,
    guarded: &[&str],
    actions: &[ActionType],
) {
    let group = |name: &'static str, members: &[Condition], reader: &mut Reader| {
        let place = place.field(name);
        for (index, member) in members.iter().enumerate() {
            check_absence(reader, &place.item(index), member, guarded, actions);
        }
    };
    match condition {
        Condition::All(members) => group("all", members, reader),
        Condition::Any(members) => group("any", members, reader),
        Condition::Not(member) => check_absence(reader, &place.field("not"), member, guarded, actions),
        Condition::Test(test) => {
            let certain = test.attribute.presence.is_certain_for(actions);
            if !certain && !guarded.contains(&test.path.as_str()) {
                let path = &test.path;
                let message = format!(
                    "`{path}` may be missing, and this DENY does not say what that means: \
                     add {{\"path\": \"{path}\", \"op\": \"absent\"}} under `any` to deny then, \
                     or \"present\" under `all` not to"
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
