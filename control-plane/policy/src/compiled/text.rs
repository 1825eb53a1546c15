//! Texts of rules as small numbers, and patterns ready to be matched.

use super::predicate::id;
use crate::fingerprint::fingerprint;
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

/// The texts that rules write in one place: a table of open addresses, filled to a half at most.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    slots: Vec<Slot>,
    /// All texts, one after the other.
    texts: String,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    fingerprint: u64,
    /// [`Symbol::UNKNOWN`] if the slot is free.
    symbol: Symbol,
    start: u32,
    len: u32,
}

const FREE: Slot = Slot { fingerprint: 0, symbol: Symbol::UNKNOWN, start: 0, len: 0 };

impl Symbols {
    /// The symbol of a text that a rule writes.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        let fingerprint = fingerprint(text);
        let found = self.find(fingerprint, text);
        if found != Symbol::UNKNOWN {
            return found;
        }
        if self.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let (start, len) = (id(self.texts.len()), id(text.len()));
        self.texts.push_str(text);
        let symbol = Symbol(self.len);
        self.len += 1;
        self.put(Slot { fingerprint, symbol, start, len });
        symbol
    }

    /// The symbol of a text of a question, which has this fingerprint.
    pub(super) fn find(&self, fingerprint: u64, text: &str) -> Symbol {
        if self.slots.is_empty() {
            return Symbol::UNKNOWN;
        }
        let mut place = self.place(fingerprint);
        loop {
            let slot = &self.slots[place];
            if slot.symbol == Symbol::UNKNOWN {
                return Symbol::UNKNOWN;
            }
            let (start, end) = (slot.start as usize, (slot.start + slot.len) as usize);
            if slot.fingerprint == fingerprint && self.texts[start..end] == *text {
                return slot.symbol;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The first slot of a fingerprint; there are a power of two of them.
    fn place(&self, fingerprint: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let bits = fingerprint as usize;
        bits & (self.slots.len() - 1)
    }

    fn put(&mut self, slot: Slot) {
        let mut place = self.place(slot.fingerprint);
        while self.slots[place].symbol != Symbol::UNKNOWN {
            place = (place + 1) & (self.slots.len() - 1);
        }
        self.slots[place] = slot;
    }

    fn grow(&mut self) {
        let slots = vec![FREE; (self.slots.len() * 2).max(8)];
        for slot in std::mem::replace(&mut self.slots, slots) {
            if slot.symbol != Symbol::UNKNOWN {
                self.put(slot);
            }
        }
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

    /// Its only text, if it has nothing else.
    pub(super) fn single(&self) -> Option<Symbol> {
        match (&*self.texts, &*self.patterns) {
            ([text], []) => Some(*text),
            _ => None,
        }
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
                prop_assert_eq!(set.matches(symbols.find(fingerprint(&text), &text), &text), glob.matches(&text));
            }
        }
    }
}
