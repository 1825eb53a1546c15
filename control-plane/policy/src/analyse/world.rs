//! The questions that stand for all others: for each dimension of a question, values of which no rule
//! can tell any other value apart.

use std::collections::BTreeMap;

use aegis_contract::action::{ActionType, REPLICAS_MAX};
use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_contract::target::Kind;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::instants;
use super::text::Pattern;
use super::values::{Form, json_number, numbers, patterns_of, texts};
use crate::attribute::{self, METADATA, REPLICAS, TARGET, Type};
use crate::document::{Check, Condition, Policy, Rule, Test};
use crate::evaluate::FACTS_AGE_SECONDS_MAX;
use crate::pattern::Glob;
use crate::principal::Principal;
use crate::question::{Question, RawQuestion, is_role};
use crate::resource::Resource;

/// What a question and its circumstances are made of, in the order in which diagrams ask for it: what
/// rules name most often comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dimension {
    /// `k8s` or `aegis`.
    Family,
    Action,
    Kind,
    Namespace,
    Cluster,
    /// Name of an object in a cluster.
    Name,
    /// Second segment of an `aegis/` resource.
    Noun,
    /// Last segment of an `aegis/` resource.
    Called,
    Principal,
    /// Whether a role is held that looks like this one.
    Role(String),
    /// A path of `metadata.` or `params.`.
    Given(String),
    /// Whether there are facts, and fresh ones.
    Facts,
    /// A path of `target.`, where there are fresh facts.
    Seen(String),
    Time,
}

/// The values of one dimension.
#[derive(Debug)]
pub(super) struct Axis {
    /// Place of the dimension among all.
    pub(super) index: u32,
    /// The first is the most usual one; null stands for a missing attribute.
    pub(super) values: Vec<Value>,
}

/// One question with all that a decision about it depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// What is asked.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub question: Question,
    /// What the executor saw of the target; absent where it makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The time of the decision.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
}

/// Facts of this kind say nothing at all, or are too old.
pub(super) const FRESH: &str = "fresh";
/// See [`FRESH`].
pub(super) const STALE: &str = "stale";

/// Texts that questions may hold besides those in rules, so that they are told apart from others.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) texts: Vec<(Dimension, String)>,
    pub(super) roles: Vec<String>,
}

/// All dimensions with their values.
#[derive(Debug)]
pub(super) struct World {
    axes: BTreeMap<Dimension, Axis>,
    order: Vec<Dimension>,
    instants: Vec<Timestamp>,
    /// The dimensions of which some values are not represented.
    incomplete: Vec<String>,
}

/// Where a path of a condition leads.
pub(super) enum Place {
    /// One dimension, of every question.
    Plain(Dimension),
    /// A segment of a resource: of those in a cluster, and of the others if they have it.
    Segment(Dimension, Option<Dimension>),
    /// The whole resource.
    Resource,
    Roles,
    /// Something of the facts.
    Seen(Dimension),
}

impl Place {
    /// The place of a path, which stands in the table of attributes.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "principal" => Self::Plain(Dimension::Principal),
            "action" => Self::Plain(Dimension::Action),
            "roles" => Self::Roles,
            "resource" => Self::Resource,
            "resource.cluster" => Self::Segment(Dimension::Cluster, None),
            "resource.namespace" => Self::Segment(Dimension::Namespace, None),
            "resource.kind" => Self::Segment(Dimension::Kind, None),
            "resource.name" => Self::Segment(Dimension::Name, Some(Dimension::Called)),
            path if path.starts_with(TARGET) => Self::Seen(Dimension::Seen(path.to_owned())),
            path => Self::Plain(Dimension::Given(path.to_owned())),
        }
    }
}

/// The segments of the two families, with the text that each begins with.
pub(super) const FAMILIES: [(&str, &[Dimension]); 2] = [
    ("k8s", &[Dimension::Cluster, Dimension::Namespace, Dimension::Kind, Dimension::Name]),
    ("aegis", &[Dimension::Noun, Dimension::Called]),
];

