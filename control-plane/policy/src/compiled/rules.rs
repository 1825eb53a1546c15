//! Compiles the rules of a set, one after the other.

use std::collections::BTreeSet;

use aegis_contract::action::ActionType;
use aegis_contract::target::Kind;

use super::asked::{FIELDS, Field, Form};
use super::condition::{ConditionsBuilder, Part};
use super::filing::{self, Draft, Fits};
use super::index::{Index, Row};
use super::predicate::{Builder, id};
use super::{Bound, CompiledSet};
use crate::document::{Condition, Mode, Policy, Rule};
use crate::pattern::{Glob, ResourcePattern};
use crate::set::PolicySet;

/// Longest list of texts under each of which a row is filed; a longer one is a predicate.
const KEYS_MAX: usize = 64;

/// Where a rule stands in the set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) policy: u32,
    pub(super) rule: u32,
}

impl CompiledSet {
    /// Compiles all rules of the set. Time and memory grow with the size of its documents.
    pub fn compile(set: PolicySet) -> Self {
        let mut compiler = Compiler::new(&set);
        let mut rules = Vec::new();
        // P5: numbers are in the order of names.
        for ((_, policy), place) in set.policies().zip(0..) {
            // P31: a policy that is off is not evaluated.
            if policy.mode() == Mode::Off {
                continue;
            }
            let mut of_policy: Vec<(&Rule, u32)> = policy.compiled_rules().iter().zip(0..).collect();
            of_policy.sort_by_key(|(rule, _)| &rule.id);
            for (rule, of_policy) in of_policy {
                compiler.rule(id(rules.len()), policy, rule);
                rules.push(Place { policy: place, rule: of_policy });
            }
        }
        let Compiler { predicates, conditions, drafts } = compiler;
        let (predicates, conditions) = (predicates.finish(), conditions.finish());
        let guards: BTreeSet<Part> = drafts.iter().filter_map(|draft| draft.row.guard).collect();
        let index = filing::file(drafts, &predicates.fields);
        let bound = Bound {
            predicates: predicates.table.len() as u64,
            steps: steps(&index) + guards.iter().map(|guard| conditions.size(*guard)).sum::<u64>(),
        };
        Self { rules: rules.into(), predicates, conditions, index, bound, set }
    }

    /// The policy, its version and the rule of a number.
    pub(super) fn rule(&self, number: u32) -> (u32, &Policy, &Rule) {
        let place = self.rules[number as usize];
        let (version, policy) = self.set.policy(place.policy);
        (version, policy, &policy.compiled_rules()[place.rule as usize])
    }
}

struct Compiler {
    predicates: Builder,
    conditions: ConditionsBuilder,
    drafts: Vec<Draft>,
}

impl Compiler {
    fn new(set: &PolicySet) -> Self {
        let rules = set.policies().flat_map(|(_, policy)| policy.compiled_rules());
        let mut paths = Vec::new();
        rules.flat_map(Rule::conditions).for_each(|condition| collect_paths(condition, &mut paths));
        Self {
            predicates: Builder::new(paths.into_iter()),
            conditions: ConditionsBuilder::default(),
            drafts: Vec::new(),
        }
    }

    fn rule(&mut self, number: u32, policy: &Policy, rule: &Rule) {
        let guard = self.conditions.guard(policy, rule, &mut self.predicates);
        let resources = &rule.matching.resources;
        let row = Row {
            rule: number,
            guard,
            repeats: resources.len() > 1,
            effect: rule.effect,
            counts: policy.mode() == Mode::Enforce,
        };
        let (dimensions, keys) = ([None; FIELDS], Default::default());
        let mut draft = Draft { row, actions: u8::MAX, kinds: u8::MAX, dimensions, keys };
        self.dimension(&mut draft, Field::Principal, &rule.matching.principals);
        self.dimension(&mut draft, Field::Role, &rule.matching.roles);
        self.dimension(&mut draft, Field::Action, &rule.matching.actions);
        if resources.is_empty() {
            self.drafts.push(draft);
            return;
        }
        for resource in resources {
            let mut draft = draft.clone();
            self.resource(&mut draft, resource);
            self.drafts.push(draft);
        }
    }

    /// P22: the segments of a pattern are dimensions of their own; `**` leaves the rest free.
    fn resource(&mut self, draft: &mut Draft, pattern: &ResourcePattern) {
        let Some((form, segments)) = pattern.segments().split_first() else { return };
        let (form, fields): (_, &[Field]) = match form.as_str() {
            "k8s" => (Form::Kubernetes, &[Field::Cluster, Field::Namespace, Field::Kind, Field::Name]),
            _ => (Form::Aegis, &[Field::Noun, Field::Object]),
        };
        for (field, segment) in fields.iter().zip(segments) {
            self.dimension(draft, *field, std::slice::from_ref(segment));
        }
        // A segment that matters exists in one form only.
        let matters = |field: &Field| draft.dimensions[*field as usize].is_some();
        if draft.kinds == u8::MAX && !fields.iter().any(matters) {
            draft.dimensions[fields[0] as usize] = Some(Fits::Predicate(self.predicates.form(form)));
        }
    }

    fn dimension(&mut self, draft: &mut Draft, field: Field, globs: &[Glob]) {
        let Some(texts) = self.predicates.texts(field, globs) else { return };
        let keys = texts.literals().filter(|keys| field != Field::Kind && keys.len() <= KEYS_MAX);
        draft.keys[field as usize] = keys.unwrap_or_default().to_vec();
        match field {
            Field::Kind => {
                draft.kinds = bits(Kind::ALL.map(Kind::as_str), globs);
                return;
            }
            Field::Action => draft.actions = bits(ActionType::ALL.map(ActionType::as_str), globs),
            _ => {}
        }
        let fits = texts.single().map(Fits::Text);
        draft.dimensions[field as usize] =
            Some(fits.unwrap_or_else(|| Fits::Predicate(self.predicates.text(field, texts))));
    }
}

/// One bit for each value that a glob matches.
fn bits<const N: usize>(values: [&str; N], globs: &[Glob]) -> u8 {
    let matched = values.map(|value| globs.iter().any(|glob| glob.matches(value)));
    matched.iter().rev().fold(0, |bits, matched| bits << 1 | u8::from(*matched))
}

fn collect_paths<'c>(condition: &'c Condition, paths: &mut Vec<&'c str>) {
    match condition {
        Condition::All(members) | Condition::Any(members) => {
            members.iter().for_each(|member| collect_paths(member, paths));
        }
        Condition::Not(member) => collect_paths(member, paths),
        Condition::Test(test) => paths.push(&test.path),
    }
}

/// The rest and the largest shard of each field, and every shard of roles: one may hold them all.
fn steps(index: &Index) -> u64 {
    let shards = index.shards.iter().map(|shards| {
        let steps = shards.blocks.iter().map(|blocks| index.steps(*blocks));
        if shards.field == Field::Role { steps.sum() } else { steps.max().unwrap_or(0) }
    });
    index.steps(index.rest) + shards.sum::<u64>()
}
