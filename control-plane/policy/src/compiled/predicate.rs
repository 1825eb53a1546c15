//! The shared table of predicates: everything a rule can ask, each distinct question once.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::asked::{FIELDS, Field, Form};
use super::comparison::Comparison;
use super::text::{Symbols, TextSet};
use super::time::{Clock, Hours, HoursForm};
use super::value::{Attribute, Source};
use crate::document::Test;
use crate::pattern::Glob;
use crate::time::Calendar;

/// Place of a predicate in the table.
pub(super) type PredicateId = u32;

/// Something that is true, false or unknown of a question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Predicate {
    /// The field has a text, or the principal a role, that is in this set. Never unknown.
    Text(Field, TextSet),
    /// The resource has this form. Never unknown.
    Form(Form),
    /// One of these hours is now. Never unknown.
    Open(u32),
    /// The attribute compares as a condition says.
    Compare(u32, Comparison),
}

/// All predicates of a set, and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Predicates {
    pub(super) table: Box<[Predicate]>,
    /// What rules write for each [`Field`].
    pub(super) fields: [Symbols; FIELDS],
    /// Sorted by path.
    pub(super) attributes: Box<[Attribute]>,
    /// What conditions compare attributes with.
    pub(super) texts: Symbols,
    pub(super) clocks: Box<[Clock]>,
    pub(super) hours: Box<[Hours]>,
}

/// Collects predicates while rules are compiled.
#[derive(Debug)]
pub(super) struct Builder {
    predicates: Interned<Predicate>,
    fields: [Symbols; FIELDS],
    /// Place of each path in the sorted list of all; known before the first comparison is compiled,
    /// because unknown truths are ordered by it.
    attributes: BTreeMap<Box<str>, u32>,
    texts: Symbols,
    /// By name of the zone.
    clocks: FxHashMap<Box<str>, u32>,
    clock_list: Vec<Clock>,
    hours: Interned<(u32, HoursForm)>,
    hours_list: Vec<Hours>,
}

impl Builder {
    /// `paths` are all that any condition reads.
    pub(super) fn new<'p>(paths: impl Iterator<Item = &'p str>) -> Self {
        let mut attributes: BTreeMap<Box<str>, u32> = paths.map(|path| (path.into(), 0)).collect();
        for (place, index) in attributes.values_mut().zip(0..) {
            *place = index;
        }
        Self {
            predicates: Interned::default(),
            fields: Default::default(),
            attributes,
            texts: Symbols::default(),
            clocks: FxHashMap::default(),
            clock_list: Vec::new(),
            hours: Interned::default(),
            hours_list: Vec::new(),
        }
    }

    /// What these globs match in the field; nothing if they match whatever it is.
    pub(super) fn texts(&mut self, field: Field, globs: &[Glob]) -> Option<TextSet> {
        // A role must be held, even if any will do.
        if globs.is_empty() || (field != Field::Role && TextSet::is_everything(globs)) {
            return None;
        }
        Some(TextSet::new(globs, &mut self.fields[field as usize]))
    }

    /// The predicate that the field has one of these texts.
    pub(super) fn text(&mut self, field: Field, texts: TextSet) -> PredicateId {
        self.predicates.intern(Predicate::Text(field, texts))
    }

    pub(super) fn form(&mut self, form: Form) -> PredicateId {
        self.predicates.intern(Predicate::Form(form))
    }

    pub(super) fn open(&mut self, calendar: &Arc<Calendar>) -> PredicateId {
        let name = calendar.zone.iana_name().expect("zones are loaded by their names");
        let clock = match self.clocks.get(name) {
            Some(clock) => *clock,
            None => {
                let clock = id(self.clock_list.len());
                self.clock_list.push(Clock::new(&calendar.zone));
                self.clocks.insert(name.into(), clock);
                clock
            }
        };
        let form = HoursForm::new(&calendar.windows);
        let hours = self.hours.intern((clock, form.clone()));
        if hours as usize == self.hours_list.len() {
            self.hours_list.push(Hours::new(clock, form, calendar));
        }
        self.predicates.intern(Predicate::Open(hours))
    }

    pub(super) fn test(&mut self, test: &Test) -> PredicateId {
        let attribute = self.attributes[&*test.path];
        let roles = &mut self.fields[Field::Role as usize];
        let comparison = Comparison::new(&test.check, &mut self.texts, roles);
        self.predicates.intern(Predicate::Compare(attribute, comparison))
    }

    pub(super) fn finish(self) -> Predicates {
        let attributes = self.attributes.into_keys().map(|path| {
            let source = Source::of(&path).expect("the reader of documents knows every path");
            Attribute { path, source }
        });
        Predicates {
            table: self.predicates.finish(),
            fields: self.fields,
            attributes: attributes.collect(),
            texts: self.texts,
            clocks: self.clock_list.into(),
            hours: self.hours_list.into(),
        }
    }
}

/// Distinct values in the order they came, each with its place.
#[derive(Debug)]
pub(super) struct Interned<T> {
    places: FxHashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { places: FxHashMap::default(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    pub(super) fn intern(&mut self, value: T) -> u32 {
        if let Some(place) = self.places.get(&value) {
            return *place;
        }
        let place = id(self.values.len());
        self.values.push(value.clone());
        self.places.insert(value, place);
        place
    }

    pub(super) fn finish(self) -> Box<[T]> {
        self.values.into()
    }
}

/// A place in a table, as it is stored.
pub(super) fn id(place: usize) -> u32 {
    u32::try_from(place).expect("documents of 16 MiB hold fewer parts")
}
