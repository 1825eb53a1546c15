//! Policy documents: what they hold once they are read, and [`parse`], the only way to read one.
//!
//! Reading is strict and complete: a [`Policy`] exists only if every part of its document is known
//! and has the right type.

mod case;
mod check;
mod condition;
mod obligation;
mod place;
mod position;
mod reader;
mod rule;
mod time;

use std::fmt;
use std::sync::LazyLock;

use aegis_contract::action::ActionType;
use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::strict::{self, Limits};
use jiff::Timestamp;
use semver::VersionReq;
use serde_json::Value;

use crate::attribute::{self, Attribute, REPLICAS};
use crate::case::Case;
use crate::decision::RuleEffect;
use crate::network::Network;
use crate::obligation::{Approval, Limit, Review};
use crate::part::Part;
use crate::pattern::{Glob, ResourcePattern};
use crate::problem::{Problem, code};
use crate::question::Question;
use crate::time::{TimeCondition, Validity};
use reader::Reader;

pub use crate::shape::SCHEMA;

/// One policy: a named set of rules.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    description: String,
    mode: Mode,
    validity: Validity,
    rules: Vec<Rule>,
    tests: Vec<Case>,
    canonical: Vec<u8>,
    digest: Digest,
}

/// P31: whether a policy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is evaluated beside the answer, and said to whoever asked.
    Warn,
    /// It is evaluated beside the answer, and only counted.
    Shadow,
    /// It is not evaluated.
    Off,
}

impl Mode {
    /// The spelling of documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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

    /// Whether it counts.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Id and effect of every rule, as ordered in the document.
    pub fn rules(&self) -> impl Iterator<Item = (&str, RuleEffect)> {
        self.rules.iter().map(|rule| (rule.id.as_str(), rule.effect))
    }

    /// Its tests, as ordered in the document.
    pub fn tests(&self) -> &[Case] {
        &self.tests
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

    /// The same policy as if its mode were `enforce`.
    pub(crate) fn enforced(&self) -> Self {
        Self { mode: Mode::Enforce, ..self.clone() }
    }

    /// The same policy without one rule.
    pub(crate) fn without(&self, id: &str) -> Self {
        let mut policy = self.clone();
        policy.rules.retain(|rule| rule.id != id);
        policy
    }

    /// P30: when its rules apply.
    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }
}

/// One rule, ready to be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) effect: RuleEffect,
    pub(crate) reason: String,
    pub(crate) matching: Match,
    pub(crate) when: Option<Condition>,
    pub(crate) time: Option<TimeCondition>,
    pub(crate) validity: Validity,
    /// None in a DENY, like the three below.
    pub(crate) limits: Vec<Limit>,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) dry_run_only: bool,
    /// In an ALLOW only.
    pub(crate) break_glass: Option<Review>,
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

impl Condition {
    fn comparisons<'a>(&'a self, pointer: String, found: &mut Vec<(String, &'a Test)>) {
        let mut group = |name: &str, members: &'a [Self]| {
            for (index, member) in members.iter().enumerate() {
                member.comparisons(format!("{pointer}/{name}/{index}"), found);
            }
        };
        match self {
            Self::All(members) => group("all", members),
            Self::Any(members) => group("any", members),
            Self::Not(member) => member.comparisons(format!("{pointer}/not"), found),
            Self::Test(test) => found.push((pointer, test)),
        }
    }
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
    /// Both bounds belong to it, and the first is not above the second.
    Between(f64, f64),
    Prefix(String),
    Suffix(String),
    Glob(Glob),
    Cidr(Network),
    Semver(VersionReq),
    AnyOf(Vec<String>),
    AllOf(Vec<String>),
    NoneOf(Vec<String>),
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

impl Check {
    /// The operator, as documents write it.
    pub(crate) fn operator(&self) -> &'static str {
        match self {
            Self::Eq(_) => "eq",
            Self::Neq(_) => "neq",
            Self::In(_) => "in",
            Self::NotIn(_) => "notIn",
            Self::Lt(_) => "lt",
            Self::Lte(_) => "lte",
            Self::Gt(_) => "gt",
            Self::Gte(_) => "gte",
            Self::Between(..) => "between",
            Self::Prefix(_) => "prefix",
            Self::Suffix(_) => "suffix",
            Self::Glob(_) => "glob",
            Self::Cidr(_) => "cidr",
            Self::Semver(_) => "semver",
            Self::AnyOf(_) => "anyOf",
            Self::AllOf(_) => "allOf",
            Self::NoneOf(_) => "noneOf",
            Self::Present => "present",
            Self::Absent => "absent",
        }
    }
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
        self.mismatches(question).is_empty()
    }

    /// Whether it has an entry for this action and this resource, whoever asks.
    pub(crate) fn is_about(&self, action: &str, resource: &str) -> bool {
        any(&self.actions, |glob| glob.matches(action))
            && any(&self.resources, |pattern| pattern.matches(resource))
    }

    /// The dimensions that have no entry for the question.
    pub(crate) fn mismatches(&self, question: &Question) -> Vec<&'static str> {
        let resource = question.resource().to_string();
        let dimensions = [
            ("principals", any(&self.principals, |glob| glob.matches(question.principal().as_str()))),
            ("roles", any(&self.roles, |glob| question.roles().iter().any(|role| glob.matches(role)))),
            ("actions", any(&self.actions, |glob| glob.matches(question.action()))),
            ("resources", any(&self.resources, |pattern| pattern.matches(&resource))),
        ];
        dimensions.into_iter().filter(|(_, covers)| !covers).map(|(name, _)| name).collect()
    }
}

