//! Texts of rules as small numbers, and patterns ready to be matched.

use rustc_hash::FxHashMap;

use crate::pattern::Glob;

/// A text that some rule writes literally. Two symbols of one [`Symbols`] are equal exactly if their
/// texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Symbol(u32);

impl Symbol {
    /// A text that no rule writes; it equals no symbol of a rule.
    pub(super) const UNKNOWN: Self = Self(u32::MAX);

    /// A place in a table with one element per symbol; beyond every table for [`Self::UNKNOWN`].
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The texts that rules write in one place.
#[derive(Debug, Default)]
pub(super) struct Symbols(FxHashMap<Box<str>, Symbol>);

impl Symbols {
    /// The symbol of a text that a rule writes.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.0.get(text) {
            return *symbol;
        }
        let symbol = Symbol(u32::try_from(self.0.len()).expect("documents of 16 MiB hold fewer texts"));
        self.0.insert(text.into(), symbol);
        symbol
    }

    /// The symbol of a text of a question.
    pub(super) fn find(&self, text: &str) -> Symbol {
        self.0.get(text).copied().unwrap_or(Symbol::UNKNOWN)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// P21: a pattern with at least one `*`, cut at its stars.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pattern {
    first: Box<str>,
    middle: Box<[Box<str>]>,
    last: Box<str>,
}

impl Pattern {
    /// Nothing if the pattern has no star: then it is a text.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('*')?;
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty()).map(Into::into).collect();
        Some(Self { first: first.into(), middle, last: last.into() })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(&*self.first) else { return false };
        let Some(mut rest) = rest.strip_suffix(&*self.last) else { return false };
        // Taking the earliest place for each part leaves the most for those after it.
        for part in &self.middle {
            match rest.find(&**part) {
                Some(start) => rest = &rest[start + part.len()..],
                None => return false,
            }
        }
        true
    }
}

/// Texts and patterns one of which must match: one dimension of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TextSet {
    /// Sorted, each once.
    texts: Box<[Symbol]>,
    /// Sorted, each once.
    patterns: Box<[Pattern]>,
}

impl TextSet {
    /// Whether the globs cover every text.
    pub(super) fn is_everything(globs: &[Glob]) -> bool {
        globs.is_empty() || globs.iter().any(|glob| glob.as_str() == "*")
    }

    pub(super) fn new(globs: &[Glob], symbols: &mut Symbols) -> Self {
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for glob in globs {
            match Pattern::new(glob.as_str()) {
                Some(pattern) => patterns.push(pattern),
                None => texts.push(symbols.intern(glob.as_str())),
            }
        }
        texts.sort_unstable();
        texts.dedup();
        patterns.sort_unstable();
        patterns.dedup();
        Self { texts: texts.into(), patterns: patterns.into() }
    }

    /// Its texts, if it has no patterns.
    pub(super) fn literals(&self) -> Option<&[Symbol]> {
        self.patterns.is_empty().then_some(&*self.texts)
    }

    pub(super) fn matches(&self, symbol: Symbol, text: &str) -> bool {
        self.texts.binary_search(&symbol).is_ok() || self.patterns.iter().any(|pattern| pattern.matches(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn a_pattern_matches_what_its_glob_matches(glob in "[ab*]{1,8}", text in "[ab]{0,8}") {
            if let Ok(glob) = Glob::parse(&glob) {
                let mut symbols = Symbols::default();
                let set = TextSet::new(std::slice::from_ref(&glob), &mut symbols);
                prop_assert_eq!(set.matches(symbols.find(&text), &text), glob.matches(&text));
            }
        }
    }
}
