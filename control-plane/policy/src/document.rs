//! Policy documents: what they hold once they are read, and [`parse`], the only way to read one.
//!
//! Reading is strict and complete: a [`Policy`] exists only if every part of its document is known,
//! has the right type, and is enforced by the evaluator.

mod condition;
mod place;
mod position;
mod reader;
mod rule;

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::strict::{self, Limits};
use jiff::Timestamp;
use serde_json::Value;

use crate::attribute::Attribute;
use crate::decision::Effect;
use crate::pattern::{Glob, ResourcePattern};
use crate::problem::{Problem, code};
use crate::question::Question;
use crate::time::TimeCondition;
use place::Place;
use reader::Reader;

/// The schema of the documents this release reads.
pub const SCHEMA: &str = "aegis.policy/v1";

const NAME_LENGTH_MAX: usize = 63;
const DESCRIPTION_LENGTH_MAX: usize = 4_000;
const REASON_LENGTH_MAX: usize = 500;

/// One policy: a named set of rules, every part of which is enforced.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    description: String,
    rules: Vec<Rule>,
    canonical: Vec<u8>,
    digest: Digest,
}

impl Policy {
    /// Its name, in kebab-case, unique among the policies of a deployment.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its author says about it; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Id and effect of every rule, as ordered in the document.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Effect)> {
        self.rules.iter().map(|rule| (rule.id.as_str(), rule.effect))
    }

    /// The document as canonical JSON (RFC 8785): the bytes that are stored and hashed.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// P24: SHA-256 over [`canonical`](Self::canonical); layout and order of fields have no influence.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn compiled_rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// One rule, ready to be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) reason: String,
    pub(crate) matching: Match,
    pub(crate) when: Option<Condition>,
    pub(crate) time: Option<TimeCondition>,
}

/// P2: whom and what a rule is about; an empty dimension means any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match {
    pub(crate) principals: Vec<Glob>,
    pub(crate) roles: Vec<Glob>,
    pub(crate) actions: Vec<Glob>,
    pub(crate) resources: Vec<ResourcePattern>,
}

/// What must hold besides.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Test),
}

/// One comparison of one attribute.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) path: String,
    pub(crate) attribute: &'static Attribute,
    pub(crate) check: Check,
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    Eq(Literal),
    Neq(Literal),
    In(Vec<Literal>),
    NotIn(Vec<Literal>),
    Lt(f64),
    Lte(f64),
    Gt(f64),
    Gte(f64),
    Present,
    Absent,
}

/// A value in a condition. Numbers are compared as doubles, which is exact up to ±2^53, and larger
/// ones are refused in documents and requests alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Literal {
    /// The value, unless it is null, a list or an object.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether both are texts, both numbers or both flags.
    pub(crate) fn is_comparable_with(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Match {
    /// Whether every dimension that says anything has an entry for the question.
    pub(crate) fn covers(&self, question: &Question) -> bool {
        let resource = question.resource().to_string();
        any(&self.principals, |glob| glob.matches(question.principal().as_str()))
            && any(&self.roles, |glob| question.roles().iter().any(|role| glob.matches(role)))
            && any(&self.actions, |glob| glob.matches(question.action()))
            && any(&self.resources, |pattern| pattern.matches(&resource))
    }
}

fn any<T>(dimension: &[T], matches: impl Fn(&T) -> bool) -> bool {
    dimension.is_empty() || dimension.iter().any(matches)
}

impl Rule {
    /// Whether a time window is open, or none is asked for.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.time.as_ref().is_none_or(|time| time.is_open(now))
    }
}

/// P1: reads a document. Any bytes at all give a policy, or the list of all that is wrong, with line
/// and column, from the first line to the last.
pub fn parse(bytes: &[u8]) -> Result<Policy, Vec<Problem>> {
    let value = strict::value(bytes, Limits::POLICY).map_err(|error| {
        let mut problem = Problem::new(error.pointer.clone(), error.code(), error.message.clone());
        // The strict reader says 0 where the fault is the whole text.
        problem.line = (error.line > 0).then_some(error.line);
        problem.column = (error.line > 0).then_some(error.column);
        vec![problem]
    })?;
    let mut reader = Reader::default();
    let policy = read_policy(&mut reader, &value);
    match (policy, reader.into_problems()) {
        (Some((name, description, rules)), problems) if problems.is_empty() => {
            let canonical = canonical::to_bytes(&value)
                .map_err(|error| vec![Problem::new("", error.code(), error.to_string())])?;
            let digest = Digest::of(&canonical);
            Ok(Policy { name, description, rules, canonical, digest })
        }
        (_, mut problems) => {
            position::locate(bytes, &mut problems);
            Err(problems)
        }
    }
}

fn read_policy(reader: &mut Reader, document: &Value) -> Option<(String, String, Vec<Rule>)> {
    let root = Place::Root;
    let fields = reader.object(&root, document)?;
    reader.known_fields(
        &root,
        fields,
        &["schema", "name", "description", "rules"],
        &["tests", "mode", "validFrom", "expiresAt", "limits", "approvals", "calendars"],
    );
    read_schema(reader, &root, fields.get("schema"));
    let name = reader.name(&root, fields, "name");
    let description = reader.optional_text(&root, fields, "description", DESCRIPTION_LENGTH_MAX);
    let rules = rule::read_rules(reader, &root, fields.get("rules"));
    Some((name?, description.unwrap_or_default(), rules?))
}

fn read_schema(reader: &mut Reader, root: &Place<'_>, schema: Option<&Value>) {
    let place = root.field("schema");
    match schema {
        None => reader.missing(&place),
        Some(Value::String(text)) if text == SCHEMA => {}
        Some(_) => reader.report(
            Problem::new(place.pointer(), code::UNKNOWN_SCHEMA, "this release reads one schema only")
                .expected(format!("\"{SCHEMA}\""))
                .suggestion(Some(SCHEMA)),
        ),
    }
}

#[cfg(test)]
mod tests;
