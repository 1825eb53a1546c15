//! Reading attributes without copying them.

use std::fmt::Write;

use aegis_contract::facts::Facts;
use serde_json::Value;

use super::asked::{Asked, Field};
use super::text::{Symbol, Symbols};
use crate::attribute::{METADATA, TARGET};
use crate::fingerprint::fingerprint;

/// Where an attribute is read.
#[derive(Debug)]
pub(super) enum Source {
    Field(Field),
    Roles,
    Resource,
    ResourceName,
    Param(Name),
    Metadata(Name),
    Fact(Fact),
}

/// The name of a value of a question.
#[derive(Debug)]
pub(super) struct Name {
    text: Box<str>,
    fingerprint: u64,
}

/// A member of [`Facts`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    Uid,
    Generation,
    TemplateDigest,
    Replicas,
    ReadyReplicas,
    AvailableReplicas,
    UpdatedReplicas,
    Paused,
    Rollout,
    PodsAffected,
    UnavailableMax,
    UnavailableMaxPercent,
    DisruptionsAllowed,
}

/// An attribute, and its place in the sorted list of all that some condition reads.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) path: Box<str>,
    pub(super) source: Source,
}

/// What an attribute is in one question, without its text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Reading {
    #[default]
    Missing,
    Stale,
    Text(Symbol),
    Number(f64),
    Flag(bool),
    /// There, but only its presence can be asked for.
    Other,
    /// The list of roles.
    Roles,
}

/// A value as it lies in the question.
pub(super) enum Raw<'a> {
    /// With its fingerprint.
    Text(&'a str, u64),
    Number(f64),
    Flag(bool),
    Roles,
    Other,
}

impl Source {
    /// Nothing if no attribute has this path.
    pub(super) fn of(path: &str) -> Option<Self> {
        if let Some(key) = path.strip_prefix(METADATA) {
            return Some(Self::Metadata(Name::new(key)));
        }
        if let Some(name) = path.strip_prefix("params.") {
            return Some(Self::Param(Name::new(name)));
        }
        Some(match path {
            "principal" => Self::Field(Field::Principal),
            "roles" => Self::Roles,
            "action" => Self::Field(Field::Action),
            "resource" => Self::Resource,
            "resource.cluster" => Self::Field(Field::Cluster),
            "resource.namespace" => Self::Field(Field::Namespace),
            "resource.kind" => Self::Field(Field::Kind),
            "resource.name" => Self::ResourceName,
            _ => Self::Fact(Fact::of(path.strip_prefix(TARGET)?)?),
        })
    }

    /// The value; `buffer` is for texts that are written only when they are asked for.
    pub(super) fn read<'a>(&'a self, asked: &Asked<'a>, buffer: &'a mut String) -> Option<Raw<'a>> {
        let question = asked.question;
        match self {
            Self::Field(field) => {
                let text = asked.text(*field)?;
                Some(asked.fingerprint(*field).map_or_else(|| Raw::of(text), |print| Raw::Text(text, print)))
            }
            Self::Roles => (!question.roles().is_empty()).then_some(Raw::Roles),
            Self::Resource => Some(written(question.resource(), buffer)),
            Self::ResourceName => Some(Raw::Text(question.resource().name(), question.fingerprints().name)),
            Self::Param(name) => question.params().find(name.fingerprint, &name.text).map(raw),
            Self::Metadata(name) => question.metadata().find(name.fingerprint, &name.text).map(raw),
            Self::Fact(fact) => fact.read(asked.facts?, buffer),
        }
    }
}

impl Name {
    fn new(text: &str) -> Self {
        Self { text: text.into(), fingerprint: fingerprint(text) }
    }
}

impl Fact {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "uid" => Self::Uid,
            "generation" => Self::Generation,
            "templateDigest" => Self::TemplateDigest,
            "replicas" => Self::Replicas,
            "readyReplicas" => Self::ReadyReplicas,
            "availableReplicas" => Self::AvailableReplicas,
            "updatedReplicas" => Self::UpdatedReplicas,
            "paused" => Self::Paused,
            "rollout" => Self::Rollout,
            "podsAffected" => Self::PodsAffected,
            "unavailableMax" => Self::UnavailableMax,
            "unavailableMaxPercent" => Self::UnavailableMaxPercent,
            "disruptionsAllowed" => Self::DisruptionsAllowed,
            _ => return None,
        })
    }

    fn read<'a>(self, facts: &'a Facts, buffer: &'a mut String) -> Option<Raw<'a>> {
        let count = |count: u32| Raw::Number(count.into());
        Some(match self {
            Self::Uid => Raw::of(&facts.uid),
            #[expect(clippy::cast_precision_loss, reason = "as JSON numbers are compared: as doubles")]
            Self::Generation => Raw::Number(facts.generation as f64),
            Self::TemplateDigest => written(facts.template_digest?, buffer),
            Self::Replicas => count(facts.replicas?),
            Self::ReadyReplicas => count(facts.ready_replicas),
            Self::AvailableReplicas => count(facts.available_replicas),
            Self::UpdatedReplicas => count(facts.updated_replicas),
            Self::Paused => Raw::Flag(facts.paused),
            Self::Rollout => Raw::of(facts.rollout.as_str()),
            Self::PodsAffected => count(facts.pods_affected?),
            Self::UnavailableMax => count(facts.unavailable_max?),
            Self::UnavailableMaxPercent => count(facts.unavailable_max_percent?),
            Self::DisruptionsAllowed => count(facts.disruptions_allowed?),
        })
    }
}

impl Reading {
    /// The value with its text as a symbol, if some condition writes that text.
    pub(super) fn of(raw: Option<&Raw<'_>>, symbols: &Symbols) -> Self {
        match raw {
            None => Self::Missing,
            Some(Raw::Text(text, fingerprint)) => Self::Text(symbols.find(*fingerprint, text)),
            Some(Raw::Number(number)) => Self::Number(*number),
            Some(Raw::Flag(flag)) => Self::Flag(*flag),
            Some(Raw::Roles) => Self::Roles,
            Some(Raw::Other) => Self::Other,
        }
    }
}

impl<'a> Raw<'a> {
    fn of(text: &'a str) -> Self {
        Self::Text(text, fingerprint(text))
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text, _) => Some(text),
            Self::Number(_) | Self::Flag(_) | Self::Roles | Self::Other => None,
        }
    }
}

fn written(value: impl std::fmt::Display, buffer: &mut String) -> Raw<'_> {
    buffer.clear();
    write!(buffer, "{value}").expect("memory takes every text");
    Raw::of(buffer)
}

/// `fingerprint` is that of a text.
fn raw((value, fingerprint): (&Value, u64)) -> Raw<'_> {
    match value {
        Value::String(text) => Raw::Text(text, fingerprint),
        Value::Number(number) => number.as_f64().map_or(Raw::Other, Raw::Number),
        Value::Bool(flag) => Raw::Flag(*flag),
        Value::Null | Value::Array(_) | Value::Object(_) => Raw::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::ATTRIBUTES;

    #[test]
    fn every_attribute_of_the_table_has_a_source() {
        for attribute in ATTRIBUTES {
            assert!(Source::of(attribute.path).is_some(), "{}", attribute.path);
        }
    }
}
