//! Fingerprints of the texts of a question, taken once when it is read, so that looking up a text
//! among those of rules hashes nothing.
//!
//! Two texts with one fingerprint may differ, and somebody may have chosen them so: whoever finds a
//! fingerprint compares the texts. Tables are filled with texts of policies only, so a question cannot
//! make them slow.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;
use serde_json::{Map, Value};

use crate::resource::Resource;

/// A number that equal texts share.
pub(crate) fn fingerprint(text: &str) -> u64 {
    FxBuildHasher.hash_one(text)
}

/// Fingerprints of the texts that rules match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fingerprints {
    pub(crate) principal: u64,
    /// In the order of the roles.
    pub(crate) roles: Vec<u64>,
    pub(crate) action: u64,
    /// Cluster and namespace, or the noun and nothing.
    pub(crate) place: [u64; 2],
    pub(crate) name: u64,
}

impl Fingerprints {
    pub(crate) fn new(principal: &str, roles: &[String], action: &str, resource: &Resource) -> Self {
        let place = match resource {
            Resource::Kubernetes(target) => [fingerprint(&target.cluster), fingerprint(&target.namespace)],
            Resource::Aegis { noun, .. } => [fingerprint(noun), 0],
        };
        Self {
            principal: fingerprint(principal),
            roles: roles.iter().map(|role| fingerprint(role)).collect(),
            action: fingerprint(action),
            place,
            name: fingerprint(resource.name()),
        }
    }
}

/// Texts, numbers, true and false by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scalars {
    /// Of the names: what a search reads.
    names: Vec<u64>,
    /// In the same order.
    entries: Vec<Scalar>,
}

/// A value and its name.
#[derive(Clone, Debug, PartialEq)]
struct Scalar {
    name: String,
    value: Value,
    /// Of the value, if it is a text.
    text: u64,
}

impl Scalars {
    /// All values with their names, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), &entry.value))
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(fingerprint(name), name).map(|(value, _)| value)
    }

    /// The value of this name, which has this fingerprint, and the fingerprint of the value if it is
    /// a text.
    pub(crate) fn find(&self, fingerprint: u64, name: &str) -> Option<(&Value, u64)> {
        let is_named = |place: &usize| self.names[*place] == fingerprint && self.entries[*place].name == name;
        let entry = &self.entries[(0..self.names.len()).find(is_named)?];
        Some((&entry.value, entry.text))
    }
}

impl From<Map<String, Value>> for Scalars {
    fn from(map: Map<String, Value>) -> Self {
        let entries = map.into_iter().map(|(name, value)| {
            let text = value.as_str().map_or(0, fingerprint);
            (fingerprint(&name), Scalar { name, value, text })
        });
        let (names, entries) = entries.unzip();
        Self { names, entries }
    }
}

impl From<Scalars> for Map<String, Value> {
    fn from(scalars: Scalars) -> Self {
        scalars.entries.into_iter().map(|Scalar { name, value, .. }| (name, value)).collect()
    }
}