/// The ways in which a comparison of a whole resource can be true or, with the second part, false:
/// patterns for the segments of one family.
pub(super) fn ways_of_resource(check: &Check) -> (Vec<(&'static str, Vec<Pattern>)>, bool) {
    let negated = matches!(check, Check::Neq(_) | Check::NotIn(_));
    let mut ways = Vec::new();
    for pattern in patterns_of(check) {
        for (family, dimensions) in FAMILIES {
            for mut way in pattern.split(dimensions.len() + 1) {
                if way.remove(0).matches(family) {
                    ways.push((family, way));
                }
            }
        }
    }
    (ways, negated)
}

/// What the rules say about one dimension.
#[derive(Default)]
struct Said<'a> {
    patterns: Vec<Pattern>,
    checks: Vec<&'a Check>,
}

/// Gathers what rules say, dimension by dimension.
#[derive(Default)]
struct Gathered<'a> {
    said: BTreeMap<Dimension, Said<'a>>,
    roles: Vec<Pattern>,
}

impl<'a> Gathered<'a> {
    fn pattern(&mut self, dimension: &Dimension, pattern: Pattern) {
        self.said.entry(dimension.clone()).or_default().patterns.push(pattern);
    }

    fn rule(&mut self, rule: &'a Rule) {
        let glob = |glob: &Glob| Pattern::glob(glob.as_str());
        let matching = &rule.matching;
        matching.principals.iter().for_each(|entry| self.pattern(&Dimension::Principal, glob(entry)));
        matching.actions.iter().for_each(|entry| self.pattern(&Dimension::Action, glob(entry)));
        self.roles.extend(matching.roles.iter().map(glob));
        for pattern in &matching.resources {
            let Some((family, segments)) = pattern.segments().split_first() else { continue };
            let dimensions = FAMILIES.iter().find(|(name, _)| family.matches(name)).map(|(_, of)| *of);
            for (dimension, segment) in dimensions.unwrap_or_default().iter().zip(segments) {
                self.pattern(dimension, glob(segment));
            }
        }
        rule.conditions().for_each(|condition| self.condition(condition));
    }

    fn condition(&mut self, condition: &'a Condition) {
        match condition {
            Condition::All(members) | Condition::Any(members) => {
                members.iter().for_each(|member| self.condition(member));
            }
            Condition::Not(member) => self.condition(member),
            Condition::Test(test) => self.test(test),
        }
    }

    fn test(&mut self, test: &'a Test) {
        let check = &test.check;
        match Place::of(&test.path) {
            Place::Plain(dimension) | Place::Seen(dimension) => self.check(dimension, check),
            Place::Segment(dimension, other) => {
                other.into_iter().for_each(|other| self.check(other, check));
                self.check(dimension, check);
            }
            Place::Roles => self.roles.extend(patterns_of(check)),
            Place::Resource => {
                for (family, way) in ways_of_resource(check).0 {
                    let dimensions = FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, of)| *of);
                    for (dimension, segment) in dimensions.unwrap_or_default().iter().zip(way) {
                        self.pattern(dimension, segment);
                    }
                }
            }
        }
    }

    fn check(&mut self, dimension: Dimension, check: &'a Check) {
        self.said.entry(dimension).or_default().checks.push(check);
    }
}

