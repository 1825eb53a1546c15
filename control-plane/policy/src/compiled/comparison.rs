//! What a condition compares an attribute with, in a form in which equal comparisons are found.

use semver::{Version, VersionReq};

use super::text::{Pattern, Symbol, Symbols};
use super::value::Reading;
use crate::decision::Cause;
use crate::document::{Check, Literal};
use crate::network::Network;

/// P8 to P11, P25 to P28.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Present,
    Absent,
    /// Whether being one of the values is what holds.
    OneOf(Values, bool),
    Order(Order, Number),
    /// Both bounds belong to it.
    Between(Number, Number),
    Text(TextForm),
    Roles(Quantifier, Box<[Symbol]>),
}

/// Values of one type: sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Values {
    Texts(Box<[Symbol]>),
    Numbers(Box<[Number]>),
    Flags(Box<[bool]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Lt,
    Lte,
    Gt,
    Gte,
}

/// What a text looks like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TextForm {
    Prefix(Box<str>),
    Suffix(Box<str>),
    Glob(Pattern),
    Cidr(Network),
    Semver(VersionReq),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Quantifier {
    Any,
    All,
    None,
}

/// A number of a document or a question, which is never NaN, by its bits; both zeros are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Number(u64);

impl Number {
    fn new(number: f64) -> Self {
        Self((number + 0.0).to_bits())
    }

    fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Comparison {
    /// `texts` are what conditions compare with, `roles` what rules say of roles.
    pub(super) fn new(check: &Check, texts: &mut Symbols, roles: &mut Symbols) -> Self {
        let order = |operator, bound: f64| Self::Order(operator, Number::new(bound));
        let mut of_roles = |quantifier, list: &[String]| {
            Self::Roles(quantifier, sorted(list.iter().map(|role| roles.intern(role))))
        };
        match check {
            Check::Eq(literal) => Self::OneOf(Values::new(std::slice::from_ref(literal), texts), true),
            Check::Neq(literal) => Self::OneOf(Values::new(std::slice::from_ref(literal), texts), false),
            Check::In(list) => Self::OneOf(Values::new(list, texts), true),
            Check::NotIn(list) => Self::OneOf(Values::new(list, texts), false),
            Check::Lt(bound) => order(Order::Lt, *bound),
            Check::Lte(bound) => order(Order::Lte, *bound),
            Check::Gt(bound) => order(Order::Gt, *bound),
            Check::Gte(bound) => order(Order::Gte, *bound),
            Check::Between(low, high) => Self::Between(Number::new(*low), Number::new(*high)),
            Check::Prefix(text) => Self::Text(TextForm::Prefix(text.as_str().into())),
            Check::Suffix(text) => Self::Text(TextForm::Suffix(text.as_str().into())),
            Check::Glob(glob) => match Pattern::new(glob.as_str()) {
                Some(pattern) => Self::Text(TextForm::Glob(pattern)),
                None => Self::OneOf(Values::Texts([texts.intern(glob.as_str())].into()), true),
            },
            Check::Cidr(network) => Self::Text(TextForm::Cidr(*network)),
            Check::Semver(versions) => Self::Text(TextForm::Semver(versions.clone())),
            Check::AnyOf(list) => of_roles(Quantifier::Any, list),
            Check::AllOf(list) => of_roles(Quantifier::All, list),
            Check::NoneOf(list) => of_roles(Quantifier::None, list),
            Check::Present => Self::Present,
            Check::Absent => Self::Absent,
        }
    }

    /// P16: unknown, for the cause returned, if the attribute is missing or of another type. `roles`
    /// are those held, `text` is the attribute's, for comparisons that look into it.
    pub(super) fn holds(
        &self,
        reading: Reading,
        roles: &[Symbol],
        text: Option<&str>,
    ) -> Result<bool, Cause> {
        let holds = match (self, reading) {
            // P14: stale facts say nothing, not even that something is missing.
            (_, Reading::Stale) => return Err(Cause::Stale),
            // P11: presence is never unknown.
            (Self::Present, reading) => Some(reading != Reading::Missing),
            (Self::Absent, reading) => Some(reading == Reading::Missing),
            (_, Reading::Missing) => return Err(Cause::Missing),
            (Self::OneOf(values, holds), reading) => values.contain(reading).map(|found| found == *holds),
            (Self::Order(order, bound), Reading::Number(number)) => Some(order.holds(number, bound.get())),
            (Self::Between(low, high), Reading::Number(number)) => {
                Some(low.get() <= number && number <= high.get())
            }
            (Self::Text(form), Reading::Text(_)) => text.and_then(|text| form.holds(text)),
            (Self::Roles(quantifier, texts), Reading::Roles) => Some(quantifier.holds(texts, roles)),
            _ => None,
        };
        holds.ok_or(Cause::Mistyped)
    }
}

impl Values {
    /// All literals of a list have one type: the reader of documents sees to it.
    fn new(literals: &[Literal], symbols: &mut Symbols) -> Self {
        let (mut texts, mut numbers, mut flags) = (Vec::new(), Vec::new(), Vec::new());
        for literal in literals {
            match literal {
                Literal::Text(text) => texts.push(symbols.intern(text)),
                Literal::Number(number) => numbers.push(Number::new(*number)),
                Literal::Flag(flag) => flags.push(*flag),
            }
        }
        match literals.first() {
            Some(Literal::Number(_)) => Self::Numbers(sorted(numbers.into_iter())),
            Some(Literal::Flag(_)) => Self::Flags(sorted(flags.into_iter())),
            Some(Literal::Text(_)) | None => Self::Texts(sorted(texts.into_iter())),
        }
    }

    fn contain(&self, reading: Reading) -> Option<bool> {
        match (self, reading) {
            (Self::Texts(texts), Reading::Text(text)) => Some(texts.binary_search(&text).is_ok()),
            (Self::Numbers(numbers), Reading::Number(number)) => {
                Some(numbers.binary_search(&Number::new(number)).is_ok())
            }
            (Self::Flags(flags), Reading::Flag(flag)) => Some(flags.contains(&flag)),
            _ => None,
        }
    }
}

impl Order {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Lt => number < bound,
            Self::Lte => number <= bound,
            Self::Gt => number > bound,
            Self::Gte => number >= bound,
        }
    }
}

impl TextForm {
    /// Nothing if the text is no address or no version, where it should be one: P26, P27.
    fn holds(&self, text: &str) -> Option<bool> {
        match self {
            Self::Prefix(prefix) => Some(text.starts_with(&**prefix)),
            Self::Suffix(suffix) => Some(text.ends_with(&**suffix)),
            Self::Glob(pattern) => Some(pattern.matches(text)),
            Self::Cidr(network) => network.contains(text),
            Self::Semver(versions) => Some(versions.matches(&Version::parse(text).ok()?)),
        }
    }
}

impl Quantifier {
    fn holds(self, texts: &[Symbol], held: &[Symbol]) -> bool {
        let mut texts = texts.iter();
        match self {
            Self::Any => texts.any(|text| held.contains(text)),
            Self::All => texts.all(|text| held.contains(text)),
            Self::None => !texts.any(|text| held.contains(text)),
        }
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Box<[T]> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values.into()
}
