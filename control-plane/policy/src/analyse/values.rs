//! Values that stand for all others: for every answer that the comparisons of one attribute can give
//! together, one value that gives it.

use rustc_hash::FxHashSet;
use semver::{Prerelease, Version, VersionReq};
use serde_json::{Value, json};

use super::text::{self, Pattern};
use crate::document::{Check, Literal};
use crate::evaluate::compare;

/// Beyond this, doubles do not tell whole numbers apart.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What the texts of one dimension look like.
pub(super) struct Form {
    pub(super) is_in_alphabet: fn(char) -> bool,
    pub(super) length_max: usize,
    /// Patterns that tell texts of this form from others, which look like them but for these.
    pub(super) told_apart_by: &'static [&'static str],
    pub(super) is_valid: fn(&str) -> bool,
    /// Texts that people would write, taken where they do as well as any other.
    pub(super) usual: &'static [&'static str],
}

impl Form {
    pub(super) const fn new(
        is_in_alphabet: fn(char) -> bool,
        length_max: usize,
        told_apart_by: &'static [&'static str],
        is_valid: fn(&str) -> bool,
        usual: &'static [&'static str],
    ) -> Self {
        Self { is_in_alphabet, length_max, told_apart_by, is_valid, usual }
    }
}

/// Texts, and whether they stand for all.
pub(super) struct Texts {
    pub(super) texts: Vec<String>,
    pub(super) is_complete: bool,
}

/// Texts of a form for every combination of patterns and comparisons.
pub(super) fn texts(patterns: &[Pattern], checks: &[&Check], form: &Form) -> Texts {
    let mut wanted: Vec<Pattern> = patterns.to_vec();
    wanted.extend(checks.iter().flat_map(|check| patterns_of(check)));
    let is_mixed = is_mixed(&wanted, checks);
    for pattern in form.told_apart_by {
        wanted.extend([Pattern::glob(pattern), Pattern::literal(&pattern.replace('*', ""))]);
    }
    wanted.sort();
    wanted.dedup();
    let found = text::representatives(&wanted, form.is_in_alphabet, form.length_max);
    let matched = |text: String| {
        let matched = (0..wanted.len()).filter(|place| wanted[*place].matches(&text)).collect();
        (matched, text)
    };
    let usual = form.usual.iter().map(|text| matched((*text).to_owned()));
    let parsed = checks.iter().flat_map(|check| parsed_texts(check)).map(matched);
    let mut known = FxHashSet::default();
    let mut texts = Vec::new();
    for (matched, text) in usual.chain(found.texts).chain(parsed) {
        let fits = text.chars().all(form.is_in_alphabet) && text.chars().count() <= form.length_max;
        // What the comparisons of addresses and versions say of it is no pattern.
        let read = checks
            .iter()
            .filter(|check| is_reading(check))
            .map(|check| compare(check, &text.as_str().into()));
        if fits && (form.is_valid)(&text) && known.insert((matched, read.collect::<Vec<_>>())) {
            texts.push(text);
        }
    }
    Texts { texts, is_complete: found.is_complete && !is_mixed }
}

/// Texts that are read as addresses or versions have several spellings, and a pattern would have to be
/// asked about each.
fn is_mixed(wanted: &[Pattern], checks: &[&Check]) -> bool {
    let is_read = |text: &str| {
        let mut reading = checks.iter().filter(|check| is_reading(check));
        reading.any(|check| compare(check, &text.into()).is_some())
    };
    checks.iter().any(|check| is_reading(check))
        && wanted.iter().any(|pattern| pattern.only_text().is_none_or(|text| is_read(&text)))
}

/// Whether the comparison reads texts as something else.
fn is_reading(check: &Check) -> bool {
    matches!(check, Check::Cidr(_) | Check::Semver(_))
}

