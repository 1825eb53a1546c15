//! What is wrong with a document or a question, precisely enough to correct it without help.

use std::fmt;

use serde::Serialize;

/// Most problems one answer holds; the last one then says that there are more.
pub const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PolicyProblem))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// JSON pointer (RFC 6901) to the value at fault, or to where a missing one belongs.
    pub pointer: String,
    /// Stable code in kebab-case: one of [`code`], or of the strict JSON reader.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// What would be right there, if it can be said in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The nearest valid name: "did you mean".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Line in the document, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Byte in that line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Problem {
    pub(crate) fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            message: message.into(),
            expected: None,
            suggestion: None,
            line: None,
            column: None,
        }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn suggestion(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column} ")?;
        }
        write!(f, "{} [{}] {}", self.pointer, self.code, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean `{suggestion}`?)")?;
        }
        Ok(())
    }
}

/// The codes a [`Problem`] may carry, besides those of the strict JSON reader. `docs/policies.md`
/// lists them; a test holds the two equal.
pub mod code {
    macro_rules! codes {
        ($(#[doc = $meaning:literal] $name:ident = $text:literal;)*) => {
            $(#[doc = $meaning] pub const $name: &str = $text;)*
            /// Every code of this module, with its meaning.
            pub const ALL: &[(&str, &str)] = &[$(($text, $meaning)),*];
        };
    }

    codes! {
        /// A DENY or REQUIRE reads an optional attribute and does not say what its absence means.
        ABSENCE_UNSPECIFIED = "absence-unspecified";
        /// No action that the rule matches has this parameter.
        ATTRIBUTE_UNAVAILABLE = "attribute-unavailable";
        /// A role stands in two groups of one rule.
        DUPLICATE_ROLE = "duplicate-role";
        /// Two rules of one document have the same id.
        DUPLICATE_RULE_ID = "duplicate-rule-id";
        /// Two tests of one document have the same name.
        DUPLICATE_TEST = "duplicate-test";
        /// A list, text or rule that must say something says nothing.
        EMPTY = "empty";
        /// A day of the calendar or a range of days cannot be read.
        INVALID_DATE = "invalid-date";
        /// A weekday or a range of weekdays cannot be read.
        INVALID_DAYS = "invalid-days";
        /// A point in time is not written as RFC 3339 writes it.
        INVALID_INSTANT = "invalid-instant";
        /// A name or id is not in kebab-case, or too long.
        INVALID_NAME = "invalid-name";
        /// A network is not `address/bits`, or has bits beyond its prefix.
        INVALID_NETWORK = "invalid-network";
        /// A pattern cannot match anything.
        INVALID_PATTERN = "invalid-pattern";
        /// A principal is not `kind:name`.
        INVALID_PRINCIPAL = "invalid-principal";
        /// The lower of two numbers does not come first.
        INVALID_RANGE = "invalid-range";
        /// A resource does not have one of the two forms.
        INVALID_RESOURCE = "invalid-resource";
        /// A time of day is not `HH:MM`.
        INVALID_TIME = "invalid-time";
        /// Something expires before it begins.
        INVALID_VALIDITY = "invalid-validity";
        /// Versions cannot be read.
        INVALID_VERSIONS = "invalid-versions";
        /// A window begins and ends at the same minute.
        INVALID_WINDOW = "invalid-window";
        /// Rules of this effect do not have this field.
        MISPLACED_FIELD = "misplaced-field";
        /// A field that must be there is not.
        MISSING_FIELD = "missing-field";
        /// A condition is more than one thing at once.
        MIXED_CONDITION = "mixed-condition";
        /// The operator does not apply to attributes of this type.
        OPERATOR_TYPE = "operator-type";
        /// A number is too small or too large.
        OUT_OF_RANGE = "out-of-range";
        /// A text is longer than its limit.
        TOO_LONG = "too-long";
        /// There are more problems than one answer holds.
        TOO_MANY_PROBLEMS = "too-many-problems";
        /// The operator takes no value.
        UNEXPECTED_VALUE = "unexpected-value";
        /// There is no such action.
        UNKNOWN_ACTION = "unknown-action";
        /// There is no such attribute.
        UNKNOWN_ATTRIBUTE = "unknown-attribute";
        /// The document has no calendar of this name.
        UNKNOWN_CALENDAR = "unknown-calendar";
        /// There is no such effect.
        UNKNOWN_EFFECT = "unknown-effect";
        /// There is no such field.
        UNKNOWN_FIELD = "unknown-field";
        /// There is no such kind of limit.
        UNKNOWN_LIMIT = "unknown-limit";
        /// There is no such operator.
        UNKNOWN_OPERATOR = "unknown-operator";
        /// The document is written in a language this release does not know.
        UNKNOWN_SCHEMA = "unknown-schema";
        /// The field or attribute never has this value.
        UNKNOWN_VALUE = "unknown-value";
        /// There is no such time zone.
        UNKNOWN_ZONE = "unknown-zone";
        /// A part of the language that is not enforced yet, and is therefore refused.
        UNSUPPORTED = "unsupported";
        /// An ALLOW stands in a policy that only warns.
        WARN_ALLOW = "warn-allow";
        /// A value of another JSON type, or of another type than the attribute's.
        WRONG_TYPE = "wrong-type";
    }
}
