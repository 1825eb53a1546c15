//! Texts that stand for all others: for every combination of patterns that some text matches
//! together, the shortest such text.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

/// Most patterns that are remembered as "may still match", over all beginnings of texts that are looked
/// at for one dimension. Ten thousand names need a fifth of it; many patterns that begin with `*` can
/// need any number, because each combination of them has its own texts.
const OPEN_PATTERNS_MAX: usize = 1_000_000;

/// A pattern: characters, and `None` for any run of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pattern(Vec<Option<char>>);

impl Pattern {
    /// P21: `*` stands for any run of characters.
    pub(super) fn glob(text: &str) -> Self {
        Self(text.chars().map(|character| (character != '*').then_some(character)).collect())
    }

    /// This text alone.
    pub(super) fn literal(text: &str) -> Self {
        Self(text.chars().map(Some).collect())
    }

    /// All texts that begin with this one.
    pub(super) fn prefix(text: &str) -> Self {
        Self(text.chars().map(Some).chain([None]).collect())
    }

    /// All texts that end with this one.
    pub(super) fn suffix(text: &str) -> Self {
        Self(std::iter::once(None).chain(text.chars().map(Some)).collect())
    }

    /// The one text that matches; nothing where several may.
    pub(super) fn only_text(&self) -> Option<String> {
        self.0.iter().copied().collect()
    }