fn any<T>(dimension: &[T], matches: impl Fn(&T) -> bool) -> bool {
    dimension.is_empty() || dimension.iter().any(matches)
}

impl Rule {
    /// Every comparison of its condition in the order in which they are written, each with the JSON
    /// pointer into `when`.
    pub(crate) fn comparisons(&self) -> Vec<(String, &Test)> {
        let mut found = Vec::new();
        if let Some(when) = &self.when {
            when.comparisons(String::new(), &mut found);
        }
        found
    }

    /// All that must hold of a question that its match covers: what is written, and P47.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.when.iter().chain(self.floor())
    }

    /// P47: an ALLOW that may be about `scale` is not about a scale to no replicas unless it says so.
    pub(crate) fn floor(&self) -> Option<&'static Condition> {
        let scales = any(&self.matching.actions, |glob| glob.matches(ActionType::Scale.as_str()));
        let lets = self.limits.iter().any(Limit::lets_scale_to_zero);
        (self.effect == RuleEffect::Allow && scales && !lets).then(|| &*SOME_REPLICAS)
    }

    /// Whether the rule is valid, and its time open or none asked for.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.validity.holds(now) && self.time.as_ref().is_none_or(|time| time.is_open(now))
    }
}

/// P47: nobody asks for no replicas. A number that is none is unknown, which lets nothing through either.
static SOME_REPLICAS: LazyLock<Condition> = LazyLock::new(|| {
    let test = |check| {
        let attribute = attribute::find(REPLICAS).expect("a row of the table");
        Condition::Test(Test { path: REPLICAS.to_owned(), attribute, check })
    };
    Condition::Any(vec![test(Check::Absent), test(Check::Neq(Literal::Number(0.0)))])
});

/// P1: reads a document. Any bytes at all give a policy, or the list of all that is wrong, with line
/// and column, from the first line to the last.
pub fn parse(bytes: &[u8]) -> Result<Policy, Vec<Problem>> {
    parse_enforced(bytes, Part::ALL)
}

/// P41: the same for whoever enforces only these parts of the language: a document that uses another
/// one is refused, with the code `unsupported` at its place.
pub fn parse_enforced(bytes: &[u8], enforced: &[Part]) -> Result<Policy, Vec<Problem>> {
    let value = strict_value(bytes)?;
    let mut reader = Reader::new(enforced);
    let policy = rule::read_policy(&mut reader, &value);
    match (policy, reader.into_problems()) {
        (Some(mut policy), problems) if problems.is_empty() => {
            policy.canonical = canonical::to_bytes(&value)
                .map_err(|error| vec![Problem::new("", error.code(), error.to_string())])?;
            policy.digest = Digest::of(&policy.canonical);
            Ok(policy)
        }
        (_, mut problems) => {
            position::locate(bytes, &mut problems);
            Err(problems)
        }
    }
}

/// More tests of one policy, in a file of their own.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Name of the policy.
    pub policy: String,
    /// The tests, as ordered in the file.
    pub tests: Vec<Case>,
}

/// P39: reads a file of tests, as strictly as a document.
pub fn parse_tests(bytes: &[u8]) -> Result<TestFile, Vec<Problem>> {
    let value = strict_value(bytes)?;
    let mut reader = Reader::new(Part::ALL);
    let file = case::read_test_file(&mut reader, &value);
    match (file, reader.into_problems()) {
        (Some(file), problems) if problems.is_empty() => Ok(file),
        (_, mut problems) => {
            position::locate(bytes, &mut problems);
            Err(problems)
        }
    }
}

fn strict_value(bytes: &[u8]) -> Result<Value, Vec<Problem>> {
    strict::value(bytes, Limits::POLICY).map_err(|error| {
        let mut problem = Problem::new(error.pointer.clone(), error.code(), error.message.clone());
        // The strict reader says 0 where the fault is the whole text.
        problem.line = (error.line > 0).then_some(error.line);
        problem.column = (error.line > 0).then_some(error.column);
        vec![problem]
    })
}

#[cfg(test)]
mod tests;