impl World {
    /// The world of these rules, as it is from `now` on.
    pub(super) fn new(rules: &[(&Policy, &Rule)], named: &Named, now: Timestamp) -> Self {
        let mut gathered = Gathered::default();
        rules.iter().for_each(|(_, rule)| gathered.rule(rule));
        for (dimension, text) in &named.texts {
            gathered.pattern(dimension, Pattern::literal(text));
        }
        gathered.roles.extend(named.roles.iter().map(|role| Pattern::literal(role)));
        for dimension in FAMILIES.iter().flat_map(|(_, dimensions)| *dimensions) {
            gathered.said.entry(dimension.clone()).or_default();
        }
        for dimension in [Dimension::Family, Dimension::Action, Dimension::Principal, Dimension::Facts] {
            gathered.said.entry(dimension).or_default();
        }
        let mut incomplete = Vec::new();
        let mut values: BTreeMap<Dimension, Vec<Value>> = BTreeMap::new();
        for (dimension, mut said) in gathered.said {
            said.patterns.sort();
            said.patterns.dedup();
            let (of, is_complete) = values_of(&dimension, &said);
            if !is_complete {
                incomplete.push(dimension.to_string());
            }
            values.insert(dimension, of);
        }
        gathered.roles.sort();
        gathered.roles.dedup();
        let roles = texts(&gathered.roles, &[], &ROLE);
        if !roles.is_complete {
            incomplete.push("roles".to_owned());
        }
        values.extend(
            roles.texts.into_iter().map(|role| (Dimension::Role(role), vec![json!(false), json!(true)])),
        );
        let instants = instants::instants(rules, now);
        if !instants.is_complete {
            incomplete.push("time".to_owned());
        }
        let instants = instants.instants;
        values.insert(Dimension::Time, instants.iter().map(|at| json!(at)).collect());
        let order = values.keys().cloned().collect();
        let axes = (0..).zip(values).map(|(index, (dimension, values))| (dimension, Axis { index, values }));
        Self { axes: axes.collect(), order, instants, incomplete }
    }

    /// The dimensions of which some values are not represented: what is said of all questions may not
    /// hold for those.
    pub(super) fn incomplete(&self) -> &[String] {
        &self.incomplete
    }

    /// The instants that stand for all others; the first is the present.
    pub(super) fn instants(&self) -> &[Timestamp] {
        &self.instants
    }

    pub(super) fn axis(&self, dimension: &Dimension) -> Option<&Axis> {
        self.axes.get(dimension)
    }

    /// Every role that stands for others.
    pub(super) fn roles(&self) -> Vec<String> {
        let role = |dimension: &Dimension| match dimension {
            Dimension::Role(role) => Some(role.clone()),
            _ => None,
        };
        self.order.iter().filter_map(role).collect()
    }

    /// The question with these values, and the first value in all other dimensions; nothing when no
    /// question can have them together.
    pub(super) fn witness(&self, picked: &[(u32, u32)]) -> Option<Witness> {
        let chosen: BTreeMap<&Dimension, usize> = picked
            .iter()
            .filter_map(|(dimension, value)| Some((self.order.get(*dimension as usize)?, *value as usize)))
            .collect();
        let value = |dimension: &Dimension| {
            let values = &self.axes.get(dimension)?.values;
            values.get(chosen.get(dimension).copied().unwrap_or_default())
        };
        let text = |dimension: &Dimension| value(dimension).and_then(Value::as_str).unwrap_or_default();
        let (family, segments) = FAMILIES.iter().find(|(name, _)| *name == text(&Dimension::Family))?;
        let resource =
            segments.iter().fold((*family).to_owned(), |all, segment| format!("{all}/{}", text(segment)));
        let action = text(&Dimension::Action);
        let (mut params, mut metadata, mut seen, mut roles) =
            (Map::new(), Map::new(), Map::new(), Vec::new());
        for dimension in &self.order {
            let value = value(dimension).cloned().unwrap_or_default();
            match dimension {
                Dimension::Role(role) if value == true => roles.push(role.clone()),
                Dimension::Given(path) if !value.is_null() => {
                    let (part, name) = path.split_once('.')?;
                    let part = if part == "params" { &mut params } else { &mut metadata };
                    part.insert(name.to_owned(), value);
                }
                Dimension::Seen(path) => {
                    seen.insert(path.strip_prefix(TARGET)?.to_owned(), value);
                }
                _ => {}
            }
        }
        // Nobody scales without saying to how many; where no rule reads it, any number does.
        if action == ActionType::Scale.as_str() && self.axis(&replicas()).is_none() {
            params.insert("replicas".to_owned(), json!(3));
        }
        let principal = text(&Dimension::Principal).to_owned();
        let raw = RawQuestion { principal, roles, action: action.to_owned(), resource, params, metadata };
        let at = *self.instants.get(chosen.get(&Dimension::Time).copied().unwrap_or_default())?;
        let facts = match text(&Dimension::Facts) {
            FRESH => Some(facts(seen, at)?),
            STALE => {
                let long_ago = SignedDuration::from_secs(i64::from(FACTS_AGE_SECONDS_MAX) * 10);
                Some(facts(seen, at.checked_sub(long_ago).ok()?)?)
            }
            _ => None,
        };
        Some(Witness { question: Question::new(raw).ok()?, facts, at })
    }
}

