//! Reads what an attribute is compared with.

use semver::VersionReq;
use serde_json::Value;

use super::place::Place;
use super::reader::{Reader, each};
use super::{Check, Literal, Problem, code};
use crate::attribute::{Attribute, Type};
use crate::network::Network;
use crate::operator::{Operator, Takes};
use crate::pattern::Glob;
use crate::suggest::nearest;

/// P12: reads the value of a comparison, as the operator takes it and the attribute has it.
pub(super) fn read_check(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: Option<&Value>,
    operator: &Operator,
    path: &str,
    attribute: &Attribute,
) -> Option<Check> {
    let (name, value_place) = (operator.name, place.field("value"));
    if !operator.applies_to(attribute.value_type) {
        let message = format!("`{name}` does not apply to `{path}`, which is {}", attribute.value_type);
        reader.report(Problem::new(place.field("op").pointer(), code::OPERATOR_TYPE, message));
        return None;
    }
    if operator.takes == Takes::Nothing {
        if value.is_some() {
            let message = format!("`{name}` takes no value");
            reader.report(Problem::new(value_place.pointer(), code::UNEXPECTED_VALUE, message));
            return None;
        }
        return Some(if name == "present" { Check::Present } else { Check::Absent });
    }
    let Some(value) = value else {
        reader.missing(&value_place);
        return None;
    };
    read_value(reader, &value_place, value, operator, attribute)
}

fn read_value(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    operator: &Operator,
    attribute: &Attribute,
) -> Option<Check> {
    let name = operator.name;
    Some(match operator.takes {
        Takes::Nothing => return None,
        Takes::Value => {
            let literal = read_literal(reader, place, value, attribute)?;
            if name == "eq" { Check::Eq(literal) } else { Check::Neq(literal) }
        }
        Takes::Values => {
            let literals = read_literals(reader, place, value, attribute)?;
            if name == "in" { Check::In(literals) } else { Check::NotIn(literals) }
        }
        Takes::Number => {
            let bound = read_bound(reader, place, value, attribute)?;
            match name {
                "lt" => Check::Lt(bound),
                "lte" => Check::Lte(bound),
                "gt" => Check::Gt(bound),
                _ => Check::Gte(bound),
            }
        }
        Takes::Range => read_range(reader, place, value, attribute)?,
        Takes::Text => {
            let text = read_text(reader, place, value)?;
            if name == "prefix" { Check::Prefix(text) } else { Check::Suffix(text) }
        }
        Takes::Pattern => Check::Glob(read_glob(reader, place, value)?),
        Takes::Network => Check::Cidr(read_network(reader, place, value)?),
        Takes::Versions => Check::Semver(read_versions(reader, place, value)?),
        Takes::Texts => {
            let texts = reader.filled_list(place, value)?;
            let texts = each(place, texts, |place, text| read_text(reader, place, text))?;
            match name {
                "anyOf" => Check::AnyOf(texts),
                "allOf" => Check::AllOf(texts),
                _ => Check::NoneOf(texts),
            }
        }
    })
}

fn read_literals(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    attribute: &Attribute,
) -> Option<Vec<Literal>> {
    let list = reader.filled_list(place, value)?;
    let literals = each(place, list, |place, item| read_literal(reader, place, item, attribute))?;
    // With one type per list, a value of another type is mistyped, not merely different.
    if let Some(index) = literals.iter().position(|literal| !literal.is_comparable_with(&literals[0])) {
        let message = "all values of a list have one type";
        reader.report(Problem::new(place.item(index).pointer(), code::WRONG_TYPE, message));
        return None;
    }
    Some(literals)
}

fn read_literal(
    reader: &mut Reader<'_>,
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

fn read_bound(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    attribute: &Attribute,
) -> Option<f64> {
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

/// P10: two numbers, of which the second is not below the first.
fn read_range(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    value: &Value,
    attribute: &Attribute,
) -> Option<Check> {
    let list = reader.list(place, value)?;
    let [_, _] = list else {
        reader.wrong_type(place, "a list of two numbers");
        return None;
    };
    let bounds = each(place, list, |place, bound| read_bound(reader, place, bound, attribute))?;
    if bounds[0] > bounds[1] {
        let message = "nothing lies between these; the lower number comes first";
        reader.report(Problem::new(place.pointer(), code::INVALID_RANGE, message));
        return None;
    }
    Some(Check::Between(bounds[0], bounds[1]))
}

/// P25: an empty text would begin and end everything.
fn read_text(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<String> {
    let text = reader.text(place, value)?;
    if text.is_empty() {
        reader.report(Problem::new(place.pointer(), code::EMPTY, "this text must hold something"));
        return None;
    }
    Some(text.to_owned())
}

/// P25: a pattern as in `match`, of any characters.
fn read_glob(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Glob> {
    let text = reader.text(place, value)?;
    let glob = Glob::parse_text(text);
    let problem = |error: crate::pattern::PatternError| {
        reader.report(Problem::new(place.pointer(), code::INVALID_PATTERN, error.message));
    };
    glob.map_err(problem).ok()
}

/// P26: a network without bits beyond its prefix.
fn read_network(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Network> {
    let network = Network::parse(reader.text(place, value)?);
    if network.is_none() {
        reader.report(
            Problem::new(
                place.pointer(),
                code::INVALID_NETWORK,
                "not a network, or an address with bits beyond its prefix",
            )
            .expected("address/bits, for example 10.0.0.0/8 or 2001:db8::/32"),
        );
    }
    network
}

/// P27: comparisons with versions, joined by commas.
fn read_versions(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<VersionReq> {
    let versions = VersionReq::parse(reader.text(place, value)?);
    let problem = |error: semver::Error| {
        reader.report(
            Problem::new(place.pointer(), code::INVALID_VERSIONS, error.to_string())
                .expected("comparisons of versions, for example >=1.4.0, <2.0.0"),
        );
    };
    versions.map_err(problem).ok()
}
