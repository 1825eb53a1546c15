//! Sentences of our words and others' values, as plain text and as Markdown. What others wrote stands in code spans:
//! it makes no link, mentions nobody, ends no table and steers no terminal.

use crate::output::printable;

/// A sentence that is put together of words and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(&'static str),
    Value(String),
}

impl Said {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same with words of ours.
    pub(crate) fn words(mut self, words: &'static str) -> Self {
        self.0.push(Part::Words(words));
        self
    }

    /// The same with a value.
    pub(crate) fn value(mut self, value: impl Into<String>) -> Self {
        self.0.push(Part::Value(value.into()));
        self
    }

    /// The same and what another one says.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// For a terminal.
    pub(crate) fn plain(&self) -> String {
        self.joined(printable)
    }

    /// For a cell of a table.
    pub(crate) fn markdown(&self) -> String {
        self.joined(code)
    }

    fn joined(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Words(words) => (*words).to_owned(),
            Part::Value(text) => value(text),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(" ")
    }
}

/// A code span for a cell of a table.
pub(crate) fn code(text: &str) -> String {
    let text = printable(&text.replace(['\n', '\r', '\t'], " ")).replace('|', "\\|");
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    if text.trim().is_empty() {
        "—".to_owned()
    } else if text.starts_with('`') || text.ends_with('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_a_value() {
        for (text, expected) in [
            ("client:alert-bot", "`client:alert-bot`"),
            ("a | b\n# c", "`a \\| b # c`"),
            ("see `x` and ``y", "```see `x` and ``y```"),
            ("`", "`` ` ``"),
            ("@everybody <img src=x>", "`@everybody <img src=x>`"),
            ("\u{1b}[2J", "`\u{fffd}[2J`"),
            (" ", "—"),
        ] {
            assert_eq!(code(text), expected);
        }
        let said = Said::new().words("asked for").value("a\u{7}b").and(Said::new().words("now"));
        assert_eq!(
            (said.plain(), said.markdown()),
            ("asked for a\u{fffd}b now".to_owned(), "asked for `a\u{fffd}b` now".to_owned())
        );
    }
}
