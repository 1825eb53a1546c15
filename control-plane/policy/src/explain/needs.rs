//! What a comparison asks for, in words.

use crate::document::{Check, Literal};

/// What an attribute must be for the comparison to be true, or with `wanted` false to be false.
pub(super) fn needs(check: &Check, wanted: bool) -> String {
    match (check, wanted) {
        (Check::Eq(value), true) | (Check::Neq(value), false) => word(value),
        (Check::Eq(value), false) | (Check::Neq(value), true) => format!("anything but {}", word(value)),
        (Check::In(values), true) | (Check::NotIn(values), false) => one_of(values),
        (Check::In(values), false) | (Check::NotIn(values), true) => {
            format!("anything but {}", one_of(values))
        }
        (Check::Lt(bound), true) | (Check::Gte(bound), false) => format!("less than {bound}"),
        (Check::Lte(bound), true) | (Check::Gt(bound), false) => format!("at most {bound}"),
        (Check::Gt(bound), true) | (Check::Lte(bound), false) => format!("more than {bound}"),
        (Check::Gte(bound), true) | (Check::Lt(bound), false) => format!("at least {bound}"),
        (Check::Between(low, high), true) => format!("{low} to {high}"),
        (Check::Between(low, high), false) => format!("less than {low} or more than {high}"),
        (Check::Prefix(text), true) => format!("to begin with {text}"),
        (Check::Prefix(text), false) => format!("not to begin with {text}"),
        (Check::Suffix(text), true) => format!("to end with {text}"),
        (Check::Suffix(text), false) => format!("not to end with {text}"),
        (Check::Glob(glob), true) => format!("to match {glob}"),
        (Check::Glob(glob), false) => format!("not to match {glob}"),
        (Check::Cidr(network), true) => format!("an address in {network}"),
        (Check::Cidr(network), false) => format!("an address outside {network}"),
        (Check::Semver(versions), true) => format!("a version {versions}"),
        (Check::Semver(versions), false) => format!("a version other than {versions}"),
        (Check::AnyOf(texts), true) | (Check::NoneOf(texts), false) => join(texts, "or"),
        (Check::AllOf(texts), true) => join(texts, "and"),
        (Check::AllOf(texts), false) => format!("to lack one of {}", join(texts, "and")),
        (Check::NoneOf(texts), true) | (Check::AnyOf(texts), false) => {
            format!("to lack {}", join(texts, "and"))
        }
        (Check::Present, true) | (Check::Absent, false) => "to be there".to_owned(),
        (Check::Absent, true) | (Check::Present, false) => "to be left out".to_owned(),
    }
}

fn one_of(values: &[Literal]) -> String {
    join(&values.iter().map(word).collect::<Vec<_>>(), "or")
}

fn word(value: &Literal) -> String {
    match value {
        Literal::Text(text) => text.clone(),
        Literal::Number(number) => number.to_string(),
        Literal::Flag(flag) => flag.to_string(),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn join(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., word] => format!("{} {last} {word}", words.join(", ")),
    }
}