    /// Whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let end = text.chars().fold(self.start(), |places, character| self.step(&places, character));
        self.accepts(&end)
    }

    /// The ways to match this many segments with slashes between them: a run of characters may reach
    /// over any of them.
    pub(super) fn split(&self, segments: usize) -> Vec<Vec<Self>> {
        let mut ways = Vec::new();
        if segments == 1 {
            if !self.0.contains(&Some('/')) {
                ways.push(vec![self.clone()]);
            }
            return ways;
        }
        for (index, token) in self.0.iter().enumerate() {
            // The run of characters ends the one segment and begins the next.
            let (end, next) = match token {
                Some('/') => (index, index + 1),
                None => (index + 1, index),
                Some(_) => continue,
            };
            for mut rest in Self(self.0[next..].to_vec()).split(segments - 1) {
                rest.insert(0, Self(self.0[..end].to_vec()));
                ways.push(rest);
            }
            if token.is_some() {
                break;
            }
        }
        ways
    }

    /// The places in the pattern where a text may have arrived, before its first character.
    fn start(&self) -> Vec<usize> {
        self.settle(vec![0])
    }

    fn step(&self, places: &[usize], character: char) -> Vec<usize> {
        let mut next = Vec::new();
        for place in places {
            match self.0.get(*place) {
                Some(None) => next.push(*place),
                Some(Some(expected)) if *expected == character => next.push(place + 1),
                _ => {}
            }
        }
        self.settle(next)
    }

    /// A run may be empty; and whatever an earlier one could still match, the latest one can as well.
    fn settle(&self, mut places: Vec<usize>) -> Vec<usize> {
        let mut index = 0;
        while index < places.len() {
            if self.0.get(places[index]) == Some(&None) {
                places.push(places[index] + 1);
            }
            index += 1;
        }
        let latest = places.iter().copied().filter(|place| self.0.get(*place) == Some(&None)).max();
        places.retain(|place| latest.is_none_or(|latest| latest <= *place));
        places.sort_unstable();
        places.dedup();
        places
    }

    fn accepts(&self, places: &[usize]) -> bool {
        places.last() == Some(&self.0.len())
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Representatives {
    /// One text for each combination, with the places of the patterns that it matches: those that
    /// match fewest first, then the shortest.
    pub(super) texts: Vec<(Vec<usize>, String)>,
    /// Whether every combination is there.
    pub(super) is_complete: bool,
}

/// The patterns that a text may still match, each with the places where it has arrived.
type State = Vec<(usize, Vec<usize>)>;

/// Finds a text of at most `length_max` characters of the alphabet for every combination of patterns.
pub(super) fn representatives(
    patterns: &[Pattern],
    is_in_alphabet: impl Fn(char) -> bool,
    length_max: usize,
) -> Representatives {
    let start: State = patterns.iter().enumerate().map(|(index, pattern)| (index, pattern.start())).collect();
    let mut seen: FxHashSet<State> = FxHashSet::from_iter([start.clone()]);
    let mut open = VecDeque::from([(start, String::new(), 0)]);
    let mut found: FxHashMap<Vec<usize>, String> = FxHashMap::default();
    let mut open_patterns = patterns.len();
    let mut is_complete = true;
    while let Some((state, text, length)) = open.pop_front() {
        let matched = state.iter().filter(|(index, places)| patterns[*index].accepts(places));
        found.entry(matched.map(|(index, _)| *index).collect()).or_insert_with(|| text.clone());
        if length == length_max {
            continue;
        }
        for character in next_characters(patterns, &state, &is_in_alphabet) {
            let next = step(patterns, &state, character);
            if seen.contains(&next) {
                continue;
            }
            open_patterns += next.len() + 1;
            if open_patterns > OPEN_PATTERNS_MAX {
                is_complete = false;
                continue;
            }
            seen.insert(next.clone());
            open.push_back((next, format!("{text}{character}"), length + 1));
        }
    }
    let mut texts: Vec<(Vec<usize>, String)> = found.into_iter().collect();
    texts.sort_by_cached_key(|(matched, text)| (matched.len(), text.chars().count(), text.clone()));
    Representatives { texts, is_complete }
}

fn step(patterns: &[Pattern], state: &State, character: char) -> State {
    state
        .iter()
        .map(|(index, places)| (*index, patterns[*index].step(places, character)))
        .filter(|(_, places)| !places.is_empty())
        .collect()
}

/// Every character that a pattern waits for, and one that none does: all others lead where it leads.
fn next_characters(patterns: &[Pattern], state: &State, is_in_alphabet: impl Fn(char) -> bool) -> Vec<char> {
    let awaited: FxHashSet<char> = state
        .iter()
        .flat_map(|(index, places)| {
            places.iter().filter_map(|place| patterns[*index].0.get(*place)?.as_ref())
        })
        .copied()
        .collect();
    let ordinary = ('a'..='z').chain('0'..='9').chain('A'..='Z').chain('!'..='~').chain('\u{c0}'..='\u{17f}');
    let other =
        ordinary.into_iter().find(|character| is_in_alphabet(*character) && !awaited.contains(character));
    let mut characters: Vec<char> =
        awaited.into_iter().filter(|character| is_in_alphabet(*character)).collect();
    characters.sort_unstable();
    characters.extend(other);
    characters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Glob;

    #[test]
    fn a_pattern_matches_what_the_language_matches() {
        let texts = ["", "a", "aa", "ab", "aba", "abba", "b-a", "web-1", "abcabc", "a*b"];
        for glob in ["*", "a", "a*", "*a", "a*a", "a*b*a", "*b*", "ab*ba", "web-*", "abc*bc", "*abc"] {
            let (pattern, expected) = (Pattern::glob(glob), Glob::parse(glob).unwrap());
            for text in texts {
                assert_eq!(pattern.matches(text), expected.matches(text), "{glob} on {text}");
            }
        }
        assert!(Pattern::literal("a*b").matches("a*b") && !Pattern::literal("a*b").matches("ab"));
    }

    #[test]
    fn every_combination_that_a_text_can_match_has_a_representative() {
        let patterns = ["a*", "*b", "*a*", "ab", "b*a", "*"].map(Pattern::glob);
        let matched = |text: &str| patterns.each_ref().map(|pattern| pattern.matches(text));
        let found = representatives(&patterns, |character| ('a'..='c').contains(&character), 4);
        assert!(found.is_complete);
        let combinations: Vec<[bool; 6]> = found.texts.iter().map(|(_, text)| matched(text)).collect();
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            let longer = texts.iter().flat_map(|text| ["a", "b", "c"].map(|last| format!("{text}{last}")));
            texts = texts.iter().cloned().chain(longer).collect();
        }
        for text in &texts {
            assert!(combinations.contains(&matched(text)), "{text}");
        }
        for ((places, text), combination) in found.texts.iter().zip(&combinations) {
            assert_eq!(*combination, std::array::from_fn(|place| places.contains(&place)), "{text}");
            assert_eq!(combinations.iter().filter(|other| *other == combination).count(), 1, "{text}");
        }
    }

    #[test]
    fn too_many_states_are_said_and_not_looked_at() {
        let patterns: Vec<Pattern> =
            ('a'..='z').map(|character| Pattern::glob(&format!("*{character}*"))).collect();
        assert!(!representatives(&patterns, |_| true, 100).is_complete);
    }

    #[test]
    fn a_pattern_of_a_whole_resource_is_split_where_its_slashes_may_be() {
        let split = |glob: &str| Pattern::glob(glob).split(3);
        assert_eq!(split("a/b/c"), [["a", "b", "c"].map(Pattern::glob).to_vec()]);
        assert_eq!(split("a/b"), Vec::<Vec<Pattern>>::new());
        let mut found = split("a*/c");
        found.sort();
        let mut expected = vec![["a*", "*", "c"].map(Pattern::glob).to_vec()];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(split("a/*").len(), 1);
        assert!(split("*").contains(&["*", "*", "*"].map(Pattern::glob).to_vec()));
    }
}