/// Facts of a healthy workload of three, but for what is said.
fn facts(seen: Map<String, Value>, observed_at: Timestamp) -> Option<Facts> {
    let mut facts = json!({
        "observedAt": observed_at, "uid": "test", "generation": 1, "replicas": 3, "readyReplicas": 3,
        "availableReplicas": 3, "updatedReplicas": 3, "paused": false, "rollout": "complete",
    });
    let fields = facts.as_object_mut()?;
    fields.extend(seen);
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(facts).ok()
}

fn replicas() -> Dimension {
    Dimension::Given(REPLICAS.to_owned())
}

const ROLE: Form = Form {
    is_in_alphabet: |character| character.is_ascii_graphic() && character != '*',
    length_max: 63,
    told_apart_by: &[],
    is_valid: is_role,
    usual: &["other-role"],
};

/// The values of a dimension, and whether they stand for all.
fn values_of(dimension: &Dimension, said: &Said<'_>) -> (Vec<Value>, bool) {
    let list = |texts: &[&str]| (texts.iter().map(|text| json!(text)).collect(), true);
    match dimension {
        Dimension::Family => list(&FAMILIES.map(|(name, _)| name)),
        Dimension::Kind => list(&Kind::ALL.map(Kind::as_str)),
        Dimension::Facts => (vec![Value::Null, json!(FRESH), json!(STALE)], true),
        Dimension::Given(path) => given(path, said),
        Dimension::Seen(path) => seen(path, said),
        Dimension::Action => {
            let (mut values, _): (Vec<Value>, _) = list(&ActionType::ALL.map(ActionType::as_str));
            let others = texts(&said.patterns, &said.checks, &form_of(dimension));
            let unknown = others.texts.into_iter().filter(|text| text.parse::<ActionType>().is_err());
            values.extend(unknown.map(Value::from));
            (values, others.is_complete)
        }
        _ => {
            let found = texts(&said.patterns, &said.checks, &form_of(dimension));
            (found.texts.into_iter().map(Value::from).collect(), found.is_complete)
        }
    }
}

/// A scalar from the request: missing, or of any type.
fn given(path: &str, said: &Said<'_>) -> (Vec<Value>, bool) {
    let found = texts(&said.patterns, &said.checks, &form_of(&Dimension::Given(path.to_owned())));
    let also: &[f64] = match path {
        REPLICAS => &[0.0, REPLICAS_MAX as f64],
        "params.toRevision" => &[0.0],
        _ => &[],
    };
    let mut values = vec![Value::Null];
    if path.starts_with(METADATA) {
        values.extend(found.texts.iter().map(|text| json!(text)));
        values.extend(numbers(&said.checks, also).into_iter().map(json_number));
    } else {
        values.extend(numbers(&said.checks, also).into_iter().map(json_number));
        values.extend(found.texts.iter().map(|text| json!(text)));
    }
    values.extend([json!(true), json!(false)]);
    (values, found.is_complete)
}

