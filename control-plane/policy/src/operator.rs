//! The one table of operators: what each takes, and which attributes it reads.

use crate::attribute::Type;

/// What a comparison gives an operator as `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: there is no `value`.
    Nothing,
    /// A value of the attribute's type.
    Value,
    /// A list of at least one value, all of one type.
    Values,
    /// A number.
    Number,
    /// Two numbers, the lower one first.
    Range,
    /// A text of at least one character.
    Text,
    /// A text in which `*` stands for any run of characters.
    Pattern,
    /// A network, for example `10.0.0.0/8`.
    Network,
    /// Versions, for example `>=1.4.0, <2.0.0`.
    Versions,
    /// A list of at least one text.
    Texts,
}

/// One row of the table.
#[derive(Debug)]
pub struct Operator {
    /// How a comparison names it.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// When the comparison is true.
    pub meaning: &'static str,
}

const fn row(name: &'static str, takes: Takes, meaning: &'static str) -> Operator {
    Operator { name, takes, meaning }
}

/// Every operator, in the order it is documented.
pub static OPERATORS: &[Operator] = &[
    row("eq", Takes::Value, "it is the value"),
    row("neq", Takes::Value, "it is another value"),
    row("in", Takes::Values, "it is one of the values"),
    row("notIn", Takes::Values, "it is none of the values"),
    row("lt", Takes::Number, "it is lower"),
    row("lte", Takes::Number, "it is lower or equal"),
    row("gt", Takes::Number, "it is higher"),
    row("gte", Takes::Number, "it is higher or equal"),
    row("between", Takes::Range, "it is one of the two numbers or between them"),
    row("prefix", Takes::Text, "it begins with the text"),
    row("suffix", Takes::Text, "it ends with the text"),
    row("glob", Takes::Pattern, "the pattern matches all of it"),
    row("cidr", Takes::Network, "it is an address in the network"),
    row("semver", Takes::Versions, "it is one of the versions"),
    row("anyOf", Takes::Texts, "it holds at least one of the texts"),
    row("allOf", Takes::Texts, "it holds all of the texts"),
    row("noneOf", Takes::Texts, "it holds none of the texts"),
    row("present", Takes::Nothing, "it is there"),
    row("absent", Takes::Nothing, "it is not there"),
];

/// The operator of this name.
pub(crate) fn find(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name)
}

impl Operator {
    /// P12: whether it reads attributes of this type.
    pub fn applies_to(&self, value_type: Type) -> bool {
        match self.takes {
            Takes::Nothing => true,
            Takes::Value | Takes::Values => value_type != Type::List,
            Takes::Number | Takes::Range => matches!(value_type, Type::Whole | Type::Scalar),
            Takes::Text | Takes::Pattern | Takes::Network | Takes::Versions => {
                matches!(value_type, Type::Text | Type::Scalar)
            }
            Takes::Texts => value_type == Type::List,
        }
    }
}