fn literals(check: &Check) -> Vec<String> {
    let text = |literal: &Literal| match literal {
        Literal::Text(text) => Some(text.clone()),
        Literal::Number(_) | Literal::Flag(_) => None,
    };
    match check {
        Check::Eq(literal) | Check::Neq(literal) => text(literal).into_iter().collect(),
        Check::In(list) | Check::NotIn(list) => list.iter().filter_map(text).collect(),
        Check::AnyOf(texts) | Check::AllOf(texts) | Check::NoneOf(texts) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The patterns that a comparison tells texts apart by.
pub(super) fn patterns_of(check: &Check) -> Vec<Pattern> {
    match check {
        Check::Prefix(text) => vec![Pattern::prefix(text)],
        Check::Suffix(text) => vec![Pattern::suffix(text)],
        Check::Glob(glob) => vec![Pattern::glob(glob.as_str())],
        _ => literals(check).iter().map(|text| Pattern::literal(text)).collect(),
    }
}

/// Texts that are read as addresses or versions.
fn parsed_texts(check: &Check) -> Vec<String> {
    match check {
        // Networks hold each other or are apart, so that some address of every difference of them is
        // the first of one, or the first after one.
        Check::Cidr(network) => network.edges().into_iter().map(|address| address.to_string()).collect(),
        Check::Semver(versions) => edges(versions).iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// The first version of every range that begins or ends at a bound of these.
fn edges(versions: &VersionReq) -> Vec<Version> {
    let mut edges = vec![Version::new(0, 0, 0)];
    for bound in &versions.comparators {
        let (major, minor, patch) = (bound.major, bound.minor.unwrap_or(0), bound.patch.unwrap_or(0));
        edges.extend([
            Version::new(major, minor, patch),
            Version::new(major, minor, patch.saturating_add(1)),
            Version::new(major, minor.saturating_add(1), 0),
            Version::new(major.saturating_add(1), 0, 0),
        ]);
        // Previews count only where a bound names a preview of the same version.
        let before = ["0".to_owned(), bound.pre.to_string(), format!("{}.0", bound.pre)];
        for pre in before.iter().filter_map(|pre| Prerelease::new(pre).ok()) {
            edges.push(Version { pre, ..Version::new(major, minor, patch) });
        }
    }
    edges
}

/// Numbers for every combination of comparisons, and on both sides of `also`: first those that are
/// compared with, and whole ones where there are any.
pub(super) fn numbers(checks: &[&Check], also: &[f64]) -> Vec<f64> {
    let number = |literal: &Literal| match literal {
        Literal::Number(number) => Some(*number),
        Literal::Text(_) | Literal::Flag(_) => None,
    };
    let mut bounds = Vec::new();
    for check in checks {
        match check {
            Check::Eq(literal) | Check::Neq(literal) => bounds.extend(number(literal)),
            Check::In(list) | Check::NotIn(list) => bounds.extend(list.iter().filter_map(number)),
            Check::Lt(bound) | Check::Lte(bound) | Check::Gt(bound) | Check::Gte(bound) => {
                bounds.push(*bound);
            }
            Check::Between(low, high) => bounds.extend([*low, *high]),
            _ => {}
        }
    }
    let mut edges = bounds.clone();
    bounds.extend(also);
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return vec![1.0] };
    let mut numbers = vec![first.ceil() - 1.0, last.floor() + 1.0];
    for pair in bounds.windows(2) {
        let next = pair[0].floor() + 1.0;
        numbers.push(if next < pair[1] { next } else { f64::midpoint(pair[0], pair[1]) });
    }
    numbers.extend(also);
    numbers.sort_by(f64::total_cmp);
    edges.sort_by(f64::total_cmp);
    edges.extend(numbers);
    let mut known = FxHashSet::default();
    edges.retain(|number| known.insert(number.to_bits()));
    edges
}

/// A number as JSON has it: without a fraction where it is whole.
pub(super) fn json_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and far below what 64 bits hold")]
        let whole = number as i64;
        json!(whole)
    } else {
        json!(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lie_on_and_between_all_bounds() {
        let checks = [Check::Lt(3.0), Check::Between(3.0, 4.0), Check::Gte(10.0)];
        let found = numbers(&checks.iter().collect::<Vec<_>>(), &[]);
        assert_eq!(found, [3.0, 4.0, 10.0, 2.0, 3.5, 5.0, 11.0]);
        assert_eq!(numbers(&[&Check::Present], &[]), [1.0]);
    }

    #[test]
    fn texts_answer_patterns_networks_and_versions_in_every_way() {
        let form = Form {
            is_in_alphabet: |_| true,
            length_max: 100,
            told_apart_by: &[],
            is_valid: |_| true,
            usual: &["a-text"],
        };
        let network = |text: &str| Check::Cidr(crate::network::Network::parse(text).unwrap());
        let (outer, inner) = (network("10.0.0.0/8"), network("10.0.0.0/9"));
        let checks = [&outer, &inner];
        let found = texts(&[], &checks, &form);
        assert!(found.is_complete);
        let answers: Vec<_> =
            found.texts.iter().map(|text| checks.map(|check| compare(check, &json!(text)))).collect();
        for expected in [[None, None], [Some(true), Some(true)], [Some(true), Some(false)], [Some(false); 2]]
        {
            assert!(answers.contains(&expected), "{expected:?} of {:?}", found.texts);
        }
        let versions = Check::Semver(">=1.4.0, <2.0.0-rc.1".parse().unwrap());
        let found = texts(&[], &[&versions], &form);
        let versions_of =
            |expected| found.texts.iter().filter(|text| compare(&versions, &json!(text)) == expected).count();
        assert_eq!([versions_of(None), versions_of(Some(true)), versions_of(Some(false))], [1, 1, 1]);
        assert!(!texts(&[Pattern::glob("10.*")], &checks, &form).is_complete);
    }
}