/// Something of the facts, of the type that the table of attributes says.
fn seen(path: &str, said: &Said<'_>) -> (Vec<Value>, bool) {
    let missing = attribute::MISSING_FACTS.contains(&path).then_some(Value::Null);
    let all =
        |values: Vec<Value>, is_complete| (missing.iter().cloned().chain(values).collect(), is_complete);
    match attribute::find(path).map(|attribute| attribute.value_type) {
        Some(Type::Whole) => {
            let most = if path == "target.generation" { f64::MAX } else { f64::from(u32::MAX) };
            let mut numbers = numbers(&said.checks, &[0.0, 3.0]);
            numbers.retain(|number| number.fract() == 0.0 && (0.0..=most).contains(number));
            all(numbers.into_iter().map(json_number).collect(), true)
        }
        Some(Type::Flag) => all(vec![json!(false), json!(true)], true),
        Some(Type::OneOf(texts)) => all(texts.iter().map(|text| json!(text)).collect(), true),
        Some(Type::Text) if path == "target.templateDigest" => {
            let patterns: Vec<Pattern> = said.checks.iter().flat_map(|check| patterns_of(check)).collect();
            let texts: Vec<String> = patterns.iter().filter_map(Pattern::only_text).collect();
            let is_complete = texts.len() == patterns.len();
            let written = texts.iter().filter_map(|text| text.parse::<Digest>().ok());
            let digests = written.chain([Digest::of(b"")]).map(|digest| json!(digest)).collect();
            all(digests, is_complete)
        }
        _ => {
            let found = texts(&said.patterns, &said.checks, &form_of(&Dimension::Seen(path.to_owned())));
            all(found.texts.into_iter().map(Value::from).collect(), found.is_complete)
        }
    }
}

fn is_graphic(character: char) -> bool {
    character.is_ascii_graphic() && character != '*'
}

fn is_of_name(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '-' | '.')
}

/// What texts of a dimension look like.
fn form_of(dimension: &Dimension) -> Form {
    let is_label = |character| is_of_name(character) && character != '.';
    let is_segment = |character| is_graphic(character) && character != '/';
    const EDGES: &[&str] = &["-*", "*-"];
    const DOTS: &[&str] = &["-*", "*-", ".*", "*.", "*..*", "*.-*", "*-.*"];
    const KINDS: &[&str] = &["user:*", "client:*", "alert-source:*", "engine:*"];
    let form = Form::new;
    match dimension {
        Dimension::Cluster => {
            form(is_label, 63, EDGES, |text| is_resource(&["k8s", text, "a", "Pod", "a"]), &["prod"])
        }
        Dimension::Namespace => {
            form(is_label, 63, EDGES, |text| is_resource(&["k8s", "a", text, "Pod", "a"]), &["shop"])
        }
        Dimension::Name => {
            form(is_of_name, 253, DOTS, |text| is_resource(&["k8s", "a", "a", "Pod", text]), &["web"])
        }
        Dimension::Noun => form(is_segment, 253, &[], |text| is_resource(&["aegis", text, "a"]), &["policy"]),
        Dimension::Called => form(is_segment, 253, &[], |text| is_resource(&["aegis", "a", text]), &["web"]),
        Dimension::Principal => {
            form(is_graphic, 200, KINDS, |text| Principal::parse(text).is_ok(), &["client:any", "user:any"])
        }
        Dimension::Action => form(is_graphic, 63, &[], |text| !text.is_empty(), &["read"]),
        _ => form(|_| true, 512, &[], |_| true, &["any"]),
    }
}

fn is_resource(segments: &[&str]) -> bool {
    Resource::parse(&segments.join("/")).is_ok()
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Family | Self::Noun => "resource",
            Self::Action => "action",
            Self::Kind => "resource.kind",
            Self::Namespace => "resource.namespace",
            Self::Cluster => "resource.cluster",
            Self::Name | Self::Called => "resource.name",
            Self::Principal => "principal",
            Self::Role(_) => "roles",
            Self::Given(path) | Self::Seen(path) => path,
            Self::Facts => "target",
            Self::Time => "time",
        };
        f.write_str(name)
    }
}
